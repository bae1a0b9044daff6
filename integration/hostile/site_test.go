//go:build integration

package hostile

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	sipPort, tlsPort, wsPort, wssPort, ngPort = 15060, 15061, 15080, 15443, 12223
	streamPort, httpPort, cliPort             = 12224, 12225, 12226 // of mediad, too
	mediaLow, mediaTop                        = 30000, 30999
	handshakeLimit                            = 3 * time.Second
)

const proxyConfig = `listeners:
  - {name: udp, transport: udp, address: "%[1]s:15060"}
  - {name: tcp, transport: tcp, address: "%[1]s:15060"}
  - {name: tls, transport: tls, address: "%[1]s:15061"}
  - {name: ws, transport: ws, address: "%[1]s:15080", path: /ws, origins: ["*"]}
  - {name: wss, transport: wss, address: "%[1]s:15443", path: /ws, origins: ["*"]}
domains: [example.test]
users:
  - {name: alice, password: secret}
  - {name: bob, password: secret}
routes:
  - {name: users, to: registered}
media:
  nodes: ["udp:%[1]s:12223"]
storage: {path: ":memory:"}
tls: {local_ca: "ca"}
bans: {failures: 0}
limits: {handshake: 3s, connections: 15000, connections_per_source: 1000}
log: {level: debug}
`

// A site is both halves, two plain phones and the call between them that
// nothing in this exam may disturb.
type site struct {
	net, host string // 127.N, and the host of both halves in it
	dir       string
	media     *harness.Process
	proxy     *harness.Process
	phones    [2]phone
	heard     [2]uint64 // packets each phone had received at the last look
}

type phone struct {
	control string
	process *harness.Process
}

type phoneCall struct {
	State string
	RTP   struct {
		Received, Lost uint64
		FrequencyHz    float64
	}
}

func start(t *testing.T) *site {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "out", "hostile"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &site{net: fmt.Sprintf("127.%d", 40+os.Getpid()%200), dir: dir}
	s.host = s.net + ".7.1"
	programs := compile(t)
	level := "--log-level=7"
	if os.Getenv("HOSTILE_COUNT") != "" { // a line for each of ten million commands fills the disk
		level = "--log-level=4"
	}
	s.media = s.run(t, "mediad", programs["mediad"], "--config-file=none", "--foreground", "--log-stderr", level,
		"--interface="+s.host, fmt.Sprintf("--listen-ng=%s:%d", s.host, ngPort), "--delete-delay=0",
		fmt.Sprintf("--listen-tcp-ng=%s:%d", s.host, streamPort), fmt.Sprintf("--listen-http=%s:%d", s.host, httpPort),
		fmt.Sprintf("--listen-cli=%s:%d", s.host, cliPort),
		fmt.Sprintf("--port-min=%d", mediaLow), fmt.Sprintf("--port-max=%d", mediaTop))
	if err := s.media.Ready(s.ng().Ping); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "proxy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, proxyConfig, s.host), 0o600); err != nil {
		t.Fatal(err)
	}
	s.proxy = s.run(t, "proxy", programs["proxy"], "-config", config)
	if err := s.proxy.Ready(func() error { return s.asks("tcp") }); err != nil {
		t.Fatal(err)
	}
	for i, user := range []string{"alice", "bob"} {
		host := fmt.Sprintf("%s.7.%d", s.net, 10+i)
		s.phones[i].control = host + ":18080"
		s.phones[i].process = s.run(t, user, programs["demo-phone"], "-listen", host+":15060", "-control", s.phones[i].control,
			"-registrar", fmt.Sprintf("%s:%d", s.host, sipPort), "-domain", "example.test", "-account", user+":secret:tone,ring=100ms")
		if err := s.phones[i].process.Ready(s.phones[i].registered); err != nil {
			t.Fatal(err)
		}
	}
	body := strings.NewReader(`{"user":"alice","to":"sip:bob@example.test"}`)
	res, err := http.Post("http://"+s.phones[0].control+"/call", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	time.Sleep(2 * time.Second)
	s.undisturbed(t)
	return s
}

