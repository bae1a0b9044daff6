// Package edge is the proxy's contact with the network: listeners, connections and message framing for UDP, TCP, TLS,
// WS and WSS. It turns bytes into messages and messages into bytes, and knows nothing about transactions or calls.
package edge

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Listener describes one listening socket.
type Listener struct {
	// Name is unique among the listeners.
	Name string
	// Transport is what is spoken on it.
	Transport request.Transport
	// Address is the local address; port 0 picks a free one, an unspecified address binds all of its family.
	Address netip.AddrPort
	// AdvertisedHost and AdvertisedPort are put into Via and Record-Route; zero values: those of the socket.
	AdvertisedHost string
	AdvertisedPort uint16
	// Profile is the name of the leg profile of peers that come by this listener.
	Profile string
	// TLS is needed for TLS and WSS; its Certificates or GetCertificate serve accepted connections.
	TLS *tls.Config
	// PeerNames reads the names in a client certificate that TLS has verified; nil: it verifies none.
	PeerNames func(*x509.Certificate) []string
	// Client gives what a hop is dialled by; nil: TLS itself. Its ServerName is the name that the hop must prove.
	Client func(request.Hop) *tls.Config
	// Admit tells whether a source may speak here; it is asked before anything is read. nil: all may.
	Admit func(netip.Addr) bool
	// ProxyFrom tells load balancers, whose connections begin with a PROXY header that names the client; nil: there are none.
	// Not for UDP.
	ProxyFrom func(netip.Addr) bool
	// Faulty is told of what breaks the rules so that it cannot be answered: messages that cannot be parsed, bad framing; may be nil.
	Faulty func(request.Connection)
	// Path is the URL path of the WebSocket endpoint; "": "/ws". WS and WSS only.
	Path string
	// Origins lists the allowed values of the Origin header ("https://host[:port]", "*": any). Requests without Origin
	// (which no browser sends) are let in. An empty list admits only the origin equal to the Host header.
	Origins []string
	// Authenticate verifies what a WebSocket handshake proves by a token; the zero Proof lets in a peer that proves nothing, an
	// error is answered 401 and told to BadToken. Both may be nil.
	Authenticate func(*http.Request) (request.Proof, error)
	BadToken     func(netip.Addr)
	// Pages serves all other paths of a WS or WSS listener; nil: 404.
	Pages http.Handler
}

// Limits bound what a peer can make the edge hold. Zero values take the defaults named.
type Limits struct {
	// Workers is the number of goroutines that parse datagrams of one UDP listener (4).
	Workers int
	// Queue is the number of datagrams waiting for each worker (1024); more are dropped.
	Queue int
	// Header and Body bound a message of a stream or WebSocket, in bytes (16384, 65536).
	Header, Body int
	// Connections and ConnectionsPerSource bound accepted connections (20000, 1000). The latter counts an IPv6 /64 as one.
	Connections, ConnectionsPerSource int
	// Handshake is the time for TLS and WebSocket handshakes (10 s).
	Handshake time.Duration
	// Idle closes a stream or WebSocket nothing was received by (10 min).
	Idle time.Duration
	// Write is the time one message may take to be written (5 s), Dial the time to open a connection (4 s).
	Write, Dial time.Duration
	// Ping is the interval of WebSocket pings sent to browsers (25 s).
	Ping time.Duration
}

// Handler takes what the edge receives.
type Handler interface {
	// Receive takes one message. It is called in the order of receipt for each connection and, by UDP, for each Call-ID,
	// and must not block for long.
	Receive(conn request.Connection, msg sip.Message, at time.Time)
	// Malformed takes a request that could be parsed only in part, to be answered 400 when that is allowed
	// (RFC 3261 §16.3); the message has at least Via, From, To, Call-ID and CSeq.
	Malformed(conn request.Connection, req *sip.Request, reason string)
	// Closed is called once when a stream or WebSocket connection has gone.
	Closed(conn request.Connection)
}
