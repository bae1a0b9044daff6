package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"
	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/proxy/internal/ban"
	"github.com/tandem-sbc/tandem/proxy/internal/localca"
)

const allListeners = `
  - {name: udp, transport: udp, address: "127.0.0.1:0"}
  - {name: tcp, transport: tcp, address: "127.0.0.1:0"}
  - {name: wss, transport: wss, address: "127.0.0.1:0", origins: ["*"]}
`

// stream is a peer on a TCP or TLS connection from source.
func (s *site) stream(name, listener, source string, secure *tls.Config) *peer {
	s.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("tcp4", s.address(listener).String())
	require.NoError(s.t, err)
	via := "TCP"
	if secure != nil {
		conn, via = tls.Client(conn, secure), "TLS"
	}
	p := &peer{t: s.t, name: name, via: via, host: conn.LocalAddr().String()}
	p.write = func(b []byte) error { _, err := conn.Write(b); return err }
	buf := make([]byte, 65535)
	p.run(func() { conn.Close() }, func() ([]byte, error) { // messages of this test come alone
		n, err := conn.Read(buf)
		return buf[:n], err
	})
	return p
}

// From every side that a stranger can think of, nothing gets through the proxy that he may not send.
func TestNoOpenRelay(t *testing.T) {
	s := newSite(t)
	victim := s.udpAt("victim", "127.0.0.7:0") // a host outside that a relay would send to
	carrier := s.udpAt("carrier", "127.0.0.9:0")
	s.stop()
	s.listen(allListeners, `
trunks: [{name: carrier, sources: [127.0.0.9]}]
routes:
  - {name: out, pattern: "0[0-9]+", to: "sip:`+carrier.host+`"}`)
	phone := s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")
	outside := "sip:x@" + victim.host
	for name, c := range map[string]struct {
		method, uri string
		more        []string
		want        string
	}{
		"a foreign domain":                    {"INVITE", outside, nil, "407"},
		"a number of the dial plan":           {"INVITE", "sip:0123@example.org", nil, "407"},
		"a registered user":                   {"MESSAGE", "sip:bob@example.org", nil, "407"},
		"a preloaded route":                   {"INVITE", "sip:bob@example.org", []string{"Route: <sip:" + victim.host + ";lr>"}, "407"},
		"by the proxy to a preloaded route":   {"INVITE", outside, []string{"Route: <sip:" + s.address("udp").String() + ";lr>, <sip:" + victim.host + ";lr>"}, "407"},
		"SUBSCRIBE to a foreign domain":       {"SUBSCRIBE", outside, []string{"Event: presence"}, "407"},
		"OPTIONS to a foreign domain":         {"OPTIONS", outside, nil, "407"},
		"REFER out of a dialog":               {"REFER", "sip:bob@example.org", []string{"Refer-To: <" + outside + ">"}, "407"},
		"sips":                                {"INVITE", "sips:x@" + victim.host, nil, "407"},
		"maddr":                               {"INVITE", "sip:bob@example.org;maddr=127.0.0.7", nil, "407"},
		"an identity that a trunk may assert": {"INVITE", "sip:0123@example.org", []string{"P-Asserted-Identity: <sip:alice@example.org>"}, "407"},
	} {
		for _, stranger := range []*peer{s.udp("alice"), s.wss("alice"), s.stream("alice", "tcp", "127.0.0.1", nil)} {
			require.Contains(t, stranger.request(c.method, c.uri, "stranger-"+name, "", c.more...), "SIP/2.0 "+c.want, name)
			stranger.close()
		}
	}
	// Who has logged in stays within the dial plan: neither a route nor a maddr leads anywhere else.
	alice := s.stream("alice", "tcp", "127.0.0.1", nil)
	require.Contains(t, alice.request("INVITE", outside, "u1", "MD5"), "SIP/2.0 404")
	require.Contains(t, alice.request("MESSAGE", "sip:nobody@example.org", "u2", "MD5", "Route: <sip:"+victim.host+";lr>"), "SIP/2.0 404")
	require.Contains(t, alice.request("MESSAGE", "sip:nobody@example.org;maddr=127.0.0.7", "u3", "MD5"), "SIP/2.0 404")

	// A To tag does not make a request part of a call.
	foreign := func(p *peer, method, uri string, more ...string) string {
		p.cseq++
		p.send(append([]string{
			method + " " + uri + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bKf%d;rport", p.via, p.host, p.cseq), "Max-Forwards: 70",
			"From: <sip:alice@example.org>;tag=a", "To: <sip:bob@example.org>;tag=made-up", "Call-ID: none", fmt.Sprintf("CSeq: %d %s", p.cseq, method),
			"Contact: " + p.contact(),
		}, more...)...)
		return p.expect("SIP/2.0 ")
	}
	stranger := s.stream("stranger", "tcp", "127.0.0.1", nil)
	for _, method := range []string{"INVITE", "BYE", "MESSAGE", "INFO", "REFER", "NOTIFY", "UPDATE"} {
		require.Contains(t, foreign(stranger, method, outside), "SIP/2.0 481", method)
		require.Contains(t, foreign(stranger, method, outside, "Route: <sip:"+s.address("udp").String()+";lr;s=AAAA>"), "SIP/2.0 481", method)
	}
	// An ACK for nothing goes nowhere, and REGISTER is for oneself.
	stranger.send("ACK "+outside+" SIP/2.0", "Via: SIP/2.0/TCP x;branch=z9hG4bKa", "From: <sip:a@b>;tag=1", "To: <sip:c@d>;tag=2", "Call-ID: ack", "CSeq: 1 ACK", "Max-Forwards: 9")
	third := s.udp("alice")
	third.cseq = 50
	thirdParty := func(to, from string) string {
		credentials := ""
		for range 2 {
			third.cseq++
			lines := []string{
				"REGISTER sip:example.org SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKt%d;rport", third.host, third.cseq), "Max-Forwards: 70",
				"From: <sip:" + from + "@example.org>;tag=t", "To: <sip:" + to + ">", "Call-ID: third", fmt.Sprintf("CSeq: %d REGISTER", third.cseq),
				"Contact: " + third.contact(),
			}
			if credentials != "" {
				lines = append(lines, "Authorization: "+credentials)
			}
			third.send(lines...)
			res := third.expect("SIP/2.0 ")
			if credentials != "" || !strings.HasPrefix(res, "SIP/2.0 401") {
				return res
			}
			credentials = prove(t, headers(res, "WWW-Authenticate")[0], "REGISTER", "alice")
		}
		return ""
	}
	require.Contains(t, thirdParty("bob@example.org", "alice"), "SIP/2.0 403", "somebody else's address of record")
	require.Contains(t, thirdParty("x@elsewhere.example", "alice"), "SIP/2.0 403", "a foreign one")

	// Whoever forges a trunk's address reaches what the trunk may reach, and that is not the outside.
	forger := s.udpAt("carrier", "127.0.0.9:0")
	require.Contains(t, forger.request("INVITE", "sip:0123@example.org", "forged", "", "v=0"), "SIP/2.0 404")
	require.Contains(t, forger.request("INVITE", outside, "forged2", "", "v=0"), "SIP/2.0 404")
	require.Contains(t, forger.request("REGISTER", "sip:example.org", "forged3", ""), "SIP/2.0 401")
	require.Empty(t, victim.in)
	require.Empty(t, carrier.in)
	require.Empty(t, phone.in)
	require.Empty(t, s.commands(), "no media for anybody of them")
}

