package request

import (
	"context"
	"errors"
	"net/netip"

	"github.com/emiago/sipgo/sip"
)

// Transport is a SIP transport in lower case (RFC 3261 §19.1.1, RFC 7118 §5.2).
type Transport string

// The transports the edge listens on.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls"
	WS  Transport = "ws"
	WSS Transport = "wss"
)

// Reliable reports whether messages are neither lost nor reordered by the transport.
func (t Transport) Reliable() bool { return t != UDP }

// Secure reports whether the transport is encrypted.
func (t Transport) Secure() bool { return t == TLS || t == WSS }

// WebSocket reports whether the peer can only be reached by the connection it opened itself.
func (t Transport) WebSocket() bool { return t == WS || t == WSS }

// DefaultPort is the port used when a URI names none (RFC 3261 §19.1.2, RFC 7118 §5.5).
func (t Transport) DefaultPort() uint16 {
	switch t {
	case TLS:
		return 5061
	case WS:
		return 80
	case WSS:
		return 443
	default:
		return 5060
	}
}

// ConnectionID names a connection. Ids of TCP, TLS, WS and WSS connections are unique over restarts of the
// process; ids of UDP name listener and remote address and therefore stay valid after a restart.
type ConnectionID string

// Errors of connections; test with errors.Is.
var (
	// ErrConnectionClosed: the connection is gone. A request for it is answered 480 (or 430) at once.
	ErrConnectionClosed = errors.New("connection closed")
	// ErrNeverDialled: a next hop by ws or wss without its own connection; such hops are never dialled.
	ErrNeverDialled = errors.New("websocket hops are reached by their own connection only")
	// ErrNoListener: no listener of the transport and address family exists to send from.
	ErrNoListener = errors.New("no listener for this transport and address family")
	// ErrMessageTooLarge: a message over the limit of its transport (65,507 bytes for UDP).
	ErrMessageTooLarge = errors.New("message too large for the transport")
)

// Errors of requests that a step wants made within a dialog.
var (
	// ErrNoDialog: the dialog is over, or is ending.
	ErrNoDialog = errors.New("no such dialog")
	// ErrBusy: another offer, or the setup of the call, is under way.
	ErrBusy = errors.New("dialog is busy")
)

// Connection is a path to one remote transport address (a "SIP flow" of RFC 5626): a stream connection, a
// WebSocket, or the pair of a UDP listener and a remote address. Values are safe for concurrent use.
type Connection interface {
	// ID names the connection in the connection table.
	ID() ConnectionID
	// Transport tells how messages travel; Contact and Via headers of peers are not to be believed about it.
	Transport() Transport
	// Local and Remote are the addresses of the sockets; Remote is the source as seen here, behind any NAT.
	Local() netip.AddrPort
	Remote() netip.AddrPort
	// Listener is the name of the listener that accepted the connection or from which it was dialled.
	Listener() string
	// SentBy is the advertised "host:port" of that listener, for Via and Record-Route.
	SentBy() string
	// Profile is the name of the leg profile of that listener.
	Profile() string
	// Dialled reports whether the proxy opened the connection itself (always false for UDP and WebSocket).
	Dialled() bool
	// Send writes one message. It returns ErrConnectionClosed when the connection is gone, and never blocks
	// longer than the edge's write deadline. The message is not kept or changed.
	Send(msg sip.Message) error
	// Closed is closed when the connection is gone.
	Closed() <-chan struct{}
}

// Alive reports whether the connection still takes messages; false for nil.
func Alive(c Connection) bool {
	if c == nil {
		return false
	}
	select {
	case <-c.Closed():
		return false
	default:
		return true
	}
}

// Device is one instance of a registered user (+sip.instance and reg-id of RFC 5626), which may come back by another
// connection.
type Device struct {
	AoR, Instance, RegID string
}

// Hop is a resolved next hop (RFC 3263).
type Hop struct {
	Transport Transport
	Addr      netip.AddrPort
	// Host is the name that was looked up; TLS checks the peer's certificate against it.
	Host string
	// Listener, if set, names the listener to send from; else the first one of the transport and family.
	Listener string
}

// Connections is the connection table of the edge.
type Connections interface {
	// Get finds a living connection by its id; an id of UDP is found as long as its listener exists.
	Get(id ConnectionID) (Connection, bool)
	// Reach returns a connection to the hop: an existing one to the same remote and from the same listener,
	// else a new one. It never dials ws or wss (ErrNeverDialled).
	Reach(ctx context.Context, hop Hop) (Connection, error)
}
