//go:build integration

package behaviours

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/icholy/digest"
)

// A peer is a user agent that does only what its script says.
type peer struct {
	t         *testing.T
	s         *site
	user      string // account; empty for a carrier
	transport string // as in Via
	host      string // sent-by and host of Contact
	params    string // of the Contact's URI
	write     func(data []byte) error
	in        chan string
	held      []string
	close     func()
}

// serial makes branches, tags and Call-IDs unique.
var serial atomic.Int64

func unique(prefix string) string { return prefix + strconv.FormatInt(serial.Add(1), 36) }

// udp opens a peer at an address ("host:port", port 0 for any) that talks to a listener.
func (s *site) udp(t *testing.T, user, at, proxy string) *peer {
	t.Helper()
	local, err := net.ResolveUDPAddr("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, s: s, user: user, transport: "UDP", host: conn.LocalAddr().String()}
	p.write = func(data []byte) error { _, err := conn.WriteTo(data, to); return err }
	buf := make([]byte, 65535)
	p.run(func() { conn.Close() }, func() ([]byte, error) {
		n, err := conn.Read(buf)
		return buf[:n], err
	})
	return p
}

func (s *site) listener(last int) string { return fmt.Sprintf("%s.%d:%d", s.net, last, sipPort) }

func (s *site) sixListener() string { return fmt.Sprintf("[::1]:%d", s.six) }

// carrier is a peer of the trunk, which needs no password.
func (s *site) carrier(t *testing.T) *peer {
	t.Helper()
	return s.udp(t, "", s.carrierHost()+":0", s.listener(1))
}

// phone is a registered user by UDP.
func (s *site) phone(t *testing.T) *peer {
	t.Helper()
	p := s.udp(t, s.user(), s.net+".20:0", s.listener(1))
	p.register()
	return p
}

// page is a registered user by WebSocket.
func (s *site) page(t *testing.T) *peer {
	t.Helper()
	p := s.webSocket(t, s.user())
	p.register()
	return p
}

func (s *site) webSocket(t *testing.T, user string) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s.1:%d/ws", s.net, wsPort), &websocket.DialOptions{Subprotocols: []string{"sip"}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	p := &peer{t: t, s: s, user: user, transport: "WS", host: unique("h") + ".invalid", params: ";transport=ws"}
	p.write = func(data []byte) error { return c.Write(context.Background(), websocket.MessageText, data) }
	p.run(func() { c.CloseNow() }, func() ([]byte, error) {
		_, data, err := c.Read(context.Background())
		return data, err
	})
	return p
}

// tcp is a peer that has connected to a listener.
func (s *site) tcp(t *testing.T, user, at, proxy string) *peer {
	t.Helper()
	local, err := net.ResolveTCPAddr("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	return s.stream(t, user, c)
}

// stream is a peer on a TCP connection.
func (s *site) stream(t *testing.T, user string, c net.Conn) *peer {
	p := &peer{t: t, s: s, user: user, transport: "TCP", host: c.LocalAddr().String(), params: ";transport=tcp"}
	p.write = func(data []byte) error { _, err := c.Write(data); return err }
	in := textproto.NewReader(bufio.NewReader(c))
	p.run(func() { c.Close() }, func() ([]byte, error) { return readStream(in) })
	return p
}

func readStream(in *textproto.Reader) ([]byte, error) {
	var head strings.Builder
	size := 0
	for {
		line, err := in.ReadLine()
		if err != nil {
			return nil, err
		}
		if head.Len() == 0 && line == "" {
			return []byte("\r\n"), nil // keep-alive
		}
		head.WriteString(line + "\r\n")
		if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			size, _ = strconv.Atoi(n)
		}
		if line == "" {
			break
		}
	}
	body := make([]byte, size)
	_, err := io.ReadFull(in.R, body)
	return append([]byte(head.String()), body...), err
}

// run starts the reader and stops it at the end of the test.
func (p *peer) run(stop func(), read func() ([]byte, error)) {
	done, quit := make(chan struct{}), make(chan struct{})
	p.in = make(chan string, 64)
	go func() {
		defer close(done)
		for {
			data, err := read()
			if err != nil {
				return
			}
			select {
			case p.in <- string(data):
			case <-quit:
				return
			}
		}
	}()
	p.close = sync.OnceFunc(func() { close(quit); stop(); <-done })
	p.t.Cleanup(p.close)
}

func (p *peer) contact() string {
	user := p.user
	if user == "" {
		user = "carrier"
	}
	return "sip:" + user + "@" + p.host + p.params
}

func (p *peer) aor() string {
	if p.user == "" {
		return "sip:carrier@carrier.example"
	}
	return "sip:" + p.user + "@example.test"
}

// send sends text as it is.
func (p *peer) send(text string) {
	p.t.Helper()
	if err := p.write([]byte(text)); err != nil {
		p.t.Fatalf("%s: %v", p.aor(), err)
	}
}

// expect waits for a message whose start line begins so; others are kept for later calls.
func (p *peer) expect(start string) msg {
	p.t.Helper()
	m, ok := p.await(start, 5*time.Second)
	if !ok {
		var had []string
		for _, h := range p.held {
			had = append(had, msg{h}.start())
		}
		p.t.Fatalf("%s by %s: no %q; had %q", p.aor(), p.transport, start, had)
	}
	return m
}

