package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

const (
	alice = location.AoR("sip:alice@example.org")
	bob   = location.AoR("sip:bob@example.org")
)

func TestRegister(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	for i, algorithm := range []string{"SHA-256", "MD5"} {
		for _, p := range []*peer{page, phone} {
			res := p.request("REGISTER", "sip:example.org", fmt.Sprint("r", i), algorithm, "Expires: 300")
			require.Contains(t, res, "SIP/2.0 200 OK")
			require.Contains(t, headers(res, "Contact")[0], p.contact()+";expires=300")
		}
	}
	require.Contains(t, page.request("REGISTER", "sip:example.org", "r2", "", "Expires: 300"), "SIP/2.0 401")

	// After a restart the phone is still reachable, the page registers again.
	s.stop()
	s.start("")
	require.Empty(t, s.app.table.Lookup(alice))
	require.Len(t, s.app.table.Lookup(bob), 1)
}

func TestBindingGoesWithThePage(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	require.Contains(t, page.request("REGISTER", "sip:example.org", "r", "SHA-256"), "200 OK")
	require.Len(t, s.app.table.Lookup(alice), 1)
	page.close()
	require.Eventually(t, func() bool { return len(s.app.table.Lookup(alice)) == 0 }, 2*time.Second, 10*time.Millisecond)
	require.Contains(t, phone.request("INVITE", "sip:alice@example.org", "c", "MD5", "v=0"), "SIP/2.0 480")
	require.Contains(t, phone.request("INVITE", "sip:nobody@example.org", "c2", "MD5", "v=0"), "SIP/2.0 404")
	require.Empty(t, s.commands(), "no media for a call that goes nowhere")
}

func TestNoRelayForStrangers(t *testing.T) {
	s := newSite(t)
	stranger := s.udp("alice")
	require.Contains(t, stranger.request("INVITE", "sip:bob@example.org", "a", "", "v=0"), "SIP/2.0 407")
	require.Contains(t, stranger.request("MESSAGE", "sip:bob@example.org", "b", ""), "SIP/2.0 407")
	mallory := s.udp("mallory")
	require.Contains(t, mallory.request("INVITE", "sip:bob@example.org", "c", "MD5", "v=0"), "SIP/2.0 407", "no such account")
	// Who has proved himself may still not use the proxy as a relay.
	require.Contains(t, stranger.request("INVITE", "sip:x@elsewhere.example", "d", "MD5", "v=0"), "SIP/2.0 404")
	require.Empty(t, s.commands())
}

// call registers a phone and lets a page call it; it returns the INVITE as the
// phone has it and the 200 as the page has it.
func call(t *testing.T, page, phone *peer) (invite, ok string) {
	t.Helper()
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")
	done := make(chan struct{})
	go func() {
		defer close(done)
		invite = phone.expect("INVITE ")
		phone.respond(invite, "180 Ringing", "pt")
		phone.respond(invite, "200 OK", "pt", "v=0\r\ns=phone\r\n")
	}()
	require.Contains(t, page.request("INVITE", "sip:bob@example.org", "call", "SHA-256", "v=0\r\ns=page\r\n"), "SIP/2.0 180")
	<-done
	ok = page.expect("SIP/2.0 200")
	page.send("ACK sip:bob@"+phone.host+" SIP/2.0", "Via: SIP/2.0/WSS x.invalid;branch=z9hG4bKack", "Max-Forwards: 70",
		"Route: "+strings.Join(headers(ok, "Record-Route"), ", "),
		"From: "+headers(ok, "From")[0], "To: "+headers(ok, "To")[0], "Call-ID: call", fmt.Sprintf("CSeq: %d ACK", page.cseq))
	phone.expect("ACK ")
	return invite, ok
}

func TestCallFromPageToPhone(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	invite, ok := call(t, page, phone)
	require.Contains(t, invite, "s=offer RTP/AVP\r\n")
	require.Empty(t, headers(invite, "Proxy-Authorization"), "credentials end here")
	require.Contains(t, ok, "s=answer UDP/TLS/RTP/SAVPF\r\n")
	phone.send("BYE sip:alice@alicexyz.invalid SIP/2.0", "Via: SIP/2.0/UDP "+phone.host+";branch=z9hG4bKbye", "Max-Forwards: 70",
		"Route: "+strings.Join(headers(invite, "Record-Route"), ", "),
		"From: "+headers(ok, "To")[0], "To: "+headers(ok, "From")[0], "Call-ID: call", "CSeq: 1 BYE")
	bye := page.expect("BYE ")
	page.respond(bye, "200 OK", "")
	phone.expect("SIP/2.0 200")
	require.Eventually(t, func() bool { return len(s.commands()) == 3 }, time.Second, 5*time.Millisecond)
	require.Equal(t, []string{"offer RTP/AVP", "answer UDP/TLS/RTP/SAVPF", "delete"}, s.commands())
}

