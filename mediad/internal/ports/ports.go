// Package ports owns mediad's local media addresses: named interfaces, what is advertised for them, and the UDP port pairs that calls
// borrow from them.
package ports

import (
	"errors"
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// ErrNoPorts says that an interface has no free port pair left. Its text is the one rtpengine gives to ng clients.
//
//lint:ignore ST1005 clients compare the text
var ErrNoPorts = errors.New("Ran out of ports")

// ErrNoInterface says that no interface has the name or none of its addresses the family that was asked for.
var ErrNoInterface = errors.New("ports: no such interface")

// Family of a local address.
type Family uint8

// Families. AnyFamily takes the first address of an interface.
const (
	AnyFamily Family = iota
	IPv4
	IPv6
)

// Address is one local address of an interface, with its own pool of ports.
type Address struct {
	// Local is what sockets are bound to; never a wildcard.
	Local netip.Addr
	// Advertised stands in SDP and ICE candidates instead of Local; unset means Local.
	Advertised netip.Addr
	// Min and Max are the first and last port handed out.
	Min, Max uint16
	// Exclude are ports within the range that are not handed out.
	Exclude []Range
}

// Range of ports, both ends included.
type Range struct{ Min, Max uint16 }

func (r Range) has(port uint16) bool { return r.Min <= port && port <= r.Max }

// Public is the address to tell peers: Advertised if it is set, else Local.
func (a Address) Public() netip.Addr {
	if a.Advertised.IsValid() {
		return a.Advertised
	}
	return a.Local
}

// Interface is a name calls choose by, with one or several addresses.
type Interface struct {
	Name      string
	Addresses []Address
}

// Opener opens two neighbouring ports of a local address, an even one for RTP and the next odd one for RTCP: both or none. The error wraps
// unix.EADDRINUSE when somebody else has one of them. engine.Engine.OpenPair is one.
type Opener func(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error)

// Options of a Registry.
type Options struct {
	// Open opens the pairs; nil means plain sockets.
	Open Opener
	// FirstOnly hands out ports on one address of an interface only (rtpengine's save-interface-ports).
	FirstOnly bool
	// Quarantine is how long a released pair rests before it is handed out again, so that a new call does not hear the
	// previous one's last packets. It is cut short when nothing else is free. Zero means 5 seconds.
	Quarantine time.Duration
}

// Stats are the numbers of one address's pool, in pairs.
type Stats struct {
	Interface         string
	Address           Address
	Total, Used, Rest int
	Last              uint16 // RTP port that was handed out last; 0 = none yet
}