func TestBans(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.listen(allListeners, `
bans: {failures: 3, never: [127.0.0.3]}
trunks: [{name: carrier, sources: [127.0.0.9]}]`)
	closed := func(p *peer) {
		t.Helper()
		require.Eventually(t, func() bool { return p.write([]byte("\r\n\r\n")) != nil }, 2*time.Second, 5*time.Millisecond)
	}
	// Wrong passwords over TCP.
	mallory := s.stream("mallory", "tcp", "127.0.0.2", nil)
	for i := range 2 {
		require.Contains(t, mallory.request("REGISTER", "sip:example.org", fmt.Sprint("m", i), "MD5"), "SIP/2.0 401")
	}
	require.Empty(t, s.app.Bans())
	s.failing(mallory)
	closed(mallory)
	bans := s.app.Bans()
	require.Len(t, bans, 1)
	require.Equal(t, netip.MustParsePrefix("127.0.0.2/32"), bans[0].Source)
	require.Equal(t, ban.LoginFailed, bans[0].Reason)
	again := s.stream("mallory", "tcp", "127.0.0.2", nil)
	closed(again)
	require.True(t, s.app.LiftBan(netip.MustParseAddr("127.0.0.2")))
	require.Contains(t, s.stream("bob", "tcp", "127.0.0.2", nil).request("REGISTER", "sip:example.org", "b", "MD5"), "200 OK")

	// A scanner, and who sends nonsense; neither a trunk nor who is spared.
	scan := func(p *peer) {
		p.send("OPTIONS sip:100@example.org SIP/2.0", "Via: SIP/2.0/TCP "+p.host+";branch=z9hG4bKs", "From: <sip:a@b>;tag=1", "To: <sip:c@d>", "Call-ID: scan", "CSeq: 1 OPTIONS", "User-Agent: friendly-scanner")
	}
	scanner := s.stream("scanner", "tcp", "127.0.0.4", nil)
	scan(scanner)
	closed(scanner)
	for _, source := range []string{"127.0.0.9", "127.0.0.3"} {
		p := s.stream("scanner", "tcp", source, nil)
		scan(p)
		p.send("MESSAGE sip:nobody@example.org SIP/2.0", "Via: SIP/2.0/TCP "+p.host+";branch=z9hG4bKt", "From: <sip:a@example.org>;tag=1", "To: <sip:c@d>", "Call-ID: spared", "CSeq: 1 MESSAGE", "Max-Forwards: 70")
		p.expect("SIP/2.0 40")
	}
	nonsense := s.stream("nonsense", "tcp", "127.0.0.5", nil)
	for range 3 {
		_ = nonsense.write([]byte("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"))
	}
	closed(nonsense)

	// By UDP a source is blamed only for what it did itself: a failed login with a nonce that it was sent.
	forged := s.udpAt("mallory", "127.0.0.6:0")
	nonce := headers(s.udp("mallory").request("REGISTER", "sip:example.org", "n", ""), "WWW-Authenticate")[0]
	for i := range 6 {
		forged.send("REGISTER sip:example.org SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKz%d;rport", forged.host, i), "Max-Forwards: 70",
			"From: <sip:mallory@example.org>;tag=1", "To: <sip:mallory@example.org>", "Call-ID: forged", fmt.Sprintf("CSeq: %d REGISTER", i+1),
			"Authorization: "+prove(t, nonce, "REGISTER", "mallory"))
		forged.expect("SIP/2.0 401")
		scan(forged)
	}
	require.Len(t, s.app.Bans(), 2, "127.0.0.4 and 127.0.0.5")
	guessing := s.udpAt("mallory", "127.0.0.6:0")
	for i := range 2 {
		require.Contains(t, guessing.request("REGISTER", "sip:example.org", fmt.Sprint("g", i), "MD5"), "SIP/2.0 401")
	}
	s.failing(guessing)
	require.Eventually(t, func() bool { return len(s.app.Bans()) == 3 }, 2*time.Second, 5*time.Millisecond)
	// A user who has logged in may dial wrong numbers as often as he likes.
	bob := s.udp("bob")
	for i := range 6 {
		require.Contains(t, bob.request("INVITE", "sip:nobody@example.org", fmt.Sprint("wrong", i), "MD5", "v=0"), "SIP/2.0 404")
	}
	require.Len(t, s.app.Bans(), 3)
}

