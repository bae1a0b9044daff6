package app

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/icholy/digest"
	"github.com/stretchr/testify/require"
)

const (
	tokenSecret   = "a secret of thirty-two bytes ..."
	sharedSecret  = "a secret shared with the page"
	tokenSettings = `
auth:
  tokens:
    hmac: {secrets: ["` + sharedSecret + `"]}
    jwt:
      keys: [{algorithm: HS256, secret: "` + tokenSecret + `"}]
      audience: sip
      server: https://id.example.org
`
)

func makeToken(t *testing.T, user string, left time.Duration) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "aud": "sip", "exp": time.Now().Add(left).Unix()}).SignedString([]byte(tokenSecret))
	require.NoError(t, err)
	return text
}

// wssWith connects with a query, headers and subprotocols; status is that of a refusal.
func (s *site) wssWith(name, query string, header http.Header, protocols ...string) (p *peer, status int) {
	c, res, err := websocket.Dial(s.t.Context(), "wss://"+s.address("wss").String()+"/ws"+query,
		&websocket.DialOptions{Subprotocols: append([]string{"sip"}, protocols...), HTTPClient: s.client(), HTTPHeader: header})
	if err != nil {
		require.NotNil(s.t, res, err)
		return nil, res.StatusCode
	}
	require.Equal(s.t, "sip", c.Subprotocol())
	p = &peer{t: s.t, name: name, via: "WSS", host: strings.ToLower(rand.Text()) + ".invalid"}
	p.write = func(b []byte) error { return c.Write(context.Background(), websocket.MessageText, b) }
	p.run(func() { c.CloseNow() }, func() ([]byte, error) {
		_, data, err := c.Read(context.Background())
		return data, err
	})
	return p, http.StatusSwitchingProtocols
}

