package secure

import (
	"errors"
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Errors of a DTLS association, reported through EndpointConfig.OnFailed.
var (
	// ErrFingerprint says that the peer's certificate has none of the fingerprints from its SDP.
	ErrFingerprint = errors.New("secure: peer certificate does not match its fingerprint")
	// ErrHandshake says that the handshake failed or did not finish in time.
	ErrHandshake = errors.New("secure: DTLS handshake failed")
	// ErrStarted says that Start was called twice.
	ErrStarted = errors.New("secure: DTLS endpoint already started or closed")
)

// Role in the DTLS handshake (RFC 4145 setup attribute).
type Role uint8

// Roles.
const (
	// Passive waits for the peer's ClientHello (setup:passive).
	Passive Role = iota
	// Active sends the ClientHello (setup:active).
	Active
)

// Keys are the two SRTP keys a handshake produced.
type Keys struct {
	In, Out Key
}

// Sender sends a datagram from a stream's local port; it may be called from any goroutine. *flow.Stream is one.
type Sender interface {
	Send(pkt []byte, dst netip.AddrPort) error
}

// EndpointConfig of one DTLS association. One association serves one stream (component).
type EndpointConfig struct {
	Certificate *Certificate
	// Sender carries the handshake.
	Sender Sender
	// Remote says where to send while no packet of the peer has come in: the ICE-selected, learned or SDP endpoint. It may return
	// the zero value, then nothing is sent.
	Remote func() netip.AddrPort
	// Verified says that packets come from sources that ICE has checked: one handshake for all of them, and no cookie round trip.
	Verified bool
	// OnKeys is called once, from the endpoint's goroutine, when the handshake is finished and the fingerprint checked.
	OnKeys func(Keys)
	// OnFailed is called once instead, with an error that wraps ErrFingerprint or ErrHandshake. It is not called after Close.
	OnFailed func(error)
	// OnClosed is called when the peer ended a finished association (close_notify or fatal alert). It may be nil.
	OnClosed func()
	// Timeout of the handshake, counted from Start. Zero means 30 seconds.
	Timeout time.Duration
	// MTU bounds the datagrams of the handshake, in bytes. Zero means 1200.
	MTU int
	// Logger for pion; nil means silence.
	Logger logging.LoggerFactory
}
