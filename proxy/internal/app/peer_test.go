package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/icholy/digest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "open sesame"

// site is a running proxy with its folder, and a media daemon that writes down
// what it is asked.
type site struct {
	t      *testing.T
	dir    string
	app    *App
	daemon *ngserver.Server

	mu    sync.Mutex
	asked []*ng.Request
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	server, err := ngserver.New(ngserver.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Handler: s})
	require.NoError(t, err)
	s.daemon = server
	server.Start()
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	t.Cleanup(func() { s.stop() })
	s.start("")
	return s
}

// Handle implements ng.Handler.
func (s *site) Handle(_ context.Context, req *ng.Request) ng.Reply {
	if req.Command == ng.CommandPing {
		return &ng.Pong{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, req)
	if req.Command == ng.CommandDelete {
		return &ng.CallReply{}
	}
	return &ng.SDPReply{SDP: fmt.Sprintf("v=0\r\ns=%s %s\r\n", req.Command, req.TransportProtocol)}
}

// commands are those that the daemon was asked, with profile.
func (s *site) commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.asked {
		out = append(out, strings.TrimSpace(string(r.Command)+" "+string(r.TransportProtocol)))
	}
	return out
}

func (s *site) start(more string) {
	s.t.Helper()
	s.listen(`
  - {name: udp, transport: udp, address: "127.0.0.1:0"}
  - {name: wss, transport: wss, address: "127.0.0.1:0", origins: ["*"]}
`, more)
}

// startAt starts it on addresses, as after a restart.
func (s *site) startAt(udp, wss netip.AddrPort) {
	s.t.Helper()
	s.listen(fmt.Sprintf(`
  - {name: udp, transport: udp, address: %q}
  - {name: wss, transport: wss, address: %q, origins: ["*"]}
`, udp, wss), "")
}

// listen starts the proxy with the given listeners.
func (s *site) listen(listeners, more string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "proxy.yaml")
	text := fmt.Sprintf(`
listeners:%sdomains: [example.org]
users:
  - {name: alice, password: %q}
  - {name: bob, password: %q}
media: {nodes: ["udp:%s"], timeout: 600ms, retransmit: 200ms}
storage: {path: %q}
tls: {local_ca: %q}
%s`, listeners, password, password, s.daemon.Addrs()[0], filepath.Join(s.dir, "proxy.db"), filepath.Join(s.dir, "ca"), more)
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o600))
	settings, err := Load(file)
	require.NoError(s.t, err)
	s.app, err = start(s.t.Context(), settings, file, zaptest.NewLogger(s.t, zaptest.Level(zap.ErrorLevel)))
	require.NoError(s.t, err)
}

func (s *site) stop() {
	if s.app != nil {
		require.NoError(s.t, s.app.Close())
		s.app = nil
	}
}

func (s *site) address(listener string) netip.AddrPort {
	for _, l := range s.app.Listeners() {
		if l.Name == listener {
			return l.Addr
		}
	}
	s.t.Fatalf("no listener %s", listener)
	return netip.AddrPort{}
}

// roots hold the local CA.
func (s *site) roots() *x509.CertPool {
	pem, err := os.ReadFile(filepath.Join(s.dir, "ca", "ca.pem"))
	require.NoError(s.t, err)
	roots := x509.NewCertPool()
	require.True(s.t, roots.AppendCertsFromPEM(pem))
	return roots
}

// client trusts the local CA.
func (s *site) client() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots()}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// peer is a user agent that does what the test says.
type peer struct {
	t         *testing.T
	name      string
	via, host string
	device    string // parameters of the Contact
	write     func([]byte) error
	in        chan string
	close     func()
	cseq      int
}

func (s *site) udp(name string) *peer { return s.udpAt(name, "127.0.0.1:0") }

func (s *site) udpAt(name, address string) *peer {
	at, err := net.ResolveUDPAddr("udp4", address)
	require.NoError(s.t, err)
	conn, err := net.ListenUDP("udp4", at)
	require.NoError(s.t, err)
	proxy := s.address("udp")
	p := &peer{t: s.t, name: name, via: "UDP", host: conn.LocalAddr().String()}
	p.write = func(b []byte) error { _, err := conn.WriteToUDPAddrPort(b, proxy); return err }
	buf := make([]byte, 65535)
	p.run(func() { conn.Close() }, func() ([]byte, error) {
		n, err := conn.Read(buf)
		return buf[:n], err
	})
	return p
}

