// Package connect establishes and checks connectivity with ICE (RFC 8445) on ports that mediad owns. It runs pion's agents over their
// UDPMux interface, so that no agent opens a socket of its own, and guards them against packets they cannot take.
package connect

import (
	"errors"
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Errors of an agent.
var (
	ErrClosed      = errors.New("connect: agent is closed")
	ErrCredentials = errors.New("connect: ICE ufrag or password missing or too short")
)

// State of an agent as its owner sees it.
type State uint8

// States. New → Checking → Connected ⇄ Disconnected → Failed; a restart leads from any back to Checking.
const (
	New State = iota
	Checking
	Connected
	// Disconnected means that consent (RFC 7675) was not renewed for a while; media may still flow again.
	Disconnected
	Failed
	Closed
)

// String names the state in lower case.
func (s State) String() string {
	switch s {
	case New:
		return "new"
	case Checking:
		return "checking"
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	case Failed:
		return "failed"
	default:
		return "closed"
	}
}

// Sender sends a datagram from a stream's local port; it may be called from any goroutine. *flow.Stream is one.
type Sender interface {
	Send(pkt []byte, dst netip.AddrPort) error
}

// Credentials are an ICE ufrag and password (RFC 8445 §5.3).
type Credentials struct {
	Ufrag, Password string
}

// Port is a local port of an agent.
type Port struct {
	// Local is the address the port is bound to.
	Local netip.AddrPort
	// Sender sends from the port.
	Sender Sender
}

// Config of an Agent, which serves one component of one media: one local port, or one on each of several local addresses.
type Config struct {
	// Local is the address the port is bound to.
	Local netip.AddrPort
	// Advertised stands in candidates instead of Local's address; unset means Local's.
	Advertised netip.Addr
	// Component is 1 for RTP (and muxed RTCP), 2 for RTCP (RFC 8445 §5.1.1).
	Component uint16
	// Credentials of ours. Both components of a media share them.
	Credentials Credentials
	// Lite agents answer checks and never start them (RFC 8445 §2.5).
	Lite bool
	// Sender sends from the port.
	Sender Sender
	// Further are the ports on other local addresses, for example of the other family.
	Further []Port
	// OnSelected is called whenever a pair is chosen, from a goroutine of the agent; it must not call Close or Restart. port is 0 for
	// Local and counts on in Further.
	OnSelected func(port int, remote netip.AddrPort)
	// OnState is called at changes of state, from a goroutine of the agent; it must not call Close or Restart. It may be nil.
	OnState func(State)
	// Disconnected is the time without a sign of life after which the state is Disconnected, zero meaning 10 seconds, and Failed
	// the further time until it is Failed, zero meaning 30 seconds.
	Disconnected, Failed time.Duration
	// Logger for pion; nil means silence.
	Logger logging.LoggerFactory
}

// Remote is what the peer's SDP said about its ICE agent.
type Remote struct {
	Credentials Credentials
	// Candidates are the values of its candidate attributes, with or without "candidate:" before them. Lines that are malformed,
	// not UDP, of another component or that name a host (mDNS) are passed over.
	Candidates []string
	// Controlling says that WE have the controlling role (RFC 8445 §6.1.1): we offered, or the peer is lite and we are not.
	Controlling bool
}
