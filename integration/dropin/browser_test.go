//go:build integration

package dropin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
)

// A browser is a party that does ICE, DTLS and SRTP on one port. Its reader
// answers checks and keeps handshake and media apart.
type browser struct {
	*socket
	password    string // of its own ICE credentials
	certificate tls.Certificate
	fingerprint string

	handshake chan []byte
	media     chan []byte
	checked   chan struct{} // closed when a check of the daemon's has come
	once      sync.Once
	reading   sync.WaitGroup
	peer      netip.AddrPort
	dtls      *dtls.Conn
	seal      func([]byte) []byte
	open      func([]byte) ([]byte, error)
}

// browser opens the port of a browser.
func (t *talk) browser(name, address string, port int) *browser {
	certificate, err := selfsign.GenerateSelfSigned()
	if err != nil {
		t.stop("certificate: %v", err)
	}
	hash := sha256.Sum256(certificate.Certificate[0])
	b := &browser{
		socket: t.socket(name, address, port), password: "bP+XJMM09aR8AiX1jdukzR6Y", certificate: certificate,
		fingerprint: strings.ReplaceAll(fmt.Sprintf("% X", hash), " ", ":"),
		handshake:   make(chan []byte, 100), media: make(chan []byte, 100), checked: make(chan struct{}),
	}
	t.browsers = append(t.browsers, b)
	return b
}

// sdp is the browser's SDP.
func (b *browser) sdp(setup, ufrag string) string {
	host, port := b.conn.LocalAddr().(*net.UDPAddr).IP.String(), b.conn.LocalAddr().(*net.UDPAddr).Port
	return strings.ReplaceAll(browser4(host, port, setup, ufrag), fingerprintA, b.fingerprint)
}

// close ends what connect began. It returns when nothing runs any more.
func (b *browser) close() {
	if b.dtls != nil {
		_ = b.dtls.Close()
	}
	_ = b.conn.Close()
	b.reading.Wait()
}

// connect does the browser's part of ICE (RFC 8445) and of DTLS-SRTP (RFC 5764)
// as the client, with what the daemon said in d.
func (b *browser) connect(d description, ufrag string, controlling bool) {
	t := b.talk
	b.peer = d.rtp(0)
	b.reading.Go(b.read)
	if controlling {
		request := bindingRequest(d.attribute(0, "ice-ufrag")+":"+ufrag, d.attribute(0, "ice-pwd"), stun.RawAttribute{Type: stun.AttrUseCandidate})
		b.send(b.peer, request)
	}
	select {
	case <-b.checked:
	case <-time.After(5 * time.Second):
		t.stop("%s: ICE does not come to pass", b.name)
	}
	var err error
	b.dtls, err = dtls.ClientWithOptions(&pipe{b}, net.UDPAddrFromAddrPort(b.peer), dtls.WithCertificates(b.certificate), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret))
	if err != nil {
		t.stop("DTLS: %v", err)
	}
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.dtls.HandshakeContext(limit); err != nil {
		t.stop("%s: handshake: %v", b.name, err)
	}
	b.keys()
	time.Sleep(settle)
}

// settle is how long after the end of a handshake on one side it may show on the
// other.
const settle = 150 * time.Millisecond

func (b *browser) keys() {
	t := b.talk
	state, ok := b.dtls.ConnectionState()
	if !ok {
		t.stop("DTLS has no state")
	}
	certificate := sha256.Sum256(state.PeerCertificates[0])
	t.record("%s: handshake done, fingerprint %s", b.name, t.normal.name("fingerprint", strings.ReplaceAll(fmt.Sprintf("% X", certificate), " ", ":")))
	config := &srtp.Config{Profile: srtp.ProtectionProfileAes128CmHmacSha1_80}
	if err := config.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		t.stop("keys: %v", err)
	}
	keys := config.Keys
	own, err := srtp.CreateContext(keys.LocalMasterKey, keys.LocalMasterSalt, config.Profile)
	if err != nil {
		t.stop("keys: %v", err)
	}
	theirs, err := srtp.CreateContext(keys.RemoteMasterKey, keys.RemoteMasterSalt, config.Profile)
	if err != nil {
		t.stop("keys: %v", err)
	}
	b.seal, b.open = seal(own), open(theirs)
}