func TestACL(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.listen(`
  - {name: udp, transport: udp, address: "127.0.0.1:0", acl: {deny: [127.0.0.4]}}
  - {name: tcp, transport: tcp, address: "127.0.0.1:0", acl: {allow: [127.0.0.5]}}
`, `acl: {deny: [127.0.0.6]}`)
	for source, want := range map[string][2]bool{"127.0.0.3": {true, false}, "127.0.0.4": {false, false}, "127.0.0.5": {true, true}, "127.0.0.6": {false, false}} {
		udp, tcp := s.udpAt("bob", source+":0"), s.stream("bob", "tcp", source, nil)
		for i, p := range []*peer{udp, tcp} {
			err := p.write([]byte("OPTIONS sip:" + s.address("udp").String() + " SIP/2.0\r\nVia: SIP/2.0/" + p.via + " " + p.host + ";branch=z9hG4bKo;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n" +
				"Call-ID: acl\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\nContent-Length: 0\r\n\r\n"))
			answered := false
			if err == nil {
				select {
				case m := <-p.in:
					answered = strings.HasPrefix(m, "SIP/2.0 ")
				case <-time.After(map[bool]time.Duration{true: 5 * time.Second, false: 100 * time.Millisecond}[want[i]]):
				}
			}
			require.Equal(t, want[i], answered, "%s by %s", source, p.via)
		}
	}
}

