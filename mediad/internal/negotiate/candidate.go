package negotiate

import (
	"hash/fnv"
	"math/big"
	"net/netip"
	"strings"

	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Preferences of RFC 8445 §5.1.2.
const (
	hostPreference  = 126
	localPreference = 65535
	foundationSize  = 16
)

// candidates returns those of our ports, the first component before the
// second, each on all local addresses. from is the party whose candidates stand
// beside them, if its ICE is handed through.
func (p *Plan) candidates(l *Local, local *LocalMedia, from *RemoteICE) []sdp.Candidate {
	base := sdp.Candidate{Transport: "UDP", Type: "host"}
	preference, order := uint32(hostPreference), uint32(localPreference)
	if l.ICE.RelayOnly {
		base.Type, preference = "relay", 0
	}
	if l.ICE.Passthrough {
		preference, order = beside(from.Candidates, base.Type, preference)
	}
	places := append([]LocalPlace{{local.Address, local.RTPPort, local.RTCPPort}}, local.Further...)
	var list []sdp.Candidate
	for component := 1; component <= 2; component++ {
		if component == 2 && !l.RTCPPort {
			break
		}
		for n, at := range places {
			c := base
			c.Component = component
			c.Foundation = p.foundation(l.Interface, local.Address, at.Address)
			// Beside others the order may pass below 0; rtpengine's does, too.
			c.Priority = preference<<24 | (order-uint32(n))<<8 | uint32(256-component)
			c.Host, c.Port = at.Address.Unmap().String(), at.RTPPort
			if p.overridden {
				c.Host = local.Address.Unmap().String()
			}
			if component == 2 {
				c.Port = at.RTCPPort
			}
			if l.ICE.RelayOnly {
				c.RelatedHost, c.RelatedPort = c.Host, c.Port
			}
			list = append(list, c)
		}
	}
	return list
}

// beside chooses preferences that go with candidates of another party, as
// rtpengine does: next to the lowest one of the same type.
func beside(others []sdp.Candidate, kind string, preference uint32) (of, order uint32) {
	of, order = preference, localPreference
	for _, c := range others {
		if c.Type != kind || !strings.EqualFold(c.Transport, "UDP") || c.Priority > of<<24|order<<8|255 {
			continue
		}
		of, order = c.Priority>>24, c.Priority>>8&0xffff+1
		if order > localPreference {
			order = 0
			if of > 0 {
				of--
			}
		}
	}
	return of, order
}

// foundation is the same for candidates of one address of an interface
// (RFC 8445 §5.1.1.3), and tells nothing about it.
func (p *Plan) foundation(name string, first, ip netip.Addr) string {
	h := fnv.New128a()
	for _, part := range [...]string{p.opts.Instance, name, first.String(), ip.String()} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	s := new(big.Int).SetBytes(h.Sum(nil)).Text(62)
	for len(s) < foundationSize {
		s += "0"
	}
	return s[len(s)-foundationSize:]
}
