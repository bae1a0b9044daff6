package ngserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Bounds of a reply, in bytes.
const (
	maxReply         = 1 << 20 // by a transport that has no bound of its own
	maxDatagramReply = 65507   // what one UDP datagram over IPv4 carries
)

// receiveBuffer is the wanted socket buffer in bytes; the system may give less.
const receiveBuffer = 1 << 20

// socket is one bound UDP socket.
type socket struct {
	conn     *net.UDPConn
	raw      syscall.RawConn // of conn
	local    netip.AddrPort
	anyAddr  bool // bound to an unspecified address
	stopped  atomic.Bool
	readers  sync.WaitGroup
	outgoing sync.Pool // *outgoing
}

// destination is where a reply goes to, and the local address it leaves from.
// It is comparable.
type destination struct {
	sock  *socket
	addr  netip.AddrPort
	local localAddr // zero unless the socket is bound to an unspecified address
}

// localAddr is the address that a datagram was sent to.
type localAddr struct {
	addr    netip.Addr
	ifindex int // set for link-local addresses only
}

func listen(addr netip.AddrPort, tos int) (*socket, error) {
	conn, err := net.ListenUDP(networkOf("udp", addr), net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, local: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.anyAddr = s.local.Addr().IsUnspecified()
	if err := s.setup(tos); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// networkOf returns the network of package net that addr is bound in.
func networkOf(protocol string, addr netip.AddrPort) string {
	switch {
	case addr.Addr() == netip.IPv6Unspecified():
		return protocol // both families
	case addr.Addr().Is6():
		return protocol + "6"
	}
	return protocol + "4"
}

func (s *socket) setup(tos int) error {
	if err := s.conn.SetReadBuffer(receiveBuffer); err != nil {
		return err
	}
	var err error
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return err
	}
	var optErr error
	err = s.raw.Control(func(fd uintptr) {
		optErr = setSocketOptions(int(fd), s.local.Addr().Is6(), s.anyAddr, tos)
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", optErr)
}

// deliver sends a reply; for one that fits no datagram the client is told that
// there is none, as it would repeat its command otherwise.
func (d destination) deliver(message []byte) error {
	if len(message) > maxDatagramReply {
		refusal, err := withoutReply(message)
		if err == nil {
			err = d.deliver(refusal)
		}
		return errors.Join(fmt.Errorf("reply of %d bytes does not fit a datagram", len(message)), err)
	}
	if !d.local.addr.IsValid() {
		return d.sock.send(message, nil, d.addr)
	}
	return d.sock.send(message, sendFrom(d.local), d.addr)
}

// withoutReply makes the message that says so in place of a reply.
func withoutReply(message []byte) ([]byte, error) {
	cookie, body, err := ng.SplitCookie(message)
	if err != nil {
		return nil, err
	}
	format := ng.FormatBencode
	if body[0] == '{' {
		format = ng.FormatJSON
	}
	if body, err = ng.EncodeReply(&ng.Failure{Reason: ng.ReasonInternal}, format); err != nil {
		return nil, err
	}
	return slices.Concat([]byte(cookie), []byte{' '}, body), nil
}

func (d destination) String() string { return d.addr.String() }

func (d destination) address() netip.AddrPort { return d.addr }

// stopReading tells the reader to end; sending goes on working.
func (s *socket) stopReading() {
	s.stopped.Store(true)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed socket only
}

func (s *socket) close() { s.conn.Close() }