// A trunk is known by its certificate, wherever it calls from.
func TestTrunkByCertificate(t *testing.T) {
	s := newSite(t)
	s.stop()
	theirs := filepath.Join(s.dir, "carrier-ca")
	carrier, err := localca.Ensure(localca.Config{Dir: theirs, Names: []string{"carrier.example"}})
	require.NoError(t, err)
	other, err := localca.Ensure(localca.Config{Dir: filepath.Join(s.dir, "other-ca"), Names: []string{"carrier.example"}})
	require.NoError(t, err)
	s.listen(`
  - {name: udp, transport: udp, address: "127.0.0.1:0"}
  - {name: tls, transport: tls, address: "127.0.0.1:0", client_ca: "`+carrier.CAFile+`"}
`, `trunks: [{name: carrier, tls_names: [Carrier.example]}]`)
	phone := s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")
	secure := &tls.Config{RootCAs: s.roots(), ServerName: "127.0.0.1"}
	known := secure.Clone()
	known.Certificates = []tls.Certificate{carrier.Certificate}
	trunk := s.stream("carrier", "tls", "127.0.0.1", known)
	done := make(chan string)
	go func() {
		invite := phone.expect("INVITE ")
		phone.respond(invite, "486 Busy Here", "x")
		done <- invite
	}()
	require.Contains(t, trunk.request("INVITE", "sip:bob@example.org", "in", "", "P-Asserted-Identity: <sip:+491@c.example>", "v=0"), "SIP/2.0 486")
	require.NotEmpty(t, headers(<-done, "P-Asserted-Identity"))
	require.Contains(t, s.stream("carrier", "tls", "127.0.0.1", secure).request("INVITE", "sip:bob@example.org", "none", "", "v=0"), "SIP/2.0 407", "without a certificate")
	forged := secure.Clone()
	forged.Certificates = []tls.Certificate{other.Certificate}
	conn, err := tls.Dial("tcp4", s.address("tls").String(), forged)
	if err == nil { // TLS 1.3 tells at the first read
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	require.Error(t, err, "a certificate of another authority")
}

// prove answers a challenge with the password of the test.
func prove(t *testing.T, challenge, method, user string) string {
	t.Helper()
	c, err := digest.ParseChallenge(challenge)
	require.NoError(t, err)
	made, err := digest.Digest(c, digest.Options{Method: method, URI: "sip:example.org", Count: 1, Username: user, Password: password})
	require.NoError(t, err)
	return made.String()
}

// failing makes one more login that fails, and does not wait for an answer: the connection may be closed first.
func (s *site) failing(p *peer) {
	s.t.Helper()
	challenge := headers(p.request("REGISTER", "sip:example.org", "failing", ""), "WWW-Authenticate")[0]
	p.cseq++
	p.send("REGISTER sip:example.org SIP/2.0", fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bKl%d;rport", p.via, p.host, p.cseq), "Max-Forwards: 70",
		"From: <sip:mallory@example.org>;tag=1", "To: <sip:mallory@example.org>", "Call-ID: failing", fmt.Sprintf("CSeq: %d REGISTER", p.cseq),
		"Authorization: "+prove(s.t, challenge, "REGISTER", "mallory"))
}