func TestPageClosedInMidCall(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	call(t, page, phone)
	page.close()
	bye := phone.expect("BYE ")
	phone.respond(bye, "200 OK", "")
	require.Eventually(t, func() bool { c := s.commands(); return c[len(c)-1] == "delete" }, time.Second, 5*time.Millisecond)
}

// The page's connection breaks in mid-call and comes back: the call goes on.
func TestCallFollowsThePage(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	register := func(p *peer, id string) {
		t.Helper()
		p.device = `;+sip.instance="<urn:uuid:1>";reg-id=1`
		require.Contains(t, p.request("REGISTER", "sip:example.org", id, "SHA-256"), "200 OK")
	}
	register(page, "r1")
	invite, ok := call(t, page, phone)
	page.close()
	require.Eventually(t, func() bool { return len(s.app.table.Lookup(alice)) == 0 }, 2*time.Second, 10*time.Millisecond)
	page = s.wss("alice")
	page.host = "other.invalid"
	register(page, "r2")
	time.Sleep(time.Duration(settings.Default().Dialogs.Grace) + 200*time.Millisecond)
	phone.send("BYE sip:alice@alicexyz.invalid SIP/2.0", "Via: SIP/2.0/UDP "+phone.host+";branch=z9hG4bKbye", "Max-Forwards: 70",
		"Route: "+strings.Join(headers(invite, "Record-Route"), ", "),
		"From: "+headers(ok, "To")[0], "To: "+headers(ok, "From")[0], "Call-ID: call", "CSeq: 1 BYE")
	page.respond(page.expect("BYE "), "200 OK", "")
	phone.expect("SIP/2.0 200")
}

// The proxy restarts in mid-call, and the page comes back by another connection with another host in its Contact: what the
// phone sends in the call reaches it (§3 items 34 and 42 of what newcomers get wrong).
func TestCallFollowsThePageOverARestart(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	register := func(p *peer, id string) {
		t.Helper()
		p.device = `;+sip.instance="<urn:uuid:1>";reg-id=1`
		require.Contains(t, p.request("REGISTER", "sip:example.org", id, "SHA-256"), "200 OK")
	}
	register(page, "r1")
	invite, ok := call(t, page, phone)
	was := s.address("udp")
	wss := s.address("wss")
	s.stop()
	s.startAt(was, wss)
	page = s.wss("alice")
	page.host = "other.invalid"
	register(page, "r2")
	for i, method := range []string{"INFO", "BYE"} {
		phone.send(method+" sip:alice@alicexyz.invalid SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKback%d", phone.host, i), "Max-Forwards: 70",
			"Route: "+strings.Join(headers(invite, "Record-Route"), ", "),
			"From: "+headers(ok, "To")[0], "To: "+headers(ok, "From")[0], "Call-ID: call", fmt.Sprintf("CSeq: %d %s", i+1, method))
		page.respond(page.expect(method+" "), "200 OK", "")
		phone.expect("SIP/2.0 200")
	}
}

func TestDeadDaemonIsAnsweredQuickly(t *testing.T) {
	s := newSite(t)
	page, phone := s.wss("alice"), s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")
	require.NoError(t, s.daemon.Close())
	began := time.Now()
	require.Contains(t, page.request("INVITE", "sip:bob@example.org", "call", "SHA-256", "v=0"), "SIP/2.0 503")
	require.Less(t, time.Since(began), 2*time.Second)
}

