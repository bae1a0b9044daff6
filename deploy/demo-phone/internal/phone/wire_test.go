package phone

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
	"github.com/stretchr/testify/require"
)

// raw sends one request as bytes and gives the final response as text.
func raw(t *testing.T, p *Phone, method, user, toTag, extra, body string) string {
	t.Helper()
	conn, err := net.Dial("udp", p.Address().String())
	require.NoError(t, err)
	defer conn.Close()
	id := sip.GenerateTagN(8)
	_, err = fmt.Fprintf(conn, "%s sip:%s@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s\r\nFrom: <sip:a@example.org>;tag=%s\r\n"+
		"To: <sip:%s@example.org>%s\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nContact: <sip:a@%s>\r\nMax-Forwards: 70\r\n%sContent-Length: %d\r\n\r\n%s",
		method, user, p.Address(), conn.LocalAddr(), id, id, user, toTag, id, method, conn.LocalAddr(), extra, len(body), body)
	require.NoError(t, err)
	buffer := make([]byte, 65000)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(3*time.Second)))
	for {
		n, err := conn.Read(buffer)
		require.NoError(t, err)
		if !strings.HasPrefix(string(buffer[:n]), "SIP/2.0 1") {
			return string(buffer[:n])
		}
	}
}

func TestStrictAnswers(t *testing.T) {
	p := start(t, nil, "601:x:tone")
	const kind = "Content-Type: application/sdp\r\n"
	sdp := func(m string) string {
		return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" + m + "\r\n"
	}
	for name, c := range map[string]struct{ method, user, toTag, extra, body, want string }{
		"DTLS-SRTP offer":  {"INVITE", "601", "", kind, sdp("m=audio 4000 UDP/TLS/RTP/SAVPF 8"), "488"},
		"SDES offer":       {"INVITE", "601", "", kind, sdp("m=audio 4000 RTP/SAVP 8"), "488"},
		"unknown codec":    {"INVITE", "601", "", kind, sdp("m=audio 4000 RTP/AVP 18"), "488"},
		"broken SDP":       {"INVITE", "601", "", kind, "hello", "400"},
		"other body":       {"INVITE", "601", "", "Content-Type: text/plain\r\n", "hello", "415"},
		"required option":  {"INVITE", "601", "", "Require: 100rel\r\n", "", "420"},
		"unknown user":     {"INVITE", "nobody", "", "", "", "404"},
		"unknown dialog":   {"INVITE", "601", ";tag=x", "", "", "481"},
		"BYE for nothing":  {"BYE", "601", ";tag=x", "", "", "481"},
		"OPTIONS":          {"OPTIONS", "601", "", "", "", "200"},
		"INFO":             {"INFO", "601", ";tag=x", "", "", "405"},
		"CANCEL too late":  {"CANCEL", "601", "", "", "", "481"},
		"UPDATE elsewhere": {"UPDATE", "601", ";tag=x", "", "", "481"},
	} {
		res := raw(t, p, c.method, c.user, c.toTag, c.extra, c.body)
		require.True(t, strings.HasPrefix(res, "SIP/2.0 "+c.want), "%s: %s", name, res)
	}
	for _, call := range p.Calls() {
		require.Equal(t, Ended, call.State, "a refused INVITE leaves a call behind")
	}
}

