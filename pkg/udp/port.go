package udp

import "net/netip"

// Port is one local UDP port as whoever reads it provides it: a socket of its own (Conn), or a number behind a shared one.
type Port interface {
	// LocalAddr is the address of the port; it never changes.
	LocalAddr() netip.AddrPort
	// WriteTo sends one datagram at once, without blocking; from any goroutine, but not during or after Close.
	WriteTo(pkt []byte, dst netip.AddrPort) error
	// SetTOS changes the DSCP/ECN byte of the packets sent from now on.
	SetTOS(tos uint8) error
	// Close gives the port back.
	Close() error
}

var _ Port = (*Conn)(nil)
