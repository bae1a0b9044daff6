package udp

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/transport/v5/deadline"
)

// View is a net.PacketConn over a port that belongs to somebody else, for libraries that want a socket of their own: what is fed to it
// can be read, what is written to it goes to a function. Reads end at Close or the read deadline; writes never block.
type View struct {
	local  *net.UDPAddr
	send   func(pkt []byte, dst netip.AddrPort) error
	queue  chan datagram
	dl     *deadline.Deadline
	closed chan struct{}
	once   sync.Once
}

type datagram struct {
	pkt []byte
	src netip.AddrPort
}

var _ net.PacketConn = (*View)(nil)

// NewView makes a view that keeps at most depth unread packets.
func NewView(local netip.AddrPort, depth int, send func(pkt []byte, dst netip.AddrPort) error) *View {
	return &View{
		local:  net.UDPAddrFromAddrPort(local),
		send:   send,
		queue:  make(chan datagram, depth),
		dl:     deadline.New(),
		closed: make(chan struct{}),
	}
}

// Feed queues a copy of a packet for reading. It never blocks; it reports false when the queue is full or the view closed.
func (v *View) Feed(pkt []byte, src netip.AddrPort) bool {
	if len(v.queue) == cap(v.queue) {
		return false // before the copy is made
	}
	select {
	case <-v.closed:
		return false
	default:
	}
	select {
	case v.queue <- datagram{append([]byte(nil), pkt...), src}:
		return true
	default:
		return false
	}
}

// ReadFrom returns the next packet.
func (v *View) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case <-v.dl.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case <-v.closed:
		return 0, nil, net.ErrClosed
	default:
	}
	select {
	case d := <-v.queue:
		return copy(p, d.pkt), net.UDPAddrFromAddrPort(d.src), nil
	case <-v.dl.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case <-v.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo hands a packet to the function; an addr that is not a *net.UDPAddr becomes the zero address.
func (v *View) WriteTo(p []byte, addr net.Addr) (int, error) {
	select {
	case <-v.closed:
		return 0, net.ErrClosed
	default:
	}
	var dst netip.AddrPort
	if ua, ok := addr.(*net.UDPAddr); ok {
		ap := ua.AddrPort()
		dst = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if err := v.send(p, dst); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends reads and refuses writes. Further calls do nothing.
func (v *View) Close() error {
	v.once.Do(func() {
		close(v.closed)
		v.dl.Set(time.Time{})
	})
	return nil
}

// LocalAddr is the address given to NewView.
func (v *View) LocalAddr() net.Addr { return v.local }

// SetDeadline is SetReadDeadline, since writes never block.
func (v *View) SetDeadline(t time.Time) error { return v.SetReadDeadline(t) }

// SetReadDeadline ends reads at t; the zero time means never.
func (v *View) SetReadDeadline(t time.Time) error {
	v.dl.Set(t)
	return nil
}

// SetWriteDeadline does nothing: writes never block.
func (v *View) SetWriteDeadline(time.Time) error { return nil }
