package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const operators = "\nadmin: {address: \"127.0.0.1:0\"}\n"

// operator makes a request of an operator's.
func (s *site) operator(method, path, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.app.AdminAddress().String()+path, strings.NewReader(body))
	require.NoError(s.t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res.StatusCode, string(text)
}

// edit replaces a text in the configuration file.
func (s *site) edit(old, replacement string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "proxy.yaml")
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	require.Contains(s.t, string(text), old)
	require.NoError(s.t, os.WriteFile(file, []byte(strings.Replace(string(text), old, replacement, 1)), 0o600))
}

func TestOperatorsSeeAndEndCalls(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(operators)
	page, phone := s.wss("alice"), s.udp("bob")
	call(t, page, phone)
	_, text := s.operator("GET", "/calls", "")
	var calls []callShown
	require.NoError(t, json.Unmarshal([]byte(text), &calls))
	require.Len(t, calls, 1)
	require.Equal(t, "call", calls[0].CallID)
	require.True(t, calls[0].Confirmed)
	require.Equal(t, "webrtc", calls[0].Caller.Profile)
	require.Equal(t, "sip", calls[0].Callee.Profile)
	_, text = s.operator("GET", "/registrations", "")
	require.Contains(t, text, `"aor":"sip:bob@example.org"`)
	_, text = s.operator("GET", "/metrics", "")
	for _, line := range []string{
		`tandem_calls{state="confirmed"} 1`, `tandem_connections{transport="wss"} 1`, `tandem_registrations 1`, `tandem_media_node_up{node="`,
		`tandem_requests_total{method="REGISTER"} 2`, `tandem_responses_total{class="4xx"}`,
	} {
		require.Contains(t, text, line)
	}

	code, _ := s.operator("DELETE", "/calls/unknown", "")
	require.Equal(t, 404, code)
	code, _ = s.operator("DELETE", "/calls/call", "")
	require.Equal(t, 204, code)
	for _, p := range []*peer{page, phone} {
		p.respond(p.expect("BYE "), "200 OK", "")
	}
	require.Eventually(t, func() bool { _, text := s.operator("GET", "/calls", ""); return text == "[]\n" }, 2*time.Second, 10*time.Millisecond)
	code, _ = s.operator("DELETE", "/registrations/"+url.PathEscape("sip:bob@example.org"), "")
	require.Equal(t, 204, code)
	require.Empty(t, s.app.table.Lookup(bob))
}

func TestNodesAreDrained(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(operators)
	address := s.daemon.Addrs()[0].String()
	for action, weight := range map[string]int{"drain": 0, "undrain": 1} {
		code, text := s.operator("POST", "/nodes/"+address+"/"+action, "")
		require.Equal(t, 204, code, text)
		_, text = s.operator("GET", "/nodes", "")
		require.Contains(t, text, fmt.Sprintf(`"weight":%d`, weight), action)
	}
	code, _ := s.operator("POST", "/nodes/192.0.2.1:1/drain", "")
	require.Equal(t, 404, code)
}