func (s *site) wss(name string) *peer {
	c, _, err := websocket.Dial(s.t.Context(), "wss://"+s.address("wss").String()+"/ws",
		&websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPClient: s.client()})
	require.NoError(s.t, err)
	p := &peer{t: s.t, name: name, via: "WSS", host: name + "xyz.invalid"}
	p.write = func(b []byte) error { return c.Write(context.Background(), websocket.MessageText, b) }
	p.run(func() { c.CloseNow() }, func() ([]byte, error) {
		_, data, err := c.Read(context.Background())
		return data, err
	})
	return p
}

func (p *peer) run(stop func(), read func() ([]byte, error)) {
	p.in = make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			data, err := read()
			if err != nil {
				return
			}
			p.in <- string(data)
		}
	}()
	p.close = sync.OnceFunc(func() { stop(); <-done })
	p.t.Cleanup(p.close)
}

// rebind closes the peer and returns its address, to be bound again towards a
// proxy that has restarted.
func (p *peer) rebind() string {
	p.close()
	return p.host
}

func (p *peer) contact() string { return fmt.Sprintf("<sip:%s@%s>", p.name, p.host) }

func (p *peer) send(lines ...string) {
	p.t.Helper()
	head, body := lines, ""
	if last := lines[len(lines)-1]; strings.HasPrefix(last, "v=0") {
		head, body = lines[:len(lines)-1], last
		head = append(head[:len(head):len(head)], "Content-Type: application/sdp")
	}
	text := strings.Join(head, "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(p.t, p.write([]byte(text)))
}

// expect waits for a message whose start line begins so; 100 is passed over.
func (p *peer) expect(start string) string {
	p.t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case m := <-p.in:
			if strings.HasPrefix(m, start) {
				return m
			}
			if !strings.HasPrefix(m, "SIP/2.0 100") {
				p.t.Fatalf("%s: want %q, have\n%s", p.name, start, m)
			}
		case <-timeout:
			p.t.Fatalf("%s: no %q", p.name, start)
		}
	}
}

// header returns all values of a header.
func headers(message, name string) []string {
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	var out []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// request sends a request outside of a dialog and proves who it is from when it
// is asked to; algorithm chooses the challenge. It returns the first response
// but 100.
func (p *peer) request(method, uri, callID, algorithm string, more ...string) string {
	p.t.Helper()
	credentials := ""
	for {
		p.cseq++
		lines := []string{
			method + " " + uri + " SIP/2.0",
			fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bK%s%d;rport", p.via, p.host, p.name, p.cseq),
			fmt.Sprintf("From: <sip:%s@example.org>;tag=%s", p.name, p.name),
			"To: <" + uri + ">", "Call-ID: " + callID, fmt.Sprintf("CSeq: %d %s", p.cseq, method),
			"Max-Forwards: 70", "Contact: " + p.contact() + p.device,
		}
		if method == "REGISTER" {
			lines[3] = fmt.Sprintf("To: <sip:%s@example.org>", p.name)
		}
		if credentials != "" {
			lines = append(lines, credentials)
		}
		p.send(append(lines, more...)...)
		res := p.expect("SIP/2.0 ")
		for strings.HasPrefix(res, "SIP/2.0 100") {
			res = p.expect("SIP/2.0 ")
		}
		challenge, answer := "WWW-Authenticate", "Authorization"
		if strings.HasPrefix(res, "SIP/2.0 407") {
			challenge, answer = "Proxy-Authenticate", "Proxy-Authorization"
		}
		if method == "INVITE" && res[len("SIP/2.0 ")] > '2' {
			p.send("ACK "+uri+" SIP/2.0", lines[1], lines[2], "To: "+headers(res, "To")[0], lines[4],
				fmt.Sprintf("CSeq: %d ACK", p.cseq), "Max-Forwards: 70")
		}
		if algorithm == "" || credentials != "" || !strings.HasPrefix(res, "SIP/2.0 40") || len(headers(res, challenge)) == 0 {
			return res
		}
		for _, value := range headers(res, challenge) {
			if !strings.HasPrefix(value, "Digest ") {
				continue
			}
			c, err := digest.ParseChallenge(value)
			require.NoError(p.t, err)
			if c.Algorithm != algorithm {
				continue
			}
			made, err := digest.Digest(c, digest.Options{Method: method, URI: uri, Count: 1, Username: p.name, Password: password})
			require.NoError(p.t, err)
			credentials = answer + ": " + made.String()
		}
		require.NotEmpty(p.t, credentials, res)
	}
}

// respond answers a received request.
func (p *peer) respond(req, status, tag string, more ...string) {
	p.t.Helper()
	lines := []string{"SIP/2.0 " + status}
	for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		for _, value := range headers(req, name) {
			if name == "To" && tag != "" && !strings.Contains(value, "tag=") {
				value += ";tag=" + tag
			}
			lines = append(lines, name+": "+value)
		}
	}
	p.send(append(append(lines, "Contact: "+p.contact()), more...)...)
}
