//go:build integration

package behaviours

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/integration/harness"
)

func TestMain(m *testing.M) {
	// The scripts spend their time waiting. -parallel overrides it.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	password = "open sesame"
	sipPort  = 15060
	wsPort   = 15080
	nextHops = 11
)

// config has, in order: first three numbers of the addresses, port of the IPv6 listener, accounts, routes, ng address,
// folder of storage and certificates.
const config = `listeners:
  - {name: udp, transport: udp, address: "%[1]s.1:15060"}
  - {name: tcp, transport: tcp, address: "%[1]s.1:15060"}
  - {name: ws, transport: ws, address: "%[1]s.1:15080", origins: ["*"]}
  - {name: outside, transport: udp, address: "%[1]s.2:15060", advertised: "sbc.example.test:15099"}
  - {name: six, transport: udp, address: "[::1]:%[2]d"}
  - {name: secret, transport: udp, address: "%[1]s.3:15060", profile: hidden}
  - {name: secrettcp, transport: tcp, address: "%[1]s.3:15060", profile: hidden}
domains: [example.test]
users:
%[3]strunks:
  - {name: carrier, sources: ["%[1]s.128/25"]}
  - {name: tester, sources: ["%[1]s.100/32"]}
routes:
%[4]smedia: {nodes: ["udp:%[5]s"]}
profiles:
  hidden: {flags: "RTP/AVP ICE=remove DTLS=passive SDES-off rtcp-mux-demux replace-origin replace-session-connection", topology_hiding: true}
storage: {path: "%[6]s/proxy.db"}
tls: {local_ca: "%[6]s/ca"}
bans: {failures: 0}
dialogs: {media_check: 1s}
limits: {ping: 1s}
log: {level: debug}
`

// A site is both halves at work. Every script takes users and addresses of its own.
type site struct {
	net     string // first three numbers of all its addresses
	six     int    // port of the IPv6 listener
	dir     string
	program string
	media   *harness.Media
	proxy   *harness.Process
	users   atomic.Int64
	hosts   atomic.Int64
}

func start(t *testing.T) *site {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "out", "behaviours", t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s := &site{net: fmt.Sprintf("127.%d.9", 40+os.Getpid()%200), dir: dir}
	daemon, err := harness.Build(filepath.Join(dir, "..", "bin"), "mediad")
	if err != nil {
		t.Fatal(err)
	}
	if s.program, err = harness.Build(filepath.Join(dir, "..", "bin"), "proxy"); err != nil {
		t.Fatal(err)
	}
	if s.media, err = harness.StartMedia(daemon, "mediad", s.net+".1", dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s.media.Process) })
	if s.six, err = harness.FreePort("::1"); err != nil {
		t.Fatal(err)
	}
	var users, routes strings.Builder
	for i := range 400 {
		fmt.Fprintf(&users, "  - {name: u%d, password: %q}\n", i, password)
	}
	for i := range nextHops {
		fmt.Fprintf(&routes, "  - {name: hop%d, from: [users, carrier], prefix: \"hop%d-\", to: \"sip:%s\"}\n", i, i, s.hop(i))
	}
	fmt.Fprintf(&routes, "  - {name: stream, from: [users, carrier], prefix: \"stream-\", to: \"sip:%s;transport=TCP\"}\n", s.hop(nextHops))
	fmt.Fprintf(&routes, "  - {name: torture, from: [tester], domain: \"*\", to: \"sip:%s\"}\n", s.tortureHop())
	text := fmt.Sprintf(config, s.net, s.six, users.String(), routes.String(), s.media.Address, dir)
	if err := os.WriteFile(s.configFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	t.Cleanup(func() { stop(t, s.proxy) })
	return s
}

func (s *site) configFile() string { return filepath.Join(s.dir, "proxy.yaml") }

// hop is the address of a next hop of the configuration.
func (s *site) hop(i int) string { return fmt.Sprintf("%s.%d:15060", s.net, 240+i) }

// run starts the proxy.
func (s *site) run(t *testing.T) {
	t.Helper()
	var err error
	s.proxy, err = harness.Start(harness.Spec{Name: "proxy", Path: s.program, Dir: s.dir, Args: []string{"-config", s.configFile()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.proxy.Ready(func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("%s.1:%d", s.net, wsPort))
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		t.Fatal(err)
	}
}

// stop ends a process, whose log must not speak of a panic.
func stop(t *testing.T, p *harness.Process) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(p.Log)
	if err != nil {
		t.Error(err)
	}
	if i := strings.Index(string(log), "panic"); i >= 0 {
		t.Errorf("%s speaks of a panic: %.1500s", p.Name, log[i:])
	}
}

// user is an account that no other script uses.
func (s *site) user() string { return fmt.Sprintf("u%d", s.users.Add(1)) }

// carrierHost is an address of the trunk that no other script uses.
func (s *site) carrierHost() string { return fmt.Sprintf("%s.%d", s.net, 128+s.hosts.Add(1)%110) }
