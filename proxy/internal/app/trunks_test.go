package app

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

// challenge answers a request with one or several challenges.
func (p *peer) challenge(req, status string, challenges ...string) {
	name := "Proxy-Authenticate: "
	if strings.HasPrefix(status, "401") {
		name = "WWW-Authenticate: "
	}
	var lines []string
	for _, c := range challenges {
		lines = append(lines, name+c)
	}
	p.respond(req, status, "asked", lines...)
	if strings.HasPrefix(req, "INVITE ") {
		p.expect("ACK ")
	}
}

// proves checks credentials for a realm in a request: of acc with its password, for that nonce and use of it.
func proves(t *testing.T, req, header, realm, nonce, algorithm string, count int) {
	t.Helper()
	method, rest, _ := strings.Cut(req, " ")
	uri, _, _ := strings.Cut(rest, " ")
	for _, value := range headers(req, header) {
		got, err := digest.ParseCredentials(value)
		require.NoError(t, err)
		if got.Realm != realm {
			continue
		}
		c := digest.Challenge{Realm: realm, Nonce: nonce, Algorithm: algorithm, QOP: []string{"auth"}}
		want, err := digest.Digest(&c, digest.Options{Method: method, URI: uri, Count: count, Username: "acc", Password: "secret", Cnonce: got.Cnonce})
		require.NoError(t, err)
		require.Equal(t, want.Response, got.Response, value)
		require.Equal(t, count, got.Nc)
		return
	}
	t.Fatalf("no credentials for %s in\n%s", realm, req)
}

func cseq(message string) (n int) {
	fmt.Sscan(headers(message, "CSeq")[0], &n)
	return n
}

