package auth

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// The examples of RFC 7616 §3.9.1, with the request URI of HTTP.
func TestResponsesOfRFC7616(t *testing.T) {
	c := credentials{
		username: "Mufasa", realm: "http-auth@example.org", uri: "/dir/index.html",
		nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc: "00000001",
		cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop: "auth",
	}
	account := NewAccount("Mufasa", "http-auth@example.org", "Circle of Life")
	c.algorithm, c.response = "MD5", "8ca523f5e9506fed4657c9700eebdbec"
	require.True(t, c.matches(account, "GET"))
	require.False(t, c.matches(account, "PUT"))
	c.algorithm, c.response = "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
	require.True(t, c.matches(account, "GET"))
	require.False(t, c.matches(Account{}, "GET"))
}

func TestParseCredentials(t *testing.T) {
	c, ok, err := parseCredentials(`digest username="a\"b",realm="x, y" , nonce = "n" ,URI="sip:x",nc=00000001,qop=auth, response="r",opaque=""`)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, credentials{username: `a"b`, realm: "x, y", nonce: "n", uri: "sip:x", nc: "00000001", qop: "auth", response: "r", algorithm: "MD5"}, c)
	for _, bad := range []string{`Digest username="a`, `Digest nonsense`, `Digest username="a",username="b",realm=r,nonce=n,response=r`, `Digest realm="x"`, "Digest " + strings.Repeat("a=b,", 40)} {
		_, _, err := parseCredentials(bad)
		require.ErrorIs(t, err, errMalformed, bad)
	}
	_, ok, err = parseCredentials("Basic abc")
	require.NoError(t, err)
	require.False(t, ok)
}

