package call

import (
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// dialogue is what a command means in terms of parties: whose SDP it brings
// and to whom it goes. Nothing of the call is changed by finding it; adopt
// does that once the command has succeeded.
type dialogue struct {
	from, to *party
	named    *party // still nameless party that gets a tag
	name     string // its tag
	branched *party // party that the via-branch belongs to
}

// offerDialogue finds the parties of an offer: from-tag is the offerer. Without
// a known to-tag it makes or finds the still nameless other side, which the
// via-branch tells apart from those of other branches.
func (c *Call) offerDialogue(req *ng.Request, now time.Time) dialogue {
	d := dialogue{from: c.partyByTag(req.FromTag)}
	name := req.ToTag
	if name == req.FromTag {
		name = "" // nobody calls himself
	}
	d.to = c.partyByTag(name)
	if d.from == nil && d.to != nil && d.to.peer != nil && d.to.peer.tag == "" {
		d.from = d.to.peer // an offer of the callee before it has answered
		d.named, d.name = d.from, req.FromTag
	}
	if d.from == nil {
		d.from = newParty(req.FromTag, now)
	}
	if d.to != nil {
		return d
	}
	switch d.to = c.receiver(d.from, name, req.ViaBranch); {
	case d.to == nil:
		d.to = newParty(name, now)
	case name != "" && d.to.tag == "":
		d.named, d.name = d.to, name
	}
	d.branched = d.to
	return d
}

// receiver returns the party that an offer of from without a known to-tag goes
// to, nil if there is none yet.
func (c *Call) receiver(from *party, tag, branch string) *party {
	if branch == "" {
		if tag == "" {
			return from.peer
		}
		return nil // who has not answered is somebody else
	}
	for _, p := range c.partners(from) {
		if p.viaBranch == branch {
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
// SDP it is; from-tag stays the offerer. fresh tells that nothing was offered to
// the answerer, so that its body has to do as an offer of its own.
func (c *Call) answerDialogue(req *ng.Request, now time.Time) (d dialogue, fresh bool, err error) {
	if req.FromTag == req.ToTag {
		return dialogue{}, false, ng.ReasonInvalidAssociation
	}
	d = dialogue{from: c.partyByTag(req.ToTag), to: c.partyByTag(req.FromTag)}
	if d.from != nil && d.to != nil {
		return d, d.from.latest().untold(), nil
	}
	var known *party
	if d.to != nil {
		known = c.answererOf(d.to, req.ViaBranch)
	} else {
		d.to = newParty(req.FromTag, now)
	}
	switch {
	case d.from != nil:
		return d, true, nil
	case known == nil:
		d.from = newParty(req.ToTag, now)
		return d, true, nil
	case known.tag == "":
		d.from = known
		d.named, d.name = known, req.ToTag
	default:
		// Another fork that got the same offer, so it sends to the same ports of
		// ours. They belong to whoever has spoken last.
		d.from = newParty(req.ToTag, now)
		d.from.present = known.latest()
		d.from.present.snapshot.Tag = req.ToTag
	}
	return d, false, nil
}

// untold reports whether the party has never been offered anything.
func (t terms) untold() bool { return len(t.snapshot.Sides) == 0 }

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
	c.turns++
	for _, p := range []*party{d.from, d.to} {
		c.add(p)
		p.deleteAt = time.Time{}
		p.turn = c.turns
		p.source = negotiate.Party{} // the dialogue is what it answers to from now on
	}
	associate(d.from, d.to)
	d.from.peer, d.to.peer = d.to, d.from
	d.from.said, d.from.saidAnswer = req.SDP, req.Command == ng.CommandAnswer
	if req.Label != "" {
		d.from.label = req.Label
	}
	if req.Command == ng.CommandAnswer {
		d.from.answered, c.answered = true, true
	}
	if d.branched != nil && d.branched.viaBranch == "" {
		d.branched.viaBranch = req.ViaBranch
	}
	c.mirror(d, req)
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