// A call to a trunk: the first target says nothing, the second 503, the third asks for credentials.
func TestCallToTrunk(t *testing.T) {
	s := newSite(t)
	dead, full, good := s.udp("dead"), s.udp("full"), s.udp("good")
	s.stop()
	s.start(fmt.Sprintf(`
trunks:
  - name: carrier
    targets: [{uri: "sip:%s", priority: 2}, {uri: "sip:%s", priority: 1}, {uri: "sip:%s"}]
    timeout: 300ms
    codecs: [PCMA, telephone-event]
    credentials: {user: acc, password: secret}
    identity: {number: "+4930123", domain: carrier.example, headers: [P-Asserted-Identity, Remote-Party-ID]}
    rewrite: [{match: "^0([1-9].*)$", replace: "+49$1"}, {number: calling, match: "^al", strip: 2, add: "x"}]
routes: [{name: out, pattern: "0[0-9]+", to: carrier, when: 'user startsWith "0"'}]`, good.host, full.host, dead.host))
	dead, full, good = s.udpAt("dead", dead.rebind()), s.udpAt("full", full.rebind()), s.udpAt("good", good.rebind())
	page := s.wss("alice")
	done := make(chan [2]string)
	go func() {
		first := dead.expect("INVITE sip:+49123@" + dead.host)
		inv := full.expect("INVITE ")
		full.respond(inv, "503 Service Unavailable", "f", "Retry-After: 120")
		full.expect("ACK ")
		asked := good.expect("INVITE ")
		good.challenge(asked, "407 Proxy Authentication Required",
			`Digest realm="one", nonce="n1", algorithm=MD5, qop="auth"`, `Digest realm="one", nonce="n2", algorithm=SHA-256, qop="auth,auth-int"`,
			`Digest realm="two", nonce="n3", qop="auth"`)
		proved := good.expect("INVITE ")
		dead.respond(first, "180 Ringing", "late")
		dead.expect("CANCEL ")
		good.respond(proved, "200 OK", "gt", "P-Asserted-Identity: <sip:callee@carrier.example>", "v=0\r\ns=good\r\n")
		done <- [2]string{asked, proved}
	}()
	ok := page.request("INVITE", "sip:0123@example.org", "call", "SHA-256",
		"P-Asserted-Identity: <sip:king@x>", "Remote-Party-ID: <sip:king@x>", "Diversion: <sip:d@x>;reason=unconditional", "v=0\r\ns=page\r\n")
	require.Contains(t, ok, "SIP/2.0 200")
	invites := <-done
	require.Equal(t, page.cseq, cseq(ok), "the caller sees his own number")
	require.Equal(t, []string{"<sip:alice@example.org>;tag=alice"}, headers(ok, "From"))
	require.Equal(t, page.cseq, cseq(invites[0]))
	proved := invites[1]
	require.Equal(t, page.cseq+1, cseq(proved))
	require.NotEqual(t, headers(invites[0], "Via")[0], headers(proved, "Via")[0])
	proves(t, proved, "Proxy-Authorization", "one", "n2", "SHA-256", 1)
	proves(t, proved, "Proxy-Authorization", "two", "n3", "", 1)
	require.Equal(t, []string{"<sip:+4930123@carrier.example>"}, headers(proved, "P-Asserted-Identity"))
	require.Equal(t, []string{"<sip:+4930123@carrier.example>;party=calling;screen=yes;privacy=off"}, headers(proved, "Remote-Party-ID"))
	require.Equal(t, []string{"<sip:xice@example.org>;tag=alice"}, headers(proved, "From"))
	require.Len(t, headers(proved, "Diversion"), 1)

	s.mu.Lock()
	var offers []*ng.Request
	for _, r := range s.asked {
		if r.Command == ng.CommandOffer {
			offers = append(offers, r)
		}
	}
	s.mu.Unlock()
	require.Len(t, offers, 3, "one for each target, none for the answer to a challenge")
	require.Equal(t, []string{"all"}, offers[2].Codec.Strip)
	require.Equal(t, []string{"PCMA", "telephone-event"}, offers[2].Codec.Offer)

	within := func(method, branch string, number int) {
		page.send(method+" sip:good@"+good.host+" SIP/2.0", "Via: SIP/2.0/WSS x.invalid;branch=z9hG4bK"+branch, "Max-Forwards: 70",
			"Route: "+strings.Join(headers(ok, "Record-Route"), ", "),
			"From: "+headers(ok, "From")[0], "To: "+headers(ok, "To")[0], "Call-ID: call", fmt.Sprintf("CSeq: %d %s", number, method))
	}
	within("ACK", "ack", page.cseq)
	require.Equal(t, page.cseq+1, cseq(good.expect("ACK ")))
	within("BYE", "bye", page.cseq+1)
	bye := good.expect("BYE ")
	require.Equal(t, page.cseq+2, cseq(bye))
	good.respond(bye, "200 OK", "")
	require.Equal(t, page.cseq+1, cseq(page.expect("SIP/2.0 200")))

	// Both failed targets come last now, and the carrier need not ask again.
	go func() {
		inv := good.expect("INVITE ")
		good.respond(inv, "486 Busy Here", "b")
		done <- [2]string{inv}
	}()
	require.Contains(t, page.request("INVITE", "sip:0456@example.org", "again", "SHA-256", "v=0\r\n"), "SIP/2.0 486", "busy is no reason to try others")
	again := (<-done)[0]
	good.expect("ACK ")
	proves(t, again, "Proxy-Authorization", "one", "n2", "SHA-256", countOf(t, again, "one"))
	require.Greater(t, countOf(t, again, "one"), 1)
	status := s.app.trunks.Status()[0].Targets
	require.Equal(t, []uint64{0, 1, 1}, []uint64{status[0].Failures, status[1].Failures, status[2].Failures})
	until, err := time.Parse(time.RFC3339, status[1].Avoided)
	require.NoError(t, err)
	require.Greater(t, time.Until(until), 100*time.Second, "Retry-After is honoured")
	require.Less(t, time.Until(until), 130*time.Second)
}

func countOf(t *testing.T, req, realm string) int {
	for _, value := range headers(req, "Proxy-Authorization") {
		if c, err := digest.ParseCredentials(value); err == nil && c.Realm == realm {
			return c.Nc
		}
	}
	t.Fatalf("no credentials in\n%s", req)
	return 0
}

