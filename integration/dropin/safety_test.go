//go:build integration

package dropin

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// TestSafety attacks calls of mediad by packets, from addresses that are no part
// of them. What is about one package is tested there: forged and replayed
// packets, keys and windows in mediad/internal/secure and flow; checks without
// credentials and their floods in mediad/internal/connect.
func TestSafety(t *testing.T) {
	t.Parallel()
	program, err := mediad()
	if err != nil {
		t.Fatal(err)
	}
	d := startOne(t, "mediad", program, start{options: plain})
	for _, c := range attacks {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := hold(d, c, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOnlyConfiguredPeers has listeners that anybody can reach and one client
// that is let in.
func TestOnlyConfiguredPeers(t *testing.T) {
	t.Parallel()
	program, err := mediad()
	if err != nil {
		t.Fatal(err)
	}
	options := append([]string{"--ng-allow=" + ours4, "--ng-allow=2001:db8:1234::/126", "-N", "2224", "--listen-http=2225", "-c", "2226", "-u", "2227"}, plain...)
	d := startOne(t, "mediad", program, start{options: options})
	for _, client := range []struct {
		from, to string
		allowed  bool
	}{{ours4, ours4, true}, {party4, ours4, false}, {second4, ours4, false}, {party6, ours6, true}, {second6, ours6, false}} {
		for _, l := range []struct{ network, port, ask, answer string }{
			{"udp", "2223", "cookie d7:command4:pinge", "pong"},
			{"tcp", "2224", "cookie d7:command4:pinge", "pong"},
			{"tcp", "2225", "POST /ng HTTP/1.0\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: 24\r\n\r\ncookie d7:command4:pinge", "pong"},
			{"tcp", "2226", "list numsessions\n", "sessions"},
			{"udp", "2227", "cookie V", "20040107"},
		} {
			got, err := d.converse(l.network, client.from, net.JoinHostPort(client.to, l.port), l.ask)
			if err != nil {
				t.Errorf("%s to %s %s: %v", client.from, l.network, l.port, err)
			}
			if strings.Contains(got, l.answer) != client.allowed {
				t.Errorf("%s asks %s %s %q and gets %.80q", client.from, l.network, l.port, l.ask, got)
			}
			if !client.allowed && l.network == "udp" && got != "" {
				t.Errorf("%s gets %q over UDP", client.from, got)
			}
		}
	}
}

// converse sends text from an address and returns what comes back.
func (d *daemon) converse(network, from, to, text string) (string, error) {
	var local net.Addr = &net.TCPAddr{IP: net.ParseIP(from)}
	if network == "udp" {
		local = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	var conn net.Conn
	err := d.space.Do(func() (err error) {
		dialer := net.Dialer{LocalAddr: local, Timeout: time.Second}
		conn, err = dialer.Dial(network, to)
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := io.WriteString(conn, text); err != nil {
		return "", nil // closed at once
	}
	var got strings.Builder
	buffer := make([]byte, 16<<10)
	for {
		n, err := conn.Read(buffer)
		got.Write(buffer[:n])
		if err != nil || network == "udp" {
			return got.String(), nil
		}
	}
}

// learningTime is how long after signalling an address may be learned.
const learningTime = 3 * time.Second

var attacks = []conversation{
	{"bleed", func(t *talk) {
		a, b, thief := t.natted(bare4)
		towardsB, towardsA := t.offer(bare4), t.answer(bareAnswer4)
		a.send(towardsA.rtp(0), audio(0, 0, 1).bytes())
		b.must(audio(0, 0, 1))
		thief.send(towardsA.rtp(0), audio(0, 1, 2).bytes()) // while learning is open: the address of the SDP is better
		b.next(packetLimit)
		b.send(towardsB.rtp(0), audio(0, 0, 3).bytes())
		a.must(audio(0, 0, 3))
		time.Sleep(learningTime)
		a.send(towardsA.rtp(0), audio(0, 1, 1).bytes())
		b.must(audio(0, 1, 1))
		for range 1000 { // packets alone cannot open it again
			thief.send(towardsA.rtp(0), audio(0, 2, 2).bytes())
		}
		b.drain()
		b.send(towardsB.rtp(0), audio(0, 1, 3).bytes())
		a.must(audio(0, 1, 3))
		thief.mustBeQuiet()
	}},
	{"bleed-after-hold", func(t *talk) {
		a, b, thief := t.natted(bare4)
		t.offer(bare4)
		towardsA := t.answer(bareAnswer4)
		a.send(towardsA.rtp(0), audio(0, 0, 1).bytes())
		b.must(audio(0, 0, 1))
		towardsB := t.offer(bare4+"a=sendonly\n", keys{"to-tag": t.to})
		t.answer(bareAnswer4 + "a=recvonly\n")
		thief.send(towardsA.rtp(0), audio(0, 1, 2).bytes()) // signalling opened it, but the one before is known
		b.drain()
		b.send(towardsB.rtp(0), audio(0, 0, 3).bytes())
		a.must(audio(0, 0, 3))
		thief.mustBeQuiet()
	}},
	{"inject", func(t *talk) {
		a, b, thief := t.natted(bare4)
		strict := flags("strict-source")
		t.offer(bare4, strict)
		towardsA := t.answer(bareAnswer4, strict)
		a.send(towardsA.rtp(0), audio(0, 0, 1).bytes())
		b.must(audio(0, 0, 1))
		time.Sleep(learningTime)
		a.send(towardsA.rtp(0), audio(0, 1, 1).bytes())
		b.must(audio(0, 1, 1))
		thief.send(towardsA.rtp(0), audio(0, 2, 1).bytes())
		b.mustBeQuiet()
		bye := []byte{0x81, 203, 0, 1, 0, 0, 0, 1} // RTCP BYE for the caller's source
		reports := t.socket("B's RTCP", other4, 2003)
		aRTCP := t.socket("A's RTCP", party4, 2001)
		aRTCP.send(towardsA.rtcp(0), receiverReport(1))
		reports.mustBe(receiverReport(1))
		thief.send(towardsA.rtcp(0), bye)
		reports.mustBeQuiet()
	}},
	{"no-rtp", func(t *talk) {
		a, b := t.phones()
		t.offer(bare4)
		towardsA := t.answer(bareAnswer4)
		for _, packet := range [][]byte{
			{0x80, 8, 0, 1}, {0x80}, {}, {0xc0, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}, []byte("no RTP at all, but long enough"),
		} {
			a.send(towardsA.rtp(0), packet)
		}
		b.mustBeQuiet()
	}},
	{"srtp-before-learning", func(t *talk) {
		b := t.socket("B", other4, 2002)
		behindNAT := t.socket("A behind a NAT", second4, 4000)
		thief := t.socket("a thief", party6, 4001)
		_ = thief
		stranger := t.socket("a stranger", party4, 2001)
		towardsB := t.offer(srtp4(party4, 2000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+keyA), keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		seal := seal(t.context(keyA))
		forged := seal(audio(0, 0, 1).bytes())
		forged[len(forged)-1] ^= 1
		stranger.send(towardsA.rtp(0), forged) // its address is better than that of A: that of the SDP
		stranger.send(towardsA.rtp(0), audio(0, 0, 1).bytes())
		b.mustBeQuiet()
		behindNAT.send(towardsA.rtp(0), seal(audio(0, 1, 1).bytes()))
		b.must(audio(0, 1, 1))
		b.send(towardsB.rtp(0), audio(0, 0, 3).bytes())
		if packet, _ := behindNAT.next(packetLimit); packet == nil {
			t.stop("the party that can prove itself gets no media")
		}
		stranger.mustBeQuiet()
	}},
	{"srtp-rollover", func(t *talk) {
		a, b := t.phones()
		crypto := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + keyA
		towardsB := t.offer(srtp4(party4, 2000, crypto), keys{"transport-protocol": "RTP/AVP"})
		towardsA := t.answer(bareAnswer4)
		seal, open := seal(t.context(keyA)), open(t.context(towardsA.crypto(0)))
		both := func(sequence int) {
			p := rtp{payload: 0, sequence: uint16(sequence), timestamp: uint32(sequence * 160), ssrc: 7, body: "rollover"}
			a.send(towardsA.rtp(0), seal(p.bytes()))
			b.must(p)
			b.send(towardsB.rtp(0), p.bytes())
			if packet, _ := a.next(packetLimit); packet == nil {
				t.stop("packet %d does not come back", sequence)
			} else if clear, err := open(packet); err != nil || !bytes.Equal(clear, p.bytes()) {
				t.stop("packet %d comes back as %x (%v)", sequence, clear, err)
			}
		}
		for sequence := 65530; sequence < 65542; sequence++ {
			both(sequence)
		}
		// A hold keeps the keys, and so the counter of rollovers.
		t.offer(srtp4(party4, 2000, crypto, "a=sendonly"), keys{"transport-protocol": "RTP/AVP", "to-tag": t.to})
		t.answer(bareAnswer4 + "a=recvonly\n")
		both(65542)
		// Another source begins with a counter of its own.
		p := rtp{payload: 0, sequence: 3, timestamp: 5, ssrc: 8, body: "new source"}
		a.send(towardsA.rtp(0), seal(p.bytes()))
		b.must(p)
		both(65543)
	}},
	{"stun-flood", func(t *talk) {
		a, b := t.phones()
		thief := t.socket("a thief", other4, 4000)
		towardsB := t.offer(ice4("Abcd"), toSIP)
		towardsA := t.answer(bareAnswer4, keys{"ICE": "force"})
		pwd := towardsA.attribute(0, "ice-pwd")
		t.check(a, towardsA.rtp(0), towardsA.attribute(0, "ice-ufrag")+":Abcd", pwd, true)
		sent := 0
		for i := range 5000 {
			key := "no-such-password-no-such"
			packet := bindingRequest(towardsA.attribute(0, "ice-ufrag")+":Abcd", key)
			if i%2 == 0 {
				packet = bindingRequest("nobody:nobody", pwd)
			}
			thief.send(towardsA.rtp(0), packet)
			sent += len(packet)
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		thief.reflects(sent)
		a.answerChecks()
		b.send(towardsB.rtp(0), audio(0, 0, 3).bytes())
		a.mustMedia(audio(0, 0, 3))
		thief.send(towardsA.rtp(0), audio(0, 0, 9).bytes()) // not of a checked pair
		b.mustBeQuiet()
	}},
	{"dtls-flood", func(t *talk) {
		for name, offer := range map[string]string{"without ICE": dtls4("actpass"), "with ICE": dtls4("actpass") + iceLines} {
			b := t.socket("B", other4, 2002)
			towardsB := t.offer(offer, keys{"transport-protocol": "RTP/AVP", "ICE": "remove"})
			towardsA := t.answer(bareAnswer4, keys{"DTLS": "passive"})
			_, _ = b, towardsB
			sent := 0
			var thieves []*socket
			for i := range 5 {
				thieves = append(thieves, t.socket("a thief", other4, 5000+i))
				for range 400 {
					thieves[i].send(towardsA.rtp(0), clientHello)
					sent += len(clientHello)
				}
			}
			got := 0
			for _, s := range thieves {
				got += s.drain()
				_ = s.conn.Close()
			}
			if got > sent {
				t.stop("%s: %d bytes come back for %d", name, got, sent)
			}
			_ = b.conn.Close()
			t.again()
		}
		// The daemon is still there for others.
		t.ask("ping", nil)
	}},
	{"media-port-reflects-nothing", func(t *talk) {
		thief := t.socket("a thief", other4, 4000)
		t.offer(bare4)
		towardsA := t.answer(bareAnswer4)
		sent := 0
		for _, packet := range [][]byte{
			{}, {0}, bindingRequest("a:b", "pwd"), clientHello, receiverReport(1), senderReport(1), audio(0, 1, 1).bytes(),
			bytes.Repeat([]byte{0x40}, 1400), bytes.Repeat([]byte{0xff}, 1400), []byte("d7:command4:pinge"), []byte("x d7:command4:pinge"),
		} {
			for _, to := range []netip.AddrPort{towardsA.rtp(0), towardsA.rtcp(0)} {
				thief.send(to, packet)
				sent += len(packet)
			}
		}
		thief.reflects(sent)
	}},
}

// natted opens the ports of both parties and that of a thief.
func (t *talk) natted(string) (a, b, thief *socket) {
	a, b = t.phones()
	return a, b, t.socket("a thief", second4, 4000)
}

// must receives a packet that has to be p.
func (s *socket) must(p rtp) { s.mustBe(p.bytes()) }

func (s *socket) mustBe(want []byte) {
	packet, _ := s.next(packetLimit)
	if !bytes.Equal(packet, want) {
		s.talk.stop("%s gets %s, want %s", s.name, describe(packet), describe(want))
	}
}

// mustMedia is must that answers checks and passes over handshakes.
func (s *socket) mustMedia(p rtp) {
	for {
		packet, from := s.next(packetLimit)
		if packet != nil && (isCheck(packet) || isDTLS(packet)) {
			s.talk.respond(s, from, packet)
			continue
		}
		if !bytes.Equal(packet, p.bytes()) {
			s.talk.stop("%s gets %s, want %s", s.name, describe(packet), describe(p.bytes()))
		}
		return
	}
}

// answerChecks answers the daemon's own checks, without which it has no pair to
// send by, until there are no more for a while.
func (s *socket) answerChecks() {
	for {
		packet, from := s.next(quietLimit)
		if packet == nil {
			return
		}
		s.talk.respond(s, from, packet)
	}
}

func (s *socket) mustBeQuiet() {
	if packet, from := s.next(quietLimit); packet != nil {
		s.talk.stop("%s gets %s from %v", s.name, describe(packet), from)
	}
}

// drain reads all that has come and returns its bytes.
func (s *socket) drain() int {
	n := 0
	for {
		packet, _ := s.next(quietLimit)
		if packet == nil {
			return n
		}
		n += len(packet)
	}
}

// reflects fails if more comes back than was sent.
func (s *socket) reflects(sent int) {
	if got := s.drain(); got > sent {
		s.talk.stop("%d bytes come back for %d", got, sent)
	}
}

// check sends an ICE check (RFC 8445 §7.2.4) that has to succeed.
func (t *talk) check(s *socket, to netip.AddrPort, user, password string, nominate bool) {
	more := []stun.Setter{}
	if nominate {
		more = append(more, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	s.send(to, bindingRequest(user, password, more...))
	for range 20 {
		packet, _ := s.next(packetLimit)
		m := stun.Message{Raw: packet}
		if packet == nil {
			break
		}
		if m.Decode() == nil && m.Type == stun.BindingSuccess {
			return
		}
		t.respond(s, to, packet)
	}
	t.stop("%s: the check is not answered", s.name)
}

// respond answers a check of the daemon's.
func (t *talk) respond(s *socket, to netip.AddrPort, packet []byte) {
	request := stun.Message{Raw: packet}
	if request.Decode() != nil || request.Type != stun.BindingRequest {
		return
	}
	response, err := stun.Build(&request, stun.BindingSuccess,
		&stun.XORMappedAddress{IP: to.Addr().AsSlice(), Port: int(to.Port())},
		stun.NewShortTermIntegrity("bP+XJMM09aR8AiX1jdukzR6Y"), stun.Fingerprint)
	if err != nil {
		t.stop("stun: %v", err)
	}
	s.send(to, response.Raw)
}

// bindingRequest is an ICE check of the controlling side.
func bindingRequest(user, password string, more ...stun.Setter) []byte {
	setters := append([]stun.Setter{
		stun.TransactionID, stun.BindingRequest, stun.NewUsername(user),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{0x6e, 0, 1, 0xff}},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: []byte("tiebreak")},
	}, more...)
	m, err := stun.Build(append(setters, stun.NewShortTermIntegrity(password), stun.Fingerprint)...)
	if err != nil {
		panic(fmt.Sprintf("stun: %v", err))
	}
	return m.Raw
}

const iceLines = `a=ice-ufrag:Abcd
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=candidate:1 1 UDP 2130706431 198.51.100.1 2000 typ host
`

// clientHello begins a DTLS 1.2 handshake (RFC 6347 §4.2): one suite, no cookie.
var clientHello = []byte{
	22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, // record: handshake, epoch 0, sequence 0, 54 bytes
	1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, // ClientHello, 42 bytes in one fragment
	0xfe, 0xfd, // version
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
	0, 0, // no session, no cookie
	0, 2, 0xc0, 0x2b, // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	1, 0, // no compression
}
