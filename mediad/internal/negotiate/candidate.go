package negotiate

import (
	"hash/fnv"
	"net/netip"
	"strconv"

	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// hostCandidate describes one of our ports (RFC 8445 §5.1.2). With relay it
// claims to be a relay candidate, as ICE=force-relay wants.
func hostCandidate(ip netip.Addr, component int, port uint16, relay bool) sdp.Candidate {
	const hostPreference, localPreference = 126, 65535
	h := fnv.New32a()
	h.Write(ip.AsSlice())
	c := sdp.Candidate{
		Foundation: strconv.FormatUint(uint64(h.Sum32()), 36),
		Component:  component,
		Transport:  "UDP",
		Priority:   hostPreference<<24 | localPreference<<8 | uint32(256-component),
		Host:       ip.Unmap().String(),
		Port:       port,
		Type:       "host",
	}
	if relay {
		c.Type = "relay"
		c.Priority = localPreference<<8 | uint32(256-component)
		c.RelatedHost, c.RelatedPort = c.Host, port
	}
	return c
}