// What a trunk asks for and the proxy cannot give is no business of the caller's; without credentials it is his.
func TestTrunkRefusesCredentials(t *testing.T) {
	s := newSite(t)
	carrier := s.udp("carrier")
	s.stop()
	s.start(fmt.Sprintf(`
trunks:
  - {name: one, targets: [{uri: "sip:%[1]s"}], credentials: {user: acc, password: wrong}}
  - {name: two, targets: [{uri: "sip:%[1]s"}]}
routes: [{prefix: "1", to: one}, {prefix: "2", to: two}]`, carrier.host))
	carrier, phone := s.udpAt("carrier", carrier.rebind()), s.udp("bob")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i, method := range []string{"INVITE ", "INVITE ", "MESSAGE ", "MESSAGE "} {
			req := carrier.expect(method)
			carrier.challenge(req, "401 Unauthorized", fmt.Sprintf(`Digest realm="r", nonce="n%d", qop="auth"`, i))
		}
		carrier.challenge(carrier.expect("INVITE "), "407 Proxy Authentication Required", `Digest realm="r", nonce="n9", qop="auth"`)
	}()
	require.Contains(t, phone.request("INVITE", "sip:11@example.org", "a", "MD5", "v=0\r\n"), "SIP/2.0 502")
	require.Contains(t, phone.request("MESSAGE", "sip:12@example.org", "m", "MD5"), "SIP/2.0 502")
	res := phone.request("INVITE", "sip:22@example.org", "b", "MD5", "v=0\r\n")
	require.Contains(t, res, "SIP/2.0 407")
	require.Contains(t, res, `nonce="n9"`)
	<-done
}

// A challenge that crosses CANCEL is not answered any more, and is not for the caller.
func TestCancelCrossesChallenge(t *testing.T) {
	s := newSite(t)
	carrier := s.udp("carrier")
	s.stop()
	s.start(fmt.Sprintf(`
trunks: [{name: one, targets: [{uri: "sip:%s"}], credentials: {user: acc, password: secret}}]
routes: [{prefix: "1", to: one}]`, carrier.host))
	carrier, phone := s.udpAt("carrier", carrier.rebind()), s.udp("bob")
	done := make(chan struct{})
	go func() {
		defer close(done)
		inv := carrier.expect("INVITE ")
		carrier.respond(inv, "180 Ringing", "asked")
		carrier.respond(carrier.expect("CANCEL "), "200 OK", "")
		carrier.challenge(inv, "407 Proxy Authentication Required", `Digest realm="r", nonce="n", qop="auth"`)
	}()
	require.Contains(t, phone.request("INVITE", "sip:11@example.org", "a", "MD5", "v=0\r\n"), "SIP/2.0 180")
	phone.send("CANCEL sip:11@example.org SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKbob%d;rport", phone.host, phone.cseq),
		"From: <sip:bob@example.org>;tag=bob", "To: <sip:11@example.org>", "Call-ID: a", fmt.Sprintf("CSeq: %d CANCEL", phone.cseq), "Max-Forwards: 70")
	phone.expect("SIP/2.0 200")
	phone.expect("SIP/2.0 487")
	<-done
}

