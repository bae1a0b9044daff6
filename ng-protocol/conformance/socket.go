package conformance

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/pion/transport/v5/packetio"
)

// datagram is a packet that a party has received.
type datagram struct {
	data []byte
	from netip.AddrPort
}

// socket is a UDP port of a party. Its packets are sorted by their first byte
// (RFC 7983), so that a scenario can wait for one kind.
type socket struct {
	conn  *net.UDPConn
	media chan datagram // RTP, RTCP, and what is nothing of the others
	stun  chan datagram
	dtls  *packetio.Buffer
	ended chan struct{}
}

// inboxSize bounds what is kept for a scenario that does not look at it.
const inboxSize = 64

func newSocket(conn *net.UDPConn) *socket {
	s := &socket{conn: conn, media: make(chan datagram, inboxSize), stun: make(chan datagram, inboxSize), dtls: packetio.NewBuffer(), ended: make(chan struct{})}
	s.dtls.SetLimitCount(inboxSize)
	go s.read()
	return s
}

func (s *socket) read() {
	defer close(s.ended)
	buffer := make([]byte, 65535)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue // an ICMP error of an earlier packet
		}
		d := datagram{append([]byte(nil), buffer[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
		inbox := s.media
		switch first := d.data[0]; {
		case first < 4:
			inbox = s.stun
		case first >= 20 && first < 64:
			_, _ = s.dtls.Write(d.data, nil) // full: the peer will repeat it
			continue
		}
		select {
		case inbox <- d:
		default:
		}
	}
}

func (s *socket) close() {
	_ = s.dtls.Close()
	_ = s.conn.Close()
	<-s.ended
}

// next returns the next packet, or os.ErrDeadlineExceeded.
func next(inbox <-chan datagram, limit time.Duration) (datagram, error) {
	select {
	case d := <-inbox: // what is there already counts even if limit is 0
		return d, nil
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case d := <-inbox:
		return d, nil
	case <-timer.C:
		return datagram{}, os.ErrDeadlineExceeded
	}
}

// dtlsPackets lets a DTLS connection use a socket beside the other protocols.
type dtlsPackets struct {
	socket *socket
	peer   netip.AddrPort
}

func (d dtlsPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := d.socket.dtls.Read(b, nil)
	return n, net.UDPAddrFromAddrPort(d.peer), err
}

func (d dtlsPackets) WriteTo(b []byte, _ net.Addr) (int, error) {
	return d.socket.conn.WriteToUDPAddrPort(b, d.peer)
}

func (d dtlsPackets) Close() error                       { return d.socket.dtls.Close() }
func (d dtlsPackets) LocalAddr() net.Addr                { return d.socket.conn.LocalAddr() }
func (d dtlsPackets) SetDeadline(t time.Time) error      { return d.socket.dtls.SetReadDeadline(t) }
func (d dtlsPackets) SetReadDeadline(t time.Time) error  { return d.socket.dtls.SetReadDeadline(t) }
func (d dtlsPackets) SetWriteDeadline(_ time.Time) error { return nil }
