package call

import (
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/teardown"
)

// timedOut returns what the SIP server needs to know of a call that a timer
// ends, nil if it need not be told.
func (c *Call) timedOut(reason endReason) *teardown.Call {
	switch reason {
	case endTimeout, endSilent, endOffer, endFinal:
	default:
		return nil
	}
	if c.registry.cfg.Teardown == nil {
		return nil
	}
	out := &teardown.Call{ID: c.id, From: c.operated.proxy.Addr().Unmap()}
	if addr, err := netip.ParseAddr(c.operated.callback); err == nil {
		out.From = addr.Unmap()
	}
	for _, p := range c.parties {
		party := teardown.Party{Tag: p.tag}
		if p.peer != nil {
			party.Peer = p.peer.tag
		}
		out.Parties = append(out.Parties, party)
	}
	return out
}