// TestReload: users, routes and profiles change under a call; what only a start can change, and a faulty file, change nothing.
func TestReload(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(operators + "log: {level: error}\n")
	page, phone := s.wss("alice"), s.udp("bob")
	invite, ok := call(t, page, phone)
	reload := func() (int, string) { return s.operator("POST", "/reload", "") }

	s.edit("{name: bob, ", "{name: robert, ")
	s.edit("log:", "routes: [{from: [users], pattern: \"0.*\", to: reject}]\nprofiles: {sip: {flags: \"RTP/SAVP ICE=remove\"}}\nlog:")
	code, text := reload()
	require.Equal(t, 204, code, text)
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r2", "MD5"), "SIP/2.0 401", "an account that is gone")
	require.Contains(t, s.udp("robert").request("REGISTER", "sip:example.org", "r3", "MD5"), "SIP/2.0 200", "a new one")
	require.Contains(t, page.request("INVITE", "sip:0123@example.org", "c4", "SHA-256", "v=0"), "SIP/2.0 403", "a new route")
	before := len(s.commands())
	page.send("INVITE sip:bob@"+phone.host+" SIP/2.0", "Via: SIP/2.0/WSS x.invalid;branch=z9hG4bKre", "Max-Forwards: 70",
		"Route: "+strings.Join(headers(ok, "Record-Route"), ", "), "From: "+headers(ok, "From")[0], "To: "+headers(ok, "To")[0],
		"Call-ID: call", "CSeq: 90 INVITE", "Contact: <sip:alice@alicexyz.invalid>", "v=0\r\ns=hold\r\n")
	again := phone.expect("INVITE ")
	require.Contains(t, again, "s=offer RTP/SAVP\r\n", "the call goes on, by the new profile")
	phone.respond(again, "488 Not Acceptable Here", "")
	page.expect("SIP/2.0 488")
	require.Greater(t, len(s.commands()), before)
	require.NotEmpty(t, invite)

	for _, e := range []struct{ old, replacement, says string }{
		{"{name: robert, ", "{nmae: robert, ", "nmae: unknown key"},
		{"domains: [example.org]", "domains: [example.org]\nweb: {phone: true}", "only a restart can change web"},
		{"transport: udp, address: \"127.0.0.1:0\"", "transport: udp, address: \"127.0.0.2:0\"", "only a restart can change listeners"},
		{"flags: \"RTP/SAVP ICE=remove\"", "flags: \"RTP/NONSENSE\"", "RTP/NONSENSE"},
	} {
		s.edit(e.old, e.replacement)
		code, text := reload()
		require.Equal(t, 409, code, text)
		require.Contains(t, text, e.says)
		s.edit(e.replacement, e.old)
	}
	require.Contains(t, s.udp("robert").request("REGISTER", "sip:example.org", "r9", "MD5"), "SIP/2.0 200", "nothing has changed")
	code, text = reload()
	require.Equal(t, 204, code, text)
}

func TestExplain(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(operators + `
trunks:
  - {name: carrier, sources: [192.0.2.0/24], targets: [{uri: "sip:192.0.2.9"}]}
routes:
  - {name: abroad, from: [users], pattern: "00.*", to: carrier}
`)
	phone := s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "r", "MD5"), "200 OK")
	ask := func(from, to, source, listener string) string {
		message := fmt.Sprintf("INVITE sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:%s>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: c\r\n"+
			"CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", to, from, to)
		text, err := s.app.Explain(t.Context(), []byte(message), netip.MustParseAddrPort(source), listener)
		require.NoError(t, err)
		return text
	}
	text := ask("alice@example.org", "0049@example.org", "198.51.100.7:5060", "wss")
	for _, says := range []string{"user alice@example.org", "routes[0] abroad: taken", "sip:0049@", "trunk carrier", "profile webrtc: SDP towards it with the flags UDP/TLS/RTP/SAVPF"} {
		require.Contains(t, text, says)
	}
	text = ask("x@carrier.example", "bob@example.org", "192.0.2.5:5060", "")
	require.Contains(t, text, "trunk carrier, known by its source")
	require.Contains(t, text, "connection from "+phone.host)
	text = ask("x@elsewhere.example", "bob@example.org", "198.51.100.7:5060", "")
	require.Contains(t, text, "403 Forbidden")
	text = ask("alice@example.org", "nobody@example.org", "198.51.100.7:5060", "")
	require.Contains(t, text, "answered 404 Not Found")
	_, err := s.app.Explain(t.Context(), []byte("nonsense"), netip.MustParseAddrPort("192.0.2.1:1"), "")
	require.ErrorContains(t, err, "malformed")
	_, err = s.app.Explain(t.Context(), []byte("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 7\r\n\r\n"),
		netip.MustParseAddrPort("192.0.2.1:1"), "none")
	require.ErrorIs(t, err, errNoListener)

	// The same by the command line, from a request with plain line ends.
	s.edit("admin: {address: \"127.0.0.1:0\"}", fmt.Sprintf("admin: {address: %q}", s.app.AdminAddress().String()))
	var out bytes.Buffer
	typed := "INVITE sip:bob@example.org SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:alice@example.org>;tag=1\nTo: <sip:bob@example.org>\n" +
		"Call-ID: c\nCSeq: 1 INVITE\nMax-Forwards: 70\nContent-Length: 0\n"
	require.NoError(t, AskToExplain(t.Context(), filepath.Join(s.dir, "proxy.yaml"), "198.51.100.7:5060@wss", strings.NewReader(typed), &out))
	require.Contains(t, out.String(), "by wss (wss) from 198.51.100.7:5060")
}
