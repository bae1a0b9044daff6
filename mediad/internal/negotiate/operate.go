package negotiate

import (
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// operate applies the attribute operations of "sdp-attr" to the rewritten
// body. They see the lines that were received and stayed, not those that we
// have written.
func (p *Plan) operate() {
	for _, op := range p.req.SDPAttr {
		switch op.Section {
		case "global", "session":
			apply(p.doc.Session(), op)
		default:
			for _, section := range p.doc.Medias() {
				if m, _, ok := section.Media(); ok && (op.Section == "none" || op.Section == m.Type) {
					apply(section, op)
				}
			}
		}
	}
}

func apply(section *sdp.Section, op ng.SDPAttr) {
	if op.Action == "add" {
		section.Append("a=" + op.Value)
		return
	}
	for a := range section.Attributes() {
		if !strings.EqualFold(a.Line.Value, op.Value) && a.Name != op.Value {
			continue
		}
		switch op.Action {
		case "remove":
			section.Delete(a.Line)
		case "substitute":
			section.Replace(a.Line, op.With)
		}
	}
}
