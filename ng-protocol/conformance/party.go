package conformance

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

// party is one media stream of a party of a scenario: "A" is the first stream
// of A, "A2" its second. It has a pair of UDP ports.
type party struct {
	rtp, rtcp *socket
	peer      netip.AddrPort // where the last SDP for the party tells it to send
	control   netip.AddrPort // the same for RTCP
	own       []string       // session and media lines of the party's last SDP
	remote    []string       // the same of the daemon's last SDP for the party

	certificate *tls.Certificate
	session     *dtls.Conn
	keys        string // the SDES keys that the contexts are made of, "dtls" if made by a handshake
	out, in     *srtp.Context
	last        []byte   // packet sent
	check       datagram // STUN request received
	transaction [12]byte // of the STUN request sent
}

// ErrNoPeer means that a party cannot send: no SDP has told it where to.
var ErrNoPeer = errors.New("conformance: the party has got no SDP to send to")

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
			return &party{rtp: newSocket(rtp), rtcp: newSocket(rtcp)}, nil
		}
		_ = rtp.Close()
	}
	return nil, errNoPair
}

func (p *party) close() {
	if p.session != nil {
		_ = p.session.Close() // the daemon may be gone: its alert is lost
	}
	p.rtp.close()
	p.rtcp.close()
}

func (p *party) address() netip.AddrPort {
	a := p.rtp.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (p *party) port() int { return int(p.address().Port()) }

// setPeer takes the addresses from one m= section and the session's c= line.
func (p *party) setPeer(session, media []string) {
	p.remote = slices.Concat(session, media)
	var host string
	var rtp, rtcp int
	for _, l := range p.remote {
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

// socketFor is the socket and the address of the daemon for RTP or RTCP.
func (p *party) socketFor(isRTCP bool) (*socket, netip.AddrPort) {
	switch {
	case !isRTCP:
		return p.rtp, p.peer
	case p.control.Port() == p.peer.Port():
		return p.rtp, p.control
	}
	return p.rtcp, p.control
}

func (p *party) send(fields map[string]string) error {
	kind := fields["kind"]
	s, to := p.socketFor(strings.HasSuffix(kind, "rtcp"))
	if !to.IsValid() {
		return ErrNoPeer
	}
	packet, err := p.packet(kind, fields)
	if err != nil {
		return err
	}
	p.last = packet
	if _, err = s.conn.WriteToUDPAddrPort(packet, to); err != nil { // of a family that the party does not have
		return fmt.Errorf("%w: %w", ErrNoPeer, err)
	}
	return nil
}

func (p *party) packet(kind string, fields map[string]string) ([]byte, error) {
	switch {
	case fields["repeat"] != "":
		return p.last, nil
	case kind == "stun":
		return p.buildSTUN(fields)
	}
	packet, err := build(fields)
	if err != nil || kind[0] != 's' {
		return packet, err
	}
	return p.encrypt(packet, fields["damage"] != "")
}

// receive returns the next packet of a kind as a line of text, "nothing" if
// none comes.
func (p *party) receive(fields map[string]string, limit time.Duration) (string, error) {
	kind := fields["kind"]
	s, _ := p.socketFor(strings.HasSuffix(kind, "rtcp"))
	if kind == "stun" {
		return p.receiveSTUN(fields["class"], limit)
	}
	d, err := next(s.media, limit)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "nothing", nil
	}
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(kind, "s") {
		return describe(d.data), nil
	}
	plain, err := p.decrypt(d.data)
	if err != nil {
		return fmt.Sprintf("unauthenticated bytes=%d", len(d.data)), nil
	}
	return "s" + describe(plain), nil
}