func TestTrunkLimitsAndInwardNumbers(t *testing.T) {
	s := newSite(t)
	carrier := s.udpAt("carrier", "127.0.0.9:0")
	s.stop()
	s.start(fmt.Sprintf(`
trunks:
  - name: carrier
    sources: [127.0.0.9]
    targets: [{uri: "sip:%s"}]
    identity: {trusted: false}
    calls_per_second: 2
    rewrite: [{direction: in, match: "^[+]4955(.*)$", replace: "$1"}, {direction: in, number: calling, match: "^[+]49", strip: 3, add: "0"}]
routes: [{pattern: "0[0-9]+", to: carrier}, {from: [carrier], to: registered}]`, carrier.host))
	carrier, phone := s.udpAt("carrier", carrier.rebind()), s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")
	done := make(chan string, 1)
	go func() {
		inv := phone.expect("INVITE ")
		phone.respond(inv, "486 Busy Here", "x")
		done <- inv
	}()
	res := carrier.request("INVITE", "sip:+4955bob@example.org", "in", "", "P-Asserted-Identity: <sip:+49301@c.example>", "Privacy: id", "v=0\r\n")
	require.Contains(t, res, "SIP/2.0 486")
	inv := <-done
	phone.expect("ACK ")
	require.True(t, strings.HasPrefix(inv, "INVITE sip:bob@"), inv)
	require.Empty(t, headers(inv, "P-Asserted-Identity"), "who wants privacy is not told to phones (RFC 3325 §7)")

	go func() {
		inv := carrier.expect("INVITE ")
		carrier.respond(inv, "486 Busy Here", "x")
		done <- inv
	}()
	require.Contains(t, phone.request("INVITE", "sip:0123@example.org", "private", "MD5", "Privacy: id", "v=0\r\n"), "SIP/2.0 486")
	inv = <-done
	carrier.expect("ACK ")
	require.Equal(t, []string{`"Anonymous" <sip:anonymous@anonymous.invalid>;tag=bob`}, headers(inv, "From"))
	require.Empty(t, headers(inv, "P-Asserted-Identity"))
	require.Equal(t, []string{"id"}, headers(inv, "Privacy"))

	res = carrier.request("INVITE", "sip:bob@example.org", "third", "", "v=0\r\n")
	require.Contains(t, res, "SIP/2.0 503")
	require.Equal(t, []string{"1"}, headers(res, "Retry-After"))
	res = phone.request("INVITE", "sip:0123@example.org", "fourth", "MD5", "v=0\r\n")
	require.Contains(t, res, "SIP/2.0 503")
	require.Equal(t, []string{"1"}, headers(res, "Retry-After"))
	require.Zero(t, s.app.trunks.Status()[0].Targets[0].Failures, "not the target's fault")
}

func TestProbesAndRegistration(t *testing.T) {
	s := newSite(t)
	carrier := s.udpAt("carrier", "127.0.0.9:0")
	s.stop()
	s.start(fmt.Sprintf(`
trunks:
  - name: carrier
    sources: [127.0.0.9]
    targets: [{uri: "sip:%s"}, {uri: "sip:127.0.0.9:1", priority: 1}]
    probe: {interval: 1s, timeout: 200ms, down_after: 2}
    credentials: {user: acc, password: secret}
    register: [{aor: "sip:100@carrier.example", contact: "4930", expires: 20s}]`, carrier.host))
	carrier = s.udpAt("carrier", carrier.rebind())
	var registers, options []string
	for len(registers) < 3 || len(options) < 2 {
		req := carrier.expect("")
		switch {
		case strings.HasPrefix(req, "OPTIONS "):
			options = append(options, req)
			carrier.respond(req, "404 Not Found", "o") // is up, whatever it thinks of the question
		case len(registers) == 0:
			carrier.challenge(req, "401 Unauthorized", `Digest realm="carrier.example", nonce="n", algorithm=MD5, qop="auth"`)
			registers = append(registers, req)
		case len(registers) == 1:
			carrier.respond(req, "423 Interval Too Brief", "r", "Min-Expires: 30")
			registers = append(registers, req)
		default:
			// Another device's Contact beside ours; ours counts.
			carrier.respond(req, "200 OK", "r", "Contact: <sip:4930@192.0.2.77>;expires=5", "Contact: "+headers(req, "Contact")[0])
			registers = append(registers, req)
		}
	}
	require.True(t, strings.HasPrefix(registers[0], "REGISTER sip:carrier.example SIP/2.0\r\n"))
	require.Equal(t, "<sip:4930@"+s.address("udp").String()+">;expires=20", headers(registers[0], "Contact")[0])
	proves(t, registers[1], "Authorization", "carrier.example", "n", "MD5", 1)
	proves(t, registers[2], "Authorization", "carrier.example", "n", "MD5", 2)
	require.Equal(t, []string{"30"}, headers(registers[2], "Expires"))
	require.Equal(t, headers(registers[0], "Call-ID"), headers(registers[2], "Call-ID"))
	require.Equal(t, []int{1, 2, 3}, []int{cseq(registers[0]), cseq(registers[1]), cseq(registers[2])})
	require.Eventually(t, func() bool {
		st := s.app.trunks.Status()[0]
		return st.Registrations[0].Registered && !st.Targets[0].Down && st.Targets[1].Down
	}, 5*time.Second, 20*time.Millisecond)
	targets := s.app.trunks.Targets("carrier", "1")
	require.Equal(t, "sip:1@"+carrier.host, targets[0].URI.String(), "who is down comes last")

	// A target that comes back is used again.
	back := s.udpAt("back", "127.0.0.9:0")
	configs := trunkConfigs(s.app.settings.Load(), trunksOf(s.app.settings.Load()))
	require.NoError(t, request.ParseURI("sip:"+back.host, &configs[0].Targets[1].URI))
	configs[0].Registrations = nil
	require.NoError(t, s.app.trunks.Configure(configs))
	back.respond(back.expect("OPTIONS "), "200 OK", "o")
	require.Len(t, s.app.trunks.Status()[0].Registrations, 0)
}

