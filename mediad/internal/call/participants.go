package call

import (
	"fmt"
	"net/netip"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// participant finds the party that a command is about: by its label, by an
// address that its SDP has told, or by its tag, in this order. Nil without an
// error means that none is named, so the whole call is meant, as with the flag
// "all", whoever is named beside it.
func (c *Call) participant(req *ng.Request) (*party, error) {
	if req.Flags.Has(ng.FlagAll) {
		return nil, nil
	}
	p, err := c.named(req)
	if p == nil {
		return nil, err
	}
	switch {
	case req.SetLabel != "":
		p.label = req.SetLabel
	case req.ToLabel != "" && c.partyByLabel(req.ToLabel) == nil:
		p.label = req.ToLabel // what rtpengine 10 takes it for
	}
	return p, nil
}

func (c *Call) named(req *ng.Request) (*party, error) {
	switch {
	case req.Label != "":
		if p := c.partyByLabel(req.Label); p != nil {
			return p, nil
		}
		return nil, ng.ReasonNoSuchLabel
	case req.Participants.Address != "":
		return c.partyByAddress(req.Participants.Address)
	case req.HasFromTag():
		if p := c.partyByTag(req.FromTag); p != nil {
			return p, nil
		}
		return nil, ng.ReasonNoSuchTag
	}
	return nil, nil
}

func (c *Call) partyByLabel(label string) *party {
	for _, p := range c.parties {
		if p.label == label {
			return p
		}
	}
	return nil
}

func (c *Call) partyByAddress(text string) (*party, error) {
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ng.ReasonBadAddress, err)
	}
	for _, p := range c.parties {
		for _, m := range p.all() {
			if m.side.Remote.RTP.Addr() == addr.Unmap() {
				return p, nil
			}
		}
	}
	return nil, ng.ReasonNoSuchAddress
}

// receiverOf returns the party that a command about one flow names as its other
// end, nil if it names none.
func (c *Call) receiverOf(req *ng.Request) *party {
	if p := c.partyByTag(req.ToTag); p != nil {
		return p
	}
	if req.ToLabel != "" {
		return c.partyByLabel(req.ToLabel)
	}
	return nil
}

// lookup returns the call that a command about its media names, locked.
func (r *Registry) lookup(req *ng.Request) (*Call, error) {
	if !req.HasCallID() {
		return nil, ng.ReasonNoCallID
	}
	if c := r.find(req.CallID); c != nil {
		return c, nil
	}
	return nil, ng.ReasonUnknownCall
}