func (p *peer) await(start string, limit time.Duration) (msg, bool) {
	for i, h := range p.held {
		if strings.HasPrefix(h, start) {
			p.held = append(p.held[:i:i], p.held[i+1:]...)
			return msg{h}, true
		}
	}
	for timeout := time.After(limit); ; {
		select {
		case m := <-p.in:
			if strings.HasPrefix(m, start) {
				return msg{m}, true
			}
			p.held = append(p.held, m)
		case <-timeout:
			return msg{}, false
		}
	}
}

// flush waits until all that was under way has come: an own request to the proxy, answered behind it.
func (p *peer) flush() {
	p.t.Helper()
	d := &dialog{p: p, callID: unique("flush"), local: "<" + p.aor() + ">;tag=f", remote: "<sip:x>", target: "sip:" + p.s.listener(1)}
	p.send(d.request("OPTIONS", body{}))
	for i := 0; ; i++ {
		if res := p.expect("SIP/2.0 "); res.get("Call-ID") == d.callID {
			return
		} else if i < 100 {
			defer func() { p.held = append(p.held, res.text) }()
		}
	}
}

// none fails when such a message has come or comes before the proxy has answered a further request. It is for what would
// have been sent at once.
func (p *peer) none(start string) {
	p.t.Helper()
	p.flush()
	for _, h := range p.held {
		if strings.HasPrefix(h, start) {
			p.t.Fatalf("%s: unexpected\n%s", p.aor(), h)
		}
	}
}

// msg is a received message with just enough reading for scripts.
type msg struct{ text string }

func (m msg) start() string { line, _, _ := strings.Cut(m.text, "\r\n"); return line }

func (m msg) code() int {
	n, _ := strconv.Atoi(strings.Fields(m.start() + " x x")[1])
	return n
}

func (m msg) body() string { _, b, _ := strings.Cut(m.text, "\r\n\r\n"); return b }

func (m msg) all(name string) []string {
	head, _, _ := strings.Cut(m.text, "\r\n\r\n")
	var out []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		n, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

func (m msg) get(name string) string {
	if all := m.all(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (m msg) uri() string { return strings.Fields(m.start())[1] }

// line is the rest of the first SDP line that begins so.
func (m msg) line(start string) string {
	for _, l := range strings.Split(m.body(), "\r\n") {
		if rest, ok := strings.CutPrefix(l, start); ok {
			return rest
		}
	}
	return ""
}

// audio is the transport profile of the audio line.
func (m msg) audio() string {
	f := strings.Fields(m.line("m=audio "))
	if len(f) < 2 {
		return ""
	}
	return f[1]
}

func between(s string) string {
	_, after, _ := strings.Cut(s, "<")
	v, _, _ := strings.Cut(after, ">")
	return v
}

// body is a message body with its type.
type body struct{ kind, text string }

func sdp(text string) body { return body{"application/sdp", text} }

func (b body) lines() string {
	kind := ""
	if b.kind != "" {
		kind = "Content-Type: " + b.kind + "\r\n"
	}
	return kind + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(b.text), b.text)
}

// plain is what a phone says.
func plain(extra ...string) body {
	return sdp("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n" + strings.Join(append(extra, ""), "\r\n"))
}

// web is what a browser says.
func web(extra ...string) body {
	return sdp("v=0\r\no=- 7 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 4002 UDP/TLS/RTP/SAVPF 0 101\r\n" +
		"c=IN IP4 127.0.0.1\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:1 1 udp 2113937151 127.0.0.1 4002 typ host\r\n" +
		"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=fingerprint:sha-256 " + strings.Repeat("AB:", 31) + "AB\r\n" +
		"a=setup:actpass\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n" +
		strings.Join(append(extra, ""), "\r\n"))
}

// webAnswer is what a browser answers.
func webAnswer(extra ...string) body {
	b := web(extra...)
	b.text = strings.Replace(b.text, "actpass", "active", 1)
	return b
}

// register registers the peer's contact with its password, for parameters of the Contact see more.
func (p *peer) register(more ...string) msg {
	p.t.Helper()
	res := p.registerAs(unique("reg"), more...)
	if res.code() != 200 {
		p.t.Fatalf("%s: %s", p.aor(), res.start())
	}
	return res
}

func (p *peer) registerAs(callID string, more ...string) msg {
	p.t.Helper()
	d := &dialog{p: p, callID: callID, local: "<" + p.aor() + ">;tag=r", remote: "<" + p.aor() + ">", target: "sip:example.test", device: strings.Join(more, "")}
	p.send(d.request("REGISTER", body{}, "Expires: 300"))
	res := p.final()
	if res.code() == 401 {
		p.send(d.request("REGISTER", body{}, "Expires: 300", p.credentials(res, "REGISTER", d.target)))
		res = p.final()
	}
	return res
}

// final waits for a final response.
func (p *peer) final() msg {
	p.t.Helper()
	for {
		if res := p.expect("SIP/2.0 "); res.code() >= 200 {
			return res
		}
	}
}

// credentials answers a challenge.
func (p *peer) credentials(res msg, method, uri string) string {
	p.t.Helper()
	challenge, answer := "WWW-Authenticate", "Authorization"
	if res.code() == 407 {
		challenge, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	c, err := digest.ParseChallenge(res.get(challenge))
	if err != nil {
		p.t.Fatalf("%v in %s", err, res.text)
	}
	made, err := digest.Digest(c, digest.Options{Method: method, URI: uri, Count: 1, Username: p.user, Password: password})
	if err != nil {
		p.t.Fatal(err)
	}
	return answer + ": " + made.String()
}