// The proxy finds a trunk by SRV records, and the second host when the first is silent (RFC 3263 §4.3).
func TestTrunkBySRV(t *testing.T) {
	s := newSite(t)
	silent, good := s.udp("silent"), s.udp("good")
	packet, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := func(p *peer) string { _, port, _ := net.SplitHostPort(p.host); return port }
	zone := []string{
		`carrier.test. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.`,
		`_sip._udp.carrier.test. 60 IN SRV 1 1 ` + port(silent) + ` a.carrier.test.`,
		`_sip._udp.carrier.test. 60 IN SRV 2 1 ` + port(good) + ` a.carrier.test.`,
		`a.carrier.test. 60 IN A 127.0.0.1`,
	}
	started, ended := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: packet, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, line := range zone {
			if rr, err := dns.NewRR(line); err == nil && rr.Header().Name == q.Question[0].Name && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		_ = w.WriteMsg(m)
	})}
	go func() {
		defer close(ended)
		_ = server.ActivateAndServe()
	}()
	<-started
	defer func() {
		require.NoError(t, server.Shutdown())
		<-ended
	}()
	s.stop()
	s.start(fmt.Sprintf(`
trunks: [{name: carrier, targets: [{uri: "sip:carrier.test"}], timeout: 200ms}]
routes: [{prefix: "0", to: carrier}]
resolver: {servers: ["%s"]}`, packet.LocalAddr()))
	silent, good = s.udpAt("silent", silent.rebind()), s.udpAt("good", good.rebind())
	phone := s.udp("bob")
	for _, n := range []string{"1", "2"} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			good.respond(good.expect("INVITE sip:0"+n+"@carrier.test"), "486 Busy Here", "b")
			good.expect("ACK ")
		}()
		require.Contains(t, phone.request("INVITE", "sip:0"+n+"@example.org", "c"+n, "MD5", "v=0\r\n"), "SIP/2.0 486")
		<-done
	}
	require.Contains(t, silent.expect("INVITE "), "sip:01@")
	for len(silent.in) > 0 {
		require.NotContains(t, <-silent.in, "sip:02@", "an address that was silent is tried last")
	}
}

func TestConditionsAreChecked(t *testing.T) {
	s := newSite(t)
	s.stop()
	file := s.dir + "/proxy.yaml"
	_, err := Load(file)
	require.NoError(t, err)
	_, err = settings.Load(writeMore(t, file, "\nroutes:\n  - {to: registered, when: 'method == 5'}\n"), checkConditions)
	require.ErrorContains(t, err, "routes[0].when: column 8: invalid operation: == (mismatched types string and int)")
}

// writeMore appends to a copy of a file.
func writeMore(t *testing.T, file, more string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "more.yaml")
	require.NoError(t, os.WriteFile(path, append(text, more...), 0o600))
	return path
}