// Who proves himself in the handshake needs no password, is nobody else, and not for longer than his token.
func TestTokenInHandshake(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(tokenSettings)
	good := makeToken(t, "alice", time.Hour)
	for name, dial := range map[string]func() (*peer, int){
		"query":       func() (*peer, int) { return s.wssWith("alice", "?access_token="+good, nil) },
		"header":      func() (*peer, int) { return s.wssWith("alice", "", http.Header{"Authorization": {"Bearer " + good}}) },
		"subprotocol": func() (*peer, int) { return s.wssWith("alice", "", nil, tokenProtocol+good) },
	} {
		page, _ := dial()
		require.Contains(t, page.request("REGISTER", "sip:example.org", "r"+name, ""), "200 OK", name)
		require.Contains(t, page.request("INVITE", "sip:nobody@example.org", "i"+name, "", "v=0"), "SIP/2.0 404", name)
		page.name = "bob"
		require.Contains(t, page.request("REGISTER", "sip:example.org", "b"+name, ""), "SIP/2.0 403", name)
		require.Contains(t, page.request("INVITE", "sip:alice@example.org", "c"+name, "", "v=0"), "SIP/2.0 403", name)
		page.close()
	}
	for name, bad := range map[string]string{
		"old": makeToken(t, "alice", -time.Hour), "nonsense": "x", "changed": good[:len(good)-6] + "AAAAAA",
		"unsigned": "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", "of another domain": makeToken(t, "alice@elsewhere.example", time.Hour),
	} {
		_, status := s.wssWith("alice", "?access_token="+bad, nil)
		require.Equal(t, http.StatusUnauthorized, status, name)
	}
	require.Contains(t, s.wss("alice").request("REGISTER", "sip:example.org", "digest", "SHA-256"), "200 OK", "a password goes as well")

	short, _ := s.wssWith("alice", "?access_token="+makeToken(t, "alice", -28*time.Second), nil) // 2 s of the leeway are left
	require.Contains(t, short.request("REGISTER", "sip:example.org", "over", ""), "SIP/2.0 401", "until exp, the leeway is for the handshake")

	s.stop()
	s.start(strings.Replace(tokenSettings, "audience: sip", "handshake: required", 1))
	_, status := s.wssWith("alice", "", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	_, status = s.wssWith("alice", "?access_token="+good, nil)
	require.Equal(t, http.StatusSwitchingProtocols, status)
}

// RFC 8898: a token in the request itself.
func TestBearer(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(tokenSettings)
	bearer := func(user string, left time.Duration) string { return "Bearer " + makeToken(t, user, left) }
	page := s.wss("alice")
	res := page.request("REGISTER", "sip:example.org", "r1", "")
	require.Contains(t, headers(res, "WWW-Authenticate"), `Bearer authz_server="https://id.example.org"`)
	require.Contains(t, page.request("REGISTER", "sip:example.org", "r2", "", "Authorization: "+bearer("alice", time.Hour)), "200 OK")
	require.Contains(t, page.request("INVITE", "sip:nobody@example.org", "i1", "", "v=0"), "SIP/2.0 407", "each request proves it")
	require.Contains(t, page.request("INVITE", "sip:nobody@example.org", "i2", "", "Proxy-Authorization: "+bearer("alice", time.Hour), "v=0"), "SIP/2.0 404")
	require.Contains(t, page.request("REGISTER", "sip:example.org", "r3", "", "Authorization: "+bearer("bob", time.Hour)), "SIP/2.0 403", "for somebody else")
	res = page.request("REGISTER", "sip:example.org", "r4", "", "Authorization: "+bearer("alice", -time.Hour))
	require.Contains(t, res, "SIP/2.0 401")
	require.Contains(t, strings.Join(headers(res, "WWW-Authenticate"), "|"), `error="invalid_token"`)
	require.Contains(t, s.udp("alice").request("REGISTER", "sip:example.org", "r5", "", "Authorization: "+bearer("alice", time.Hour)), "SIP/2.0 403", "readable on the way")

	// The token goes no further than here.
	phone := s.udp("bob")
	require.Contains(t, phone.request("REGISTER", "sip:example.org", "p", "MD5"), "200 OK")
	done := make(chan string, 1)
	go func() {
		invite := phone.expect("INVITE ")
		phone.respond(invite, "486 Busy Here", "x")
		done <- invite
	}()
	require.Contains(t, page.request("INVITE", "sip:bob@example.org", "i3", "", "Proxy-Authorization: "+bearer("alice", time.Hour), "v=0"), "SIP/2.0 486")
	require.Empty(t, headers(<-done, "Proxy-Authorization"))
}

// Passwords as an application makes them for TURN and for us alike.
func TestEphemeralPasswords(t *testing.T) {
	s := newSite(t)
	s.stop()
	s.start(tokenSettings)
	login := func(identity, name, secret, algorithm string) string {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte(name))
		p := s.udp(identity)
		for _, value := range headers(p.request("REGISTER", "sip:example.org", "r"+name+algorithm, ""), "WWW-Authenticate") {
			c, err := digest.ParseChallenge(value)
			if err != nil || c.Algorithm != algorithm {
				continue
			}
			made, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:example.org", Count: 1, Username: name, Password: base64.StdEncoding.EncodeToString(mac.Sum(nil))})
			require.NoError(t, err)
			return p.request("REGISTER", "sip:example.org", "r"+name+algorithm, "", "Authorization: "+made.String())
		}
		return "no challenge"
	}
	name := func(user string, left time.Duration) string {
		return fmt.Sprintf("%d:%s", time.Now().Add(left).Unix(), user)
	}
	for _, algorithm := range []string{"MD5", "SHA-256"} {
		require.Contains(t, login("guest", name("guest", time.Hour), sharedSecret, algorithm), "200 OK", "without an account")
		require.Contains(t, login("guest", name("guest", time.Hour), "another secret", algorithm), "SIP/2.0 401")
		require.Contains(t, login("guest", name("guest", -time.Second), sharedSecret, algorithm), "SIP/2.0 403")
		require.Contains(t, login("guest", name("guest", 48*time.Hour), sharedSecret, algorithm), "SIP/2.0 403")
		require.Contains(t, login("guest", name("mallory", time.Hour), sharedSecret, algorithm), "SIP/2.0 403", "of somebody else")
	}
}