// registrar challenges by both algorithms and checks the digest of the one that is answered.
func registrar(t *testing.T, algorithms ...string) (address string, registers chan *sip.Request) {
	t.Helper()
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	server, err := sipgo.NewServer(ua)
	require.NoError(t, err)
	registers = make(chan *sip.Request, 8)
	server.OnRegister(func(req *sip.Request, tx sip.ServerTransaction) {
		if h := req.GetHeader("Authorization"); h != nil {
			got, err := digest.ParseCredentials(h.Value())
			if err == nil {
				want, err := digest.Digest(&digest.Challenge{Realm: got.Realm, Nonce: got.Nonce, Algorithm: got.Algorithm, QOP: []string{got.QOP}},
					digest.Options{Method: "REGISTER", URI: req.Recipient.String(), Username: "600", Password: "pw:1", Cnonce: got.Cnonce, Count: got.Nc})
				if err == nil && want.Response == got.Response && got.Algorithm == algorithms[0] {
					res := sip.NewResponseFromRequest(req, 200, "OK", nil)
					res.AppendHeader(sip.NewHeader("Contact", "<sip:600@192.0.2.1:9>;expires=7, "+req.Contact().Value()+";expires=3"))
					_ = tx.Respond(res)
					registers <- req
					return
				}
			}
		}
		res := sip.NewResponseFromRequest(req, 401, "Unauthorized", nil)
		for _, a := range algorithms {
			res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="example.org", nonce="n1", qop="auth", algorithm=`+a))
		}
		_ = tx.Respond(res)
	})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.ServeUDP(socket) }()
	t.Cleanup(func() {
		require.NoError(t, ua.Close())
		require.NoError(t, socket.Close())
		<-served
	})
	return socket.LocalAddr().String(), registers
}

func TestRegistersRefreshesAndLeaves(t *testing.T) {
	for _, algorithms := range [][]string{{"MD5"}, {"SHA-256", "MD5"}} {
		address, registers := registrar(t, algorithms...)
		p := start(t, func(c *Config) { c.Registrar = address }, "600:pw:1:echo")
		next := func() *sip.Request {
			select {
			case req := <-registers:
				return req
			case <-time.After(5 * time.Second):
				t.Fatal("no REGISTER")
				return nil
			}
		}
		first := next()
		require.Equal(t, "60", first.GetHeader("Expires").Value())
		require.Eventually(t, func() bool { return p.Registrations()[0].Registered }, time.Second, 5*time.Millisecond)
		second := next() // after two thirds of the three seconds that the registrar gave
		require.Equal(t, first.CallID().Value(), second.CallID().Value())
		require.Greater(t, second.CSeq().SeqNo, first.CSeq().SeqNo)
		require.NoError(t, p.Close())
		require.Equal(t, "0", next().GetHeader("Expires").Value())
	}
}

func TestWrongPasswordIsReported(t *testing.T) {
	address, _ := registrar(t, "MD5")
	p := start(t, func(c *Config) { c.Registrar = address }, "600:wrong:echo")
	require.Eventually(t, func() bool { return strings.Contains(p.Registrations()[0].Error, "refused") }, 3*time.Second, 10*time.Millisecond)
	require.False(t, p.Registrations()[0].Registered)
}

func TestRouteValuesAreSplit(t *testing.T) {
	require.Equal(t, []string{`"a, b" <sip:a@x;lr>`, `<sip:b@y;lr,x>;p="q\",r"`, "<sip:c@z>"},
		values(`"a, b" <sip:a@x;lr>, <sip:b@y;lr,x>;p="q\",r",<sip:c@z>`))
}

func TestRouteSet(t *testing.T) {
	d := dialog{callID: "c", localTag: "l", remoteTag: "r", routes: []string{"<sip:p1:5070;lr>", "<sip:p2;lr>"}}
	require.NoError(t, sip.ParseUri("sip:peer@abc.invalid;transport=ws", &d.target))
	req := d.request(sip.BYE, 7)
	require.Equal(t, "p1:5070", req.Destination())
	require.Equal(t, "UDP", req.Transport())
	require.Equal(t, "sip:peer@abc.invalid;transport=ws", req.Recipient.String())
	require.Len(t, req.GetHeaders("Route"), 2)
	d.routes[0] = "<sip:strict:5071>"
	req = d.request(sip.BYE, 8)
	require.Equal(t, "sip:strict:5071", req.Recipient.String())
	require.Equal(t, "<sip:peer@abc.invalid;transport=ws>", req.GetHeaders("Route")[1].Value())
}
