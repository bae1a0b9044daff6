//go:build integration

package dropin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/pion/stun/v4"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// A socket is a UDP port of a party.
type socket struct {
	talk *talk
	name string
	conn *net.UDPConn
}

// socket opens a port of a party; the name is for the record.
func (t *talk) socket(name, address string, port int) *socket {
	s := &socket{talk: t, name: name}
	// A process that is just being started beside may hold the conversation
	// before's socket for a moment.
	err := harness.Eventually(time.Second, func() error {
		return t.daemon.space.Do(func() (err error) {
			s.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address), Port: port})
			return err
		})
	})
	if err != nil {
		t.stop("socket %s: %v", name, err)
	}
	t.sockets = append(t.sockets, s)
	return s
}

func (s *socket) send(to netip.AddrPort, packet []byte) {
	if _, err := s.conn.WriteToUDPAddrPort(packet, to); err != nil {
		s.talk.stop("%s sends to %v: %v", s.name, to, err)
	}
}

// next returns the next packet, nil if none comes within limit.
func (s *socket) next(limit time.Duration) ([]byte, netip.AddrPort) {
	_ = s.conn.SetReadDeadline(time.Now().Add(limit))
	buffer := make([]byte, 2048)
	n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, from
	}
	if err != nil {
		s.talk.stop("%s receives: %v", s.name, err)
	}
	return buffer[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// expect records the next packet as it is; open, if given, decrypts it first.
func (s *socket) expect(open ...func([]byte) ([]byte, error)) {
	for {
		packet, from := s.next(packetLimit)
		if packet == nil {
			s.talk.record("%s: nothing comes", s.name)
			return
		}
		if isCheck(packet) || isDTLS(packet) { // come when they like
			continue
		}
		what := ""
		for _, o := range open {
			clear, err := o(packet)
			if err != nil {
				s.talk.record("%s: %d bytes that cannot be decrypted: %v", s.name, len(packet), err)
				return
			}
			packet, what = clear, " encrypted"
		}
		s.talk.record("%s from %s %s:%s %s", s.name, from.Addr(), s.talk.normal.rtcpPort(from.Addr().String(), fmt.Sprint(from.Port())), what, describe(packet))
		return
	}
}

// quiet records whether a packet comes that should not.
func (s *socket) quiet() {
	for {
		packet, _ := s.next(s.talk.patience())
		if packet == nil {
			s.talk.heard = append(s.talk.heard, false)
			s.talk.record("%s: quiet", s.name)
			return
		}
		if !isCheck(packet) && !isDTLS(packet) {
			s.talk.heard = append(s.talk.heard, true)
			s.talk.record("%s: %s", s.name, describe(packet))
			return
		}
	}
}

func isCheck(packet []byte) bool { return stun.IsMessage(packet) }

func isDTLS(packet []byte) bool { return packet[0] >= 20 && packet[0] <= 63 }

// An rtp is an RTP packet (RFC 3550 §5.1).
type rtp struct {
	marker    bool
	payload   int
	sequence  uint16
	timestamp uint32
	ssrc      uint32
	body      string
}

func (p rtp) bytes() []byte {
	b := []byte{0x80, byte(p.payload)}
	if p.marker {
		b[1] |= 0x80
	}
	b = binary.BigEndian.AppendUint16(b, p.sequence)
	b = binary.BigEndian.AppendUint32(b, p.timestamp)
	b = binary.BigEndian.AppendUint32(b, p.ssrc)
	return append(b, p.body...)
}

// audio is packet number n of a G.711 stream.
func audio(payload, n int, ssrc uint32) rtp {
	return rtp{payload: payload, sequence: uint16(1000 + n), timestamp: uint32(3000 + 160*n), ssrc: ssrc, body: strings.Repeat(string(rune('A'+n%26)), 160)}
}

// receiverReport is an empty RTCP RR (RFC 3550 §6.4.2) with an SDES.
func receiverReport(ssrc uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, ssrc)
	b = binary.BigEndian.AppendUint32(append(b, 0x81, 202, 0, 3), ssrc)
	return append(b, 1, 4, 'e', 'x', 'a', 'm', 0, 0)
}

// senderReport is an RTCP SR (RFC 3550 §6.4.1) without report blocks.
func senderReport(ssrc uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0x80, 200, 0, 6}, ssrc)
	return append(b, make([]byte, 20)...)
}

// describe writes a packet as text, all of it.
func describe(b []byte) string {
	switch {
	case len(b) >= 8 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223:
		return fmt.Sprintf("RTCP %x", b)
	case len(b) >= 12 && b[0]>>6 == 2:
		return fmt.Sprintf("RTP first=%#x pt=%d marker=%d seq=%d ts=%d ssrc=%#x payload=%s", b[0], b[1]&0x7f, b[1]>>7,
			binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), payload(b[12:]))
	}
	return fmt.Sprintf("%d bytes %x", len(b), b)
}

// payload shortens one byte many times over.
func payload(b []byte) string {
	if len(b) > 1 && bytes.Count(b, b[:1]) == len(b) {
		return fmt.Sprintf("%d times %q", len(b), b[:1])
	}
	return fmt.Sprintf("%q", b)
}

// stream sends packets of a stream that the other side has to get unchanged.
func stream(from *socket, to netip.AddrPort, at *socket, payload, first, count int, ssrc uint32) {
	for n := first; n < first+count; n++ {
		from.send(to, audio(payload, n, ssrc).bytes())
		at.expect()
	}
}
