package traffic

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Kind is what the second leg of calls speaks; the first one speaks RTP.
type Kind string

// Kinds.
const (
	RTP  Kind = "rtp"  // to RTP
	SRTP Kind = "srtp" // to SRTP with keys in the SDP (RFC 4568): AES_CM_128_HMAC_SHA1_80
	DTLS Kind = "dtls" // to SRTP with keys by DTLS (RFC 5764)
)

const (
	suite   = "AES_CM_128_HMAC_SHA1_80"
	keyLen  = 16
	saltLen = 14
)

// ErrSDP says that the daemon's SDP lacks something.
var ErrSDP = errors.New("traffic: SDP")

// Parties says how calls look.
type Parties struct {
	Kind       Kind
	Address    [2]netip.Addr // of the SDP of the first and the second leg
	Interfaces [2]string     // of the daemon, towards the first and the second leg; empty = its default

	identity identity // of the second leg, for DTLS
}

// call is one call and what its two legs have been told.
type call struct {
	id   string
	port [2]uint16         // ours
	to   [2]netip.AddrPort // the daemon's port for the leg
	out  *srtp.Context     // of the second leg, to send
	in   *srtp.Context     // of the second leg, to hear
}

func newCall(number int, ports [2]uint16) *call {
	var id [8]byte
	_, _ = rand.Read(id[:])
	return &call{id: fmt.Sprintf("%x-%d", id, number), port: ports}
}

// shape is what the descriptions of both legs have in common.
type shape struct {
	version   int    // of the o= line, from 1
	codecs    string // payload types
	offered   string // direction of the first leg
	direction string // of the second one
}

// first is how calls begin.
func first() shape {
	return shape{version: 1, codecs: "0 8", offered: "sendrecv", direction: "sendrecv"}
}

// sdp describes a leg.
func (p *Parties) sdp(leg int, port uint16, look shape, lines ...string) string {
	addr, proto, direction := p.Address[leg], "RTP/AVP", look.offered
	if leg == 1 {
		direction = look.direction
		switch p.Kind {
		case SRTP:
			proto = "RTP/SAVP"
		case DTLS:
			proto = "UDP/TLS/RTP/SAVP"
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=phone %d %d IN IP4 %s\r\ns=call\r\nc=IN IP4 %s\r\nt=0 0\r\n", port, look.version, addr, addr)
	fmt.Fprintf(&b, "m=audio %d %s %s 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n", port, proto, look.codecs)
	b.WriteString("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=" + direction + "\r\n")
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	return b.String()
}

// establish makes an offer and the answer, the first one or another.
func (c *call) establish(control *Control, p *Parties, look shape) error {
	offered, err := c.offer(control, p, look)
	if err != nil {
		return err
	}
	var lines []string
	switch p.Kind {
	case RTP:
		c.out, c.in = nil, nil
	case SRTP:
		line, err := c.chooseKey(offered)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	case DTLS:
		lines = append(lines, "a=setup:active", "a=fingerprint:sha-256 "+p.identity.fingerprint)
	}
	return c.answer(control, p, look, lines...)
}

func (c *call) request(command ng.Command, p *Parties) *ng.Request {
	return &ng.Request{Command: command, CallID: c.id, FromTag: "a", ICE: ng.ICERemove, Replace: ng.ReplaceOrigin, Direction: p.Interfaces}
}

// offer lets the first leg offer, and notes what the second one is told.
func (c *call) offer(control *Control, p *Parties, look shape) (sdp string, err error) {
	req := c.request(ng.CommandOffer, p)
	req.SDP = p.sdp(0, c.port[0], look)
	if look.version > 1 {
		req.ToTag = "b"
	}
	switch p.Kind {
	case RTP:
		req.TransportProtocol = ng.ProtocolRTPAVP
	case SRTP:
		req.TransportProtocol, req.DTLS = ng.ProtocolRTPSAVP, ng.DTLSOff
	case DTLS:
		req.TransportProtocol = ng.ProtocolTLSSAVP
	}
	return c.describe(control, req, 1)
}

// answer lets the second leg answer, and notes what the first one is told.
func (c *call) answer(control *Control, p *Parties, look shape, lines ...string) error {
	req := c.request(ng.CommandAnswer, p)
	req.ToTag, req.SDP = "b", p.sdp(1, c.port[1], look, lines...)
	if p.Interfaces[0] != "" { // towards the sender, towards the receiver of this message
		req.Direction = [2]string{p.Interfaces[1], p.Interfaces[0]}
	}
	req.TransportProtocol = ng.ProtocolRTPAVP
	_, err := c.describe(control, req, 0)
	return err
}

func (c *call) describe(control *Control, req *ng.Request, leg int) (string, error) {
	reply, err := control.Do(req)
	if err != nil {
		return "", err
	}
	described, ok := reply.(*ng.SDPReply)
	if !ok {
		return "", fmt.Errorf("%w: %s: %T", ErrSDP, req.Command, reply)
	}
	c.to[leg], err = mediaAddress(described.SDP)
	return described.SDP, err
}

// remove deletes the call.
func (c *call) remove(control *Control) error {
	none := 0
	_, err := control.Do(&ng.Request{Command: ng.CommandDelete, CallID: c.id, FromTag: "a", DeleteDelay: &none})
	return err
}

// chooseKey makes contexts of the daemon's key and one of ours, and returns the line of the answer.
func (c *call) chooseKey(offered string) (line string, err error) {
	for l := range strings.Lines(offered) {
		fields := strings.Fields(strings.TrimPrefix(l, "a=crypto:"))
		if !strings.HasPrefix(l, "a=crypto:") || len(fields) < 3 || fields[1] != suite {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(fields[2], "inline:"), "|")
		theirs, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil || len(theirs) != keyLen+saltLen {
			return "", fmt.Errorf("%w: %q", ErrSDP, l)
		}
		ours := make([]byte, keyLen+saltLen)
		_, _ = rand.Read(ours)
		if err := c.protect(ours[:keyLen], ours[keyLen:], theirs[:keyLen], theirs[keyLen:]); err != nil {
			return "", err
		}
		return fmt.Sprintf("a=crypto:%s %s inline:%s", fields[0], suite, base64.StdEncoding.EncodeToString(ours)), nil
	}
	return "", fmt.Errorf("%w: no crypto line with %s in %q", ErrSDP, suite, offered)
}

// protect makes the contexts of the second leg.
func (c *call) protect(key, salt, theirKey, theirSalt []byte) (err error) {
	profile := srtp.ProtectionProfileAes128CmHmacSha1_80
	if c.out, err = srtp.CreateContext(key, salt, profile); err != nil {
		return err
	}
	c.in, err = srtp.CreateContext(theirKey, theirSalt, profile)
	return err
}

// mediaAddress is where the first media of an SDP wants packets.
func mediaAddress(sdp string) (netip.AddrPort, error) {
	var addr netip.Addr
	port := 0
	for l := range strings.Lines(sdp) {
		fields := strings.Fields(l)
		switch {
		case strings.HasPrefix(l, "c=") && len(fields) == 3:
			addr, _ = netip.ParseAddr(fields[2])
		case strings.HasPrefix(l, "m=") && len(fields) > 3 && port == 0:
			port, _ = strconv.Atoi(fields[1])
		}
	}
	if !addr.IsValid() || port <= 0 || port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("%w: no media address in %q", ErrSDP, sdp)
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}
