package negotiate

import (
	"fmt"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// readFragment adds the candidates of a trickle ICE fragment (RFC 8840 §9) to
// the sides of From. Those of another ICE generation are dropped.
func (p *Plan) readFragment() error {
	doc, err := sdp.ParseFragment(p.req.SDP)
	if err != nil {
		return fmt.Errorf("%w: %w", ng.ReasonSDPParse, err)
	}
	if len(p.From.Sides) == 0 {
		return fmt.Errorf("%w: ICE fragment before the first offer", ng.ReasonSDPIncomplete)
	}
	p.addCandidates(&p.From.Sides[0], doc.Session(), "")
	ufrag := attribute(doc.Session(), "ice-ufrag")
	for i, section := range doc.Medias() {
		if side := p.fragmentSide(i, attribute(section, "mid")); side != nil {
			p.addCandidates(side, section, ufrag)
		}
	}
	return nil
}

// fragmentSide finds the media by its mid, by its place if it has none.
func (p *Plan) fragmentSide(i int, mid string) *Side {
	if mid == "" {
		if i < len(p.From.Sides) {
			return &p.From.Sides[i]
		}
		return nil
	}
	for n := range p.From.Sides {
		if p.From.Sides[n].Local.MID == mid {
			return &p.From.Sides[n]
		}
	}
	return nil
}

func (p *Plan) addCandidates(side *Side, section *sdp.Section, ufrag string) {
	ice := &side.Remote.ICE
	if own := attribute(section, "ice-ufrag"); own != "" {
		ufrag = own
	}
	if ice.Ufrag == "" || ufrag != "" && ufrag != ice.Ufrag {
		return
	}
	// A copy, since the snapshot we came from shares the slice.
	ice.Candidates = append([]sdp.Candidate(nil), ice.Candidates...)
	for a := range section.Attributes("candidate", "end-of-candidates") {
		if a.Name == "end-of-candidates" {
			ice.EndOfCandidates = true
		} else if c, ok := sdp.ParseCandidate(a.Value); ok && len(ice.Candidates) < maxCandidates {
			ice.Candidates = append(ice.Candidates, c)
		}
	}
}

func attribute(section *sdp.Section, name string) string {
	a, _ := section.Attribute(name)
	return strings.TrimSpace(a.Value)
}