func compile(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	programs := map[string]string{}
	for _, source := range []string{"proxy", "mediad", "deploy/demo-phone"} {
		binary, err := harness.Build(dir, source)
		if err != nil {
			t.Fatal(err)
		}
		programs[filepath.Base(source)] = binary
	}
	return programs
}

func (s *site) run(t *testing.T, name, path string, args ...string) *harness.Process {
	t.Helper()
	p, err := harness.Start(harness.Spec{Name: name, Path: path, Dir: s.dir, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (s *site) ng() harness.NG {
	return harness.NG{Address: fmt.Sprintf("%s:%d", s.host, ngPort)}
}

func (p phone) get(path string, result any) error {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get("http://" + p.control + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(result)
}

func (p phone) registered() error {
	var accounts []struct{ Registered bool }
	if err := p.get("/accounts", &accounts); err != nil {
		return err
	}
	if len(accounts) != 1 || !accounts[0].Registered {
		return fmt.Errorf("not registered: %v", accounts)
	}
	return nil
}

// undisturbed fails the test unless both halves still work for strangers and
// the call of the two phones still carries both tones.
func (s *site) undisturbed(t *testing.T) {
	t.Helper()
	for _, p := range []*harness.Process{s.proxy, s.media} {
		if !p.Running() {
			t.Fatalf("%s has ended:\n%s", p.Name, p.Tail(4000))
		}
		log, err := os.ReadFile(p.Log)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(string(log), "panic"); i >= 0 {
			t.Fatalf("%s speaks of a panic: %.1500s", p.Name, log[i:])
		}
	}
	if err := harness.Eventually(5*time.Second, func() error { return s.ng().Ping() }); err != nil {
		t.Errorf("ng: %v", err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if err := harness.Eventually(5*time.Second, func() error { return s.asks(network) }); err != nil {
			t.Errorf("SIP over %s: %v", network, err)
		}
	}
	time.Sleep(1200 * time.Millisecond) // the tone is measured over a second
	for i, p := range s.phones {
		var calls []phoneCall
		if err := p.get("/calls", &calls); err != nil {
			t.Fatal(err)
		}
		if len(calls) == 0 || calls[len(calls)-1].State != "established" {
			t.Fatalf("phone %d has no call: %+v", i, calls)
		}
		rtp := calls[len(calls)-1].RTP
		if rtp.FrequencyHz < 420 || rtp.FrequencyHz > 460 || rtp.Received <= s.heard[i] || rtp.Lost*100 > rtp.Received {
			t.Errorf("phone %d is disturbed: %+v, had %d packets", i, rtp, s.heard[i])
		}
		s.heard[i] = rtp.Received
	}
}

// asks sends an OPTIONS to the proxy and waits for any answer.
func (s *site) asks(network string) error {
	conn, err := net.DialTimeout(network, fmt.Sprintf("%s:%d", s.host, sipPort), 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	id := rand.Text()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(conn, "OPTIONS sip:example.test SIP/2.0\r\nVia: SIP/2.0/%s %s;rport;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\n"+
		"From: <sip:x@example.test>;tag=%s\r\nTo: <sip:example.test>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
		strings.ToUpper(network), conn.LocalAddr(), id, id, id)
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(buf[:n]), "SIP/2.0 ") {
		return fmt.Errorf("answer %q", buf[:n])
	}
	return nil
}

// logged waits for a line of p's log with all of the words.
func logged(t *testing.T, p *harness.Process, words ...string) {
	t.Helper()
	if err := harness.Eventually(5*time.Second, func() error {
		log, err := os.ReadFile(p.Log)
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(string(log)) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return nil
		}
		return fmt.Errorf("the log of %s has no line with %q", p.Name, words)
	}); err != nil {
		t.Error(err)
	}
}