// A trunk is known by its address: it reaches users without a password, and
// nothing else. Users reach it by a route.
func TestTrunk(t *testing.T) {
	s := newSite(t)
	carrier := s.udpAt("carrier", "127.0.0.9:0")
	s.stop()
	s.start(`
trunks: [{name: carrier, sources: [127.0.0.9]}]
routes: [{name: out, pattern: "0[0-9]+", strip: 1, add: "+49", to: "sip:` + carrier.host + `"}]`)
	carrier, phone := s.udpAt("carrier", carrier.rebind()), s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")

	done := make(chan string)
	go func() {
		invite := phone.expect("INVITE ")
		phone.respond(invite, "486 Busy Here", "x")
		done <- invite
	}()
	require.Contains(t, carrier.request("INVITE", "sip:bob@example.org", "in", "", "P-Asserted-Identity: <sip:+491@c.example>", "v=0"), "SIP/2.0 486")
	require.NotEmpty(t, headers(<-done, "P-Asserted-Identity"))
	phone.expect("ACK ")
	require.Contains(t, carrier.request("INVITE", "sip:0123@example.org", "through", "", "v=0"), "SIP/2.0 404", "no way through to itself")
	// Commands of different calls run side by side, so the first ones are awaited.
	require.Eventually(t, func() bool { return len(s.commands()) == 2 }, time.Second, 5*time.Millisecond)

	go func() {
		invite := carrier.expect("INVITE ")
		carrier.respond(invite, "603 Decline", "x")
		done <- invite
	}()
	require.Contains(t, phone.request("INVITE", "sip:0123@example.org", "out", "MD5", "P-Asserted-Identity: <sip:king@c.example>", "v=0"), "SIP/2.0 603")
	invite := <-done
	require.True(t, strings.HasPrefix(invite, "INVITE sip:+49123@"+carrier.host+" "), invite)
	require.Empty(t, headers(invite, "P-Asserted-Identity"), "a user cannot vouch for himself")
	carrier.expect("ACK ")
	require.Eventually(t, func() bool { return len(s.commands()) == 4 }, time.Second, 5*time.Millisecond)
	require.Equal(t, []string{"offer RTP/AVP", "delete", "offer RTP/AVP", "delete"}, s.commands())
}

func TestWebPhone(t *testing.T) {
	s := newSite(t)
	get := func(path string) (int, string) {
		res, err := s.client().Get("https://" + s.address("wss").String() + path)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	code, _ := get("/")
	require.Equal(t, http.StatusNotFound, code, "not served unless configured")

	s.stop()
	s.start("web: {phone: true}")
	code, body := get("/config.json")
	if code == http.StatusServiceUnavailable { // the page is not built in this checkout
		require.Contains(t, body, "make webphone")
		return
	}
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "example.org")
	require.NotContains(t, body, password)

	s.stop()
	s.start("web: {phone: true, demo: true, demo_users: [alice], dial: [{number: \"600\", text: echo}]}")
	_, body = get("/config.json")
	require.Contains(t, body, password)
	require.Contains(t, body, "600")
}

func TestStartFails(t *testing.T) {
	s := newSite(t)
	taken := s.address("udp")
	file := filepath.Join(t.TempDir(), "proxy.yaml")
	text := fmt.Sprintf("listeners: [{name: u, transport: udp, address: %q}]\ndomains: [d]\nstorage: {path: \":memory:\"}\n", taken)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	var log bytes.Buffer
	require.ErrorContains(t, Run(t.Context(), file, nil, &log), "address already in use")
}

func TestLoadChecksWhatOnlyOthersKnow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
listeners: [{name: u, transport: udp, address: "127.0.0.1:0"}]
domains: [d]
profiles:
  own:
    flags: RTP/AVP ICE=remvoe
tls: {certificate: /nowhere, key: /nowhere}
`), 0o600))
	_, err := Load(file)
	require.ErrorContains(t, err, "proxy.yaml:6: profiles.own.flags: unknown flags: ice: remvoe")
	require.ErrorContains(t, err, "proxy.yaml:7: tls.certificate: ")
	_, err = settings.Load(file)
	require.NoError(t, err, "what the settings alone cannot know")
}

func TestChangeUser(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "proxy.yaml")
	require.NoError(t, ChangeUser(t.Context(), "set", file, "carol@Example.org", strings.NewReader(password+"\n")))
	carol := s.udp("carol")
	require.Contains(t, carol.request("REGISTER", "sip:example.org", "r", "SHA-256"), "200 OK", "seen at once")
	require.NoError(t, ChangeUser(t.Context(), "delete", file, "carol@example.org", nil))
	require.Contains(t, carol.request("REGISTER", "sip:example.org", "r", "SHA-256"), "SIP/2.0 401")
	require.ErrorIs(t, ChangeUser(t.Context(), "delete", file, "carol@example.org", nil), ErrNoUser)
	require.ErrorIs(t, ChangeUser(t.Context(), "set", file, "carol@elsewhere.net", nil), ErrBadUser)
	require.ErrorIs(t, ChangeUser(t.Context(), "set", file, "carol@example.org", strings.NewReader("short")), ErrPassword)
	require.ErrorIs(t, ChangeUser(t.Context(), "drop", file, "carol@example.org", nil), ErrAction)
}
