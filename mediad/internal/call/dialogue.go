package call

import (
	"slices"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// dialogue is what a command means in terms of parties: whose SDP it brings
// and to whom it goes. Nothing of the call is changed by finding it; adopt
// does that once the command has succeeded.
type dialogue struct {
	from, to *party
	named    *party // still nameless party that gets a tag
	name     string // its tag
	alias    string // further tag of the answerer
	testator *party // party whose media the new answerer takes over
}

// offerDialogue finds the parties of an offer: from-tag is the offerer. Without
// a known to-tag it makes or finds the still nameless other side, which the
// via-branch tells apart from those of other branches.
func (c *Call) offerDialogue(req *ng.Request, now time.Time) (dialogue, error) {
	if req.FromTag == req.ToTag {
		return dialogue{}, ng.ReasonInvalidAssociation
	}
	d := dialogue{from: c.partyByTag(req.FromTag), to: c.partyByTag(req.ToTag)}
	if d.from != nil && d.from == d.to {
		return dialogue{}, ng.ReasonInvalidAssociation
	}
	if d.from == nil && d.to != nil && d.to.peer != nil && d.to.peer.tag == "" {
		d.from = d.to.peer // an offer of the callee before it has answered
		d.named, d.name = d.from, req.FromTag
	}
	if d.from == nil {
		d.from = newParty(req.FromTag, now)
	}
	if d.to == nil {
		d.to = c.receiver(d.from, req)
		switch {
		case d.to == nil:
			d.to = newParty(req.ToTag, now)
		case req.ToTag != "" && d.to.tag == "":
			d.named, d.name = d.to, req.ToTag
		}
	}
	return d, nil
}

// receiver returns the party that an offer of from without a known to-tag goes
// to, nil if there is none yet.
func (c *Call) receiver(from *party, req *ng.Request) *party {
	if req.ViaBranch == "" {
		if p := from.peer; p != nil && (req.ToTag == "" || p.tag == "") {
			return p
		}
		return nil
	}
	for _, p := range c.partners(from) {
		if p.viaBranch == req.ViaBranch {
			return p
		}
	}
	for _, p := range c.partners(from) {
		if p.tag == "" && p.viaBranch == "" {
			return p
		}
	}
	return nil
}

// answerDialogue finds the parties of an answer: to-tag is the answerer, whose
// SDP it is; from-tag stays the offerer.
func (c *Call) answerDialogue(req *ng.Request, now time.Time) (dialogue, error) {
	if req.FromTag == req.ToTag {
		return dialogue{}, ng.ReasonInvalidAssociation
	}
	offerer, answerer := c.partyByTag(req.FromTag), c.partyByTag(req.ToTag)
	if offerer == nil {
		return dialogue{}, ng.ReasonNoMatchingTags
	}
	if answerer == offerer {
		return dialogue{}, ng.ReasonInvalidAssociation
	}
	d := dialogue{from: answerer, to: offerer}
	if d.from != nil {
		return d, nil
	}
	known := c.answererOf(offerer, req.ViaBranch)
	switch {
	case known == nil:
		return dialogue{}, ng.ReasonNoMatchingTags // nothing was offered to anybody
	case known.tag == "":
		d.from = known
		d.named, d.name = known, req.ToTag
	case req.Flags.Has(ng.FlagNewBranch), known.final && !req.Flags.Has(ng.FlagProvisional):
		// It got the same offer as the one before, so it sends to the same
		// ports of ours.
		d.from, d.testator = newParty(req.ToTag, now), known
		d.from.present = known.latest()
		d.from.present.snapshot.Tag = req.ToTag
	case len(known.aliases) >= maxAliases:
		return dialogue{}, ng.ReasonInvalidAssociation
	default:
		d.from, d.alias = known, req.ToTag
	}
	return d, nil
}

// answererOf returns the party that an answer with an unknown to-tag comes
// from.
func (c *Call) answererOf(offerer *party, branch string) *party {
	if branch != "" {
		for _, p := range c.partners(offerer) {
			if p.viaBranch == branch {
				return p
			}
		}
	}
	for _, p := range slices.Backward(c.partners(offerer)) {
		if p.tag == "" {
			return p
		}
	}
	return offerer.peer
}

// adopt makes the dialogue part of the call.
func (c *Call) adopt(d dialogue, req *ng.Request) {
	if d.named != nil {
		d.named.rename(d.name)
	}
	if d.alias != "" {
		d.from.aliases = append(d.from.aliases, d.alias)
	}
	if d.testator != nil {
		d.testator.present, d.testator.open, d.testator.peer = terms{}, nil, nil
	}
	for _, p := range []*party{d.from, d.to} {
		if !slices.Contains(c.parties, p) {
			c.parties = append(c.parties, p)
		}
		p.deleteAt = time.Time{}
	}
	d.from.peer, d.to.peer = d.to, d.from
	if req.Label != "" {
		d.from.label = req.Label
	}
	branch := d.to
	if req.Command == ng.CommandAnswer {
		branch = d.from
		d.from.answered = true
		d.from.final = d.from.final || (req.SIPCode >= 200 && !req.Flags.Has(ng.FlagProvisional))
		c.answered = true
	}
	if branch.viaBranch == "" {
		branch.viaBranch = req.ViaBranch
	}
	c.deleteAt = time.Time{}
}

// crowded reports whether the dialogue would bring more parties than a call
// may have.
func (c *Call) crowded(d dialogue) bool {
	n := len(c.parties)
	for _, p := range []*party{d.from, d.to} {
		if !slices.Contains(c.parties, p) {
			n++
		}
	}
	return n > maxParties
}
