package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// party is one media stream of a party of a scenario: "A" is the first stream
// of A, "A2" its second. It has a pair of UDP ports.
type party struct {
	rtp, rtcp *net.UDPConn
	peer      netip.AddrPort // where the last SDP for the party tells it to send
	control   netip.AddrPort // the same for RTCP
}

var errNoPair = errors.New("conformance: no free pair of ports")

// Ports of parties lie below rtpengine's default range of 30000 to 40000, so
// that a number in an SDP tells whose port it is.
const (
	lowestPort = 21000
	portPairs  = 4000
)

func newParty(host string) (*party, error) {
	address := net.ParseIP(host)
	for range 100 {
		port := lowestPort + 2*rand.IntN(portPairs)
		rtp, err := net.ListenUDP("udp", &net.UDPAddr{IP: address, Port: port})
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		rtcp, err := net.ListenUDP("udp", &net.UDPAddr{IP: address, Port: port + 1})
		if err == nil {
			return &party{rtp: rtp, rtcp: rtcp}, nil
		}
		rtp.Close()
	}
	return nil, errNoPair
}

func (p *party) close() {
	p.rtp.Close()
	p.rtcp.Close()
}

func (p *party) port() int { return p.rtp.LocalAddr().(*net.UDPAddr).Port }

// setPeer takes the addresses from one m= section and the session's c= line.
func (p *party) setPeer(session, media []string) {
	var host string
	var rtp, rtcp int
	for _, l := range append(append([]string(nil), session...), media...) {
		f := strings.Fields(l)
		switch {
		case strings.HasPrefix(l, "c=") && len(f) == 3:
			host = f[2]
		case strings.HasPrefix(l, "m=") && len(f) > 2:
			rtp, _ = strconv.Atoi(f[1])
			rtcp = rtp + 1
		case l == "a=rtcp-mux":
			rtcp = rtp
		case strings.HasPrefix(l, "a=rtcp:"):
			if n, err := strconv.Atoi(strings.TrimPrefix(f[0], "a=rtcp:")); err == nil {
				rtcp = n
			}
		}
	}
	address, err := netip.ParseAddr(host)
	if err != nil || rtp == 0 || rtcp > 65535 {
		return // rejected media, or 0.0.0.0 of another kind: keeps its peer
	}
	p.peer = netip.AddrPortFrom(address, uint16(rtp))
	p.control = netip.AddrPortFrom(address, uint16(rtcp))
}

func (p *party) send(fields map[string]string) error {
	packet, err := build(fields)
	if err != nil {
		return err
	}
	conn, to := p.rtp, p.peer
	if fields["kind"] == "rtcp" {
		to = p.control
		if to.Port() != p.peer.Port() {
			conn = p.rtcp
		}
	}
	if !to.IsValid() {
		return errors.New("the party has got no SDP to send to")
	}
	_, err = conn.WriteToUDPAddrPort(packet, to)
	return err
}

// receive returns the next packet as a line of text, "nothing" if none comes.
func (p *party) receive(isRTCP bool, limit time.Duration) (string, error) {
	conn := p.rtp
	if isRTCP && p.control.Port() != p.peer.Port() {
		conn = p.rtcp
	}
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	buffer := make([]byte, 2048)
	n, _, err := conn.ReadFromUDPAddrPort(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "nothing", nil
	}
	if err != nil {
		return "", err
	}
	return describe(buffer[:n]), nil
}

// build makes an RTP packet (RFC 3550 §5.1) or an empty receiver report (§6.4.2).
func build(fields map[string]string) ([]byte, error) {
	number := func(key string, bits int) uint64 {
		n, _ := strconv.ParseUint(fields[key], 0, bits)
		return n
	}
	for key, value := range fields {
		switch key {
		case "kind", "payload":
		case "pt", "seq", "ts", "ssrc", "marker":
			if _, err := strconv.ParseUint(value, 0, 32); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("unknown field %q", key)
		}
	}
	if fields["kind"] == "rtcp" {
		return binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, uint32(number("ssrc", 32))), nil
	}
	b := []byte{0x80, byte(number("pt", 7) | number("marker", 1)<<7)}
	b = binary.BigEndian.AppendUint16(b, uint16(number("seq", 16)))
	b = binary.BigEndian.AppendUint32(b, uint32(number("ts", 32)))
	b = binary.BigEndian.AppendUint32(b, uint32(number("ssrc", 32)))
	return append(b, fields["payload"]...), nil
}

// describe writes a packet in the words of scenario files.
func describe(b []byte) string {
	switch {
	case len(b) >= 8 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223:
		return fmt.Sprintf("rtcp type=%d ssrc=%#x", b[1], binary.BigEndian.Uint32(b[4:]))
	case len(b) >= 12 && b[0]>>6 == 2:
		return fmt.Sprintf("rtp pt=%d marker=%d seq=%d ts=%d ssrc=%#x payload=%s", b[1]&0x7f, b[1]>>7,
			binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), printable(b[12:]))
	}
	return fmt.Sprintf("other %x", b)
}

// printable keeps test payloads readable and encrypted ones comparable by length.
func printable(b []byte) string {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return fmt.Sprintf("{%d-bytes}", len(b))
		}
	}
	return string(b)
}