func FuzzParseCredentials(f *testing.F) {
	f.Add(`Digest username="a", realm="r", nonce="n", uri="sip:x", response="0", nc=00000001, qop=auth`)
	f.Add(`Digest a="\`)
	f.Fuzz(func(t *testing.T, s string) {
		c, ok, err := parseCredentials(s)
		if err == nil && ok && (c.username == "" || c.nonce == "") {
			t.Fatalf("incomplete credentials accepted: %+v", c)
		}
	})
}

func TestNonces(t *testing.T) {
	now := time.Now()
	n := newNonces([]byte("key"), 3)
	n.now = func() time.Time { return now }
	nonce := n.issue("a", netip.Addr{})
	judged, issued := n.check(nonce, "a")
	require.Equal(t, nonceGood, judged)
	for _, forged := range []string{"", "x", nonce[1:], n.issue("b", netip.Addr{}), "AAAA" + nonce[4:]} {
		judged, _ := n.check(forged, "a")
		require.Equal(t, nonceForged, judged)
	}
	require.True(t, n.use(nonce, issued, 1))
	require.False(t, n.use(nonce, issued, 1), "replayed")
	require.True(t, n.use(nonce, issued, 3))
	require.True(t, n.use(nonce, issued, 2), "overtaken")
	require.False(t, n.use(nonce, issued, 2))
	require.True(t, n.use(nonce, issued, 100))
	require.False(t, n.use(nonce, issued, 4), "before the window")
	require.True(t, n.use(nonce, issued, 99))

	// Memory is bounded, and what was forgotten cannot be replayed.
	for range 5 {
		now = now.Add(time.Millisecond)
		other := n.issue("a", netip.Addr{})
		_, at := n.check(other, "a")
		require.True(t, n.use(other, at, 1))
	}
	require.LessOrEqual(t, n.order.Len(), 3)
	require.Len(t, n.used, n.order.Len())
	require.False(t, n.use(nonce, issued, 1000))

	now = now.Add(nonceLifetime + time.Second)
	judged, _ = n.check(nonce, "a")
	require.Equal(t, nonceStale, judged)
	fresh := n.issue("a", netip.Addr{})
	_, at := n.check(fresh, "a")
	require.True(t, n.use(fresh, at, 1))
	require.Equal(t, 1, n.order.Len(), "expired ones are gone")
}

// recorder keeps what was answered.
type recorder struct{ responses []*sip.Response }

func (r *recorder) Send(res *sip.Response) error {
	r.responses = append(r.responses, res)
	return nil
}

type domains struct{}

func (domains) Canonical(host string) (string, bool) {
	return "example.org", strings.EqualFold(host, "example.org") || host == "127.0.0.1"
}

func newStep() *Step {
	accounts := Listed{}
	accounts.Add("alice", "example.org", NewAccount("alice", "example.org", "wonder"))
	accounts.Add("bob", "example.org", NewAccount("bob", "example.org", "builder"))
	return New(Config{
		Accounts: accounts, Domains: domains{}, Key: []byte("k"), Nonces: 100,
		Trunks: []Trunk{{Name: "carrier", Profile: "srtp", Trusts: func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.9") }}},
	})
}

func newRequest(t *testing.T, method, from, extra string) (*request.Request, *recorder) {
	t.Helper()
	text := strings.ReplaceAll(fmt.Sprintf(`%s sip:bob@example.org SIP/2.0
Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx
From: <%s>;tag=1
To: <%s>
Call-ID: c
CSeq: 1 %s
%sContent-Length: 0

`, method, from, from, method, extra), "\n", "\r\n")
	msg, err := sip.ParseMessage([]byte(text))
	require.NoError(t, err)
	r := &recorder{}
	original := msg.(*sip.Request)
	return &request.Request{
		Msg: original.Clone(), Original: original, Source: netip.MustParseAddrPort("198.51.100.1:5060"),
		Log: zap.NewNop(), Responder: r, Profile: "webrtc",
	}, r
}

// authorize answers a challenge as a client does.
func authorize(res *sip.Response, header, user, password, method, algorithm string, nc int) string {
	name := map[string]string{"Authorization": "WWW-Authenticate", "Proxy-Authorization": "Proxy-Authenticate"}[header]
	for _, h := range res.GetHeaders(name) {
		c, _, _ := parseCredentials(h.Value() + `, username="x", response="x"`)
		if c.algorithm != algorithm {
			continue
		}
		hash := hashMD5
		if algorithm == SHA256 {
			hash = hashSHA256
		}
		count := fmt.Sprintf("%08x", nc)
		response := hash(hash(user+":"+c.realm+":"+password) + ":" + c.nonce + ":" + count + ":cc:auth:" + hash(method+":sip:example.org"))
		return fmt.Sprintf("%s: Digest username=\"%s\", realm=\"%s\", nonce=\"%s\", uri=\"sip:example.org\", response=\"%s\", algorithm=%s, cnonce=\"cc\", qop=auth, nc=%s\n",
			header, user, c.realm, c.nonce, response, algorithm, count)
	}
	return ""
}

func TestUsers(t *testing.T) {
	s := newStep()
	for _, c := range []struct {
		method, header, algorithm string
		code                      int
	}{
		{"REGISTER", "Authorization", SHA256, 401},
		{"REGISTER", "Authorization", MD5, 401},
		{"INVITE", "Proxy-Authorization", SHA256, 407},
		{"INVITE", "Proxy-Authorization", MD5, 407},
	} {
		r, out := newRequest(t, c.method, "sip:alice@example.org", "")
		v, err := s.Handle(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, request.Done, v)
		require.Equal(t, c.code, out.responses[0].StatusCode)
		challenges := out.responses[0].GetHeaders(map[int]string{401: "WWW-Authenticate", 407: "Proxy-Authenticate"}[c.code])
		require.Len(t, challenges, 2)
		require.Contains(t, challenges[0].Value(), SHA256)

		answer := authorize(out.responses[0], c.header, "alice", "wonder", c.method, c.algorithm, 1)
		r, out2 := newRequest(t, c.method, "sip:alice@example.org", answer+c.header+": Digest username=\"u\", realm=\"other\", nonce=\"n\", response=\"r\"\nP-ASSERTED-Identity: <sip:king@example.org>\n")
		v, err = s.Handle(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, request.Continue, v)
		require.Equal(t, "alice@example.org", r.User)
		require.Len(t, r.Msg.GetHeaders(c.header), 1, "that for another realm stays")
		require.Empty(t, r.Msg.GetHeaders("P-Asserted-Identity"))
		require.Empty(t, out2.responses)

		r, out3 := newRequest(t, c.method, "sip:alice@example.org", answer)
		_, err = s.Handle(t.Context(), r)
		require.NoError(t, err)
		require.Contains(t, out3.responses[0].String(), "stale=true", "a replay gets nowhere")

		wrong := authorize(out.responses[0], c.header, "alice", "guess", c.method, c.algorithm, 2)
		r, out4 := newRequest(t, c.method, "sip:alice@example.org", wrong)
		_, err = s.Handle(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, c.code, out4.responses[0].StatusCode)
		require.NotContains(t, out4.responses[0].String(), "stale")

		bob := authorize(out.responses[0], c.header, "bob", "builder", c.method, c.algorithm, 3)
		r, _ = newRequest(t, c.method, "sip:alice@example.org", bob)
		_, err = s.Handle(t.Context(), r)
		require.ErrorIs(t, err, ErrNotYours, "bob cannot act as alice")
	}
}

func TestAlgorithmsThatAreNotOffered(t *testing.T) {
	s := newStep()
	fewer := s.current.Load().Config
	fewer.Algorithms = []string{SHA256}
	s.Configure(fewer)
	r, out := newRequest(t, "REGISTER", "sip:alice@example.org", "")
	_, err := s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, out.responses[0].GetHeaders("WWW-Authenticate"), 1)
	answer := authorize(out.responses[0], "Authorization", "alice", "wonder", "REGISTER", SHA256, 1)
	for _, weaker := range []string{MD5, "SHA-512-256"} {
		r, out := newRequest(t, "REGISTER", "sip:alice@example.org", strings.Replace(answer, "algorithm=SHA-256", "algorithm="+weaker, 1))
		_, err := s.Handle(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, 401, out.responses[0].StatusCode)
	}
}

func TestStrangers(t *testing.T) {
	s := newStep()
	r, _ := newRequest(t, "INVITE", "sip:someone@elsewhere.net", "")
	_, err := s.Handle(t.Context(), r)
	var answered *request.Error
	require.ErrorAs(t, err, &answered)
	require.Equal(t, 403, answered.Code)

	r, out := newRequest(t, "ACK", "sip:alice@example.org", "")
	v, err := s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, request.Done, v)
	require.Empty(t, out.responses, "an ACK is never answered")
}

func TestTrunks(t *testing.T) {
	s := newStep()
	r, _ := newRequest(t, "INVITE", "sip:+1555@elsewhere.net", "P-Asserted-Identity: <sip:+1555@elsewhere.net>\n")
	r.Source = netip.MustParseAddrPort("192.0.2.9:5080")
	v, err := s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, request.Continue, v)
	require.Equal(t, "carrier", r.Trunk)
	require.Equal(t, "srtp", r.Profile)
	require.Len(t, r.Msg.GetHeaders("P-Asserted-Identity"), 1)

	r, out := newRequest(t, "REGISTER", "sip:alice@example.org", "")
	r.Source = netip.MustParseAddrPort("192.0.2.9:5080")
	_, err = s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, 401, out.responses[0].StatusCode, "a trunk cannot register as a user")
}

// A browser that hides its user from the callee still has to prove who he is (RFC 3325 §9.2).
func TestAnonymousCallers(t *testing.T) {
	s := newStep()
	const from, preferred = "sip:anonymous@anonymous.invalid", "P-Preferred-Identity: <sip:alice@example.org>\nPrivacy: id\n"
	r, out := newRequest(t, "INVITE", from, preferred)
	_, err := s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, 407, out.responses[0].StatusCode)
	answer := authorize(out.responses[0], "Proxy-Authorization", "alice", "wonder", "INVITE", MD5, 1)
	r, _ = newRequest(t, "INVITE", from, preferred+answer)
	v, err := s.Handle(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, request.Continue, v)
	require.Equal(t, "alice@example.org", r.User)

	for extra, code := range map[string]int{"": 403, "P-Preferred-Identity: <sip:x@elsewhere.net>\n": 403} {
		r, _ = newRequest(t, "INVITE", from, extra)
		_, err = s.Handle(t.Context(), r)
		var answered *request.Error
		require.ErrorAs(t, err, &answered)
		require.Equal(t, code, answered.Code)
	}
	answer = authorize(out.responses[0], "Proxy-Authorization", "bob", "builder", "INVITE", MD5, 2)
	r, _ = newRequest(t, "INVITE", from, preferred+answer)
	_, err = s.Handle(t.Context(), r)
	require.ErrorIs(t, err, ErrNotYours)
}