// read takes packets apart until the socket closes.
func (b *browser) read() {
	buffer := make([]byte, 2048)
	for {
		n, from, err := b.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			close(b.handshake)
			return
		}
		packet := append([]byte(nil), buffer[:n]...)
		switch {
		case n == 0:
		case isCheck(packet):
			b.answer(packet, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		case isDTLS(packet):
			offer(b.handshake, packet)
		default:
			offer(b.media, packet)
		}
	}
}

func offer(queue chan []byte, packet []byte) {
	select {
	case queue <- packet:
	default:
	}
}

// answer responds to a check of the daemon's. Either it or the response to our own
// check tells that packets pass.
func (b *browser) answer(packet []byte, from netip.AddrPort) {
	m := stun.Message{Raw: packet}
	if m.Decode() != nil {
		return
	}
	if m.Type == stun.BindingRequest {
		response, err := stun.Build(&m, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())},
			stun.NewShortTermIntegrity(b.password), stun.Fingerprint)
		if err == nil {
			_, _ = b.conn.WriteToUDPAddrPort(response.Raw, from)
		}
	}
	if from == b.peer && m.Type.Class != stun.ClassErrorResponse {
		b.once.Do(func() { close(b.checked) })
	}
}

// hears records the next media packet, decrypted.
func (b *browser) hears() {
	select {
	case packet := <-b.media:
		clear, err := b.open(packet)
		if err != nil {
			b.talk.record("%s: %d bytes that cannot be decrypted: %v", b.name, len(packet), err)
			return
		}
		b.talk.record("%s: encrypted %s", b.name, describe(clear))
	case <-time.After(packetLimit):
		b.talk.record("%s: nothing comes", b.name)
	}
}

// says sends an encrypted packet.
func (b *browser) says(p rtp) { b.send(b.peer, b.seal(p.bytes())) }

// pipe is the part of a browser's port that DTLS uses.
type pipe struct{ *browser }

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	packet, ok := <-p.handshake
	if !ok {
		return 0, nil, net.ErrClosed
	}
	return copy(b, packet), net.UDPAddrFromAddrPort(p.peer), nil
}

func (p *pipe) WriteTo(b []byte, to net.Addr) (int, error) { return p.conn.WriteTo(b, to) }

// Close closes the port: DTLS reads until then.
func (p *pipe) Close() error { return p.conn.Close() }

func (p *pipe) LocalAddr() net.Addr              { return p.conn.LocalAddr() }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

var browserMedia = []conversation{
	{"media-browser-to-sip", func(t *talk) {
		a, b := t.browser("A", party4, 2000), t.socket("B", other4, 2002)
		towardsB := t.offer(a.sdp("actpass", "Abcd"), toSIP)
		towardsA := t.answer(bareAnswer4, toBrowser)
		a.connect(towardsA, "Abcd", true)
		for n := range 3 {
			a.says(audio(0, n, 0x1234))
			b.expect()
			b.send(towardsB.rtp(0), audio(0, n, 0x5678).bytes())
			a.hears()
		}
		t.ask("query", nil)
		// A hold does not disturb keys or path.
		t.offer(strings.Replace(a.sdp("actpass", "Abcd"), "sendrecv", "sendonly", 1), toSIP, keys{"to-tag": t.to})
		t.answer(bareAnswer4+"a=recvonly\n", toBrowser)
		a.says(audio(0, 3, 0x1234))
		b.expect()
	}},
	{"media-sip-to-browser", func(t *talk) {
		a, b := t.socket("A", party4, 2000), t.browser("B", other4, 2002)
		towardsB := t.offer(bare4, toBrowser)
		towardsA := t.answer(b.sdp("active", "Efgh"), toSIP)
		b.connect(towardsB, "Efgh", false)
		for n := range 3 {
			a.send(towardsA.rtp(0), audio(0, n, 0x1234).bytes())
			b.hears()
			b.says(audio(0, n, 0x5678))
			a.expect()
		}
	}},
	{"media-browser-to-browser", func(t *talk) {
		a, b := t.browser("A", party4, 2000), t.browser("B", other4, 2002)
		towardsB := t.offer(a.sdp("actpass", "Abcd"), toBrowser)
		towardsA := t.answer(b.sdp("active", "Efgh"), toBrowser)
		a.connect(towardsA, "Abcd", true)
		b.connect(towardsB, "Efgh", false)
		for n := range 3 {
			a.says(audio(0, n, 0x1234))
			b.hears()
			b.says(audio(0, n, 0x5678))
			a.hears()
		}
	}},
}
