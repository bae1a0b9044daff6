//go:build integration

package trunk

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const proxyConfig = `listeners:
  - {name: phones, transport: udp, address: "%[1]s"}
domains: [example.test]
trunks:
  - {name: pbx, sources: ["%[2]s"], targets: [{uri: "sip:%[3]s"}]}
  - name: carrier
    sources: ["%[4]s"]
    targets: [{uri: "sip:%[5]s"}, {uri: "sip:%[6]s", priority: 1}]
    timeout: 500ms
    probe: {interval: 1s, timeout: 500ms}
    credentials: {user: acc, password: secret, realm: carrier.test}
    register: [{aor: "sip:acc@carrier.test", contact: "4930", expires: 20s}]
    identity: {number: "+4930100", domain: carrier.test}
    rewrite: [{match: "^0([1-9].*)$", replace: "+49$1"}, {direction: in, match: "^4930$", replace: "pbx"}]
routes:
  - {name: out, from: [pbx], domain: "*", to: carrier, when: 'method == "INVITE" && user matches "^0[1-9]" && network("%[2]s")'}
  - {name: in, from: [carrier], domain: "*", to: pbx}
storage: {path: ":memory:"}
tls: {local_ca: "ca"}
log: {level: debug}
`

// site is a proxy between a telephone exchange (SIPp) and a carrier (Kamailio) with a phone behind (SIPp).
type site struct {
	t                            *testing.T
	dir                          string
	proxy, carrier, pbx, phone   string // host:port
	proxyProcess, carrierProcess *harness.Process
}

func newSite(t *testing.T, number int, algorithm string) *site {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "out", "trunk", algorithm))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir}
	for i, a := range []*string{&s.proxy, &s.carrier, &s.pbx, &s.phone} {
		host := fmt.Sprintf("127.0.%d.%d", number, i+1)
		port, err := harness.FreePort(host)
		if err != nil {
			t.Fatal(err)
		}
		*a = net.JoinHostPort(host, strconv.Itoa(port))
	}
	host, port, _ := net.SplitHostPort(s.carrier)
	proxyHost, _, _ := net.SplitHostPort(s.proxy)
	pbxHost, _, _ := net.SplitHostPort(s.pbx)
	var site strings.Builder
	for _, pair := range [][2]string{
		{"CARRIER_ADDR", host}, {"CARRIER_PORT", port}, {"PROXY_ADDR", proxyHost}, {"PHONE", s.phone}, {"ALGORITHM", algorithm},
	} {
		fmt.Fprintf(&site, "#!substdef \"!%s!%s!g\"\n", pair[0], pair[1])
	}
	s.write("site.cfg", site.String())
	s.write("proxy.yaml", fmt.Sprintf(proxyConfig, s.proxy, pbxHost, s.pbx, host, net.JoinHostPort(host, "9"), s.carrier))
	text, err := os.ReadFile("testdata/carrier.cfg")
	if err != nil {
		t.Fatal(err)
	}
	s.write("carrier.cfg", string(text))
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start(spec harness.Spec) *harness.Process {
	s.t.Helper()
	spec.Dir = s.dir
	p, err := harness.Start(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = p.Stop() })
	return p
}

// logged waits until a process has written a text so often.
func (s *site) logged(p *harness.Process, text string, times int) {
	s.t.Helper()
	err := harness.Eventually(10*time.Second, func() error {
		log, err := os.ReadFile(p.Log)
		if n := strings.Count(string(log), text); err == nil && n < times {
			err = fmt.Errorf("%q stands %d times in the log of %s, want %d", text, n, p.Name, times)
		}
		return err
	})
	if err != nil {
		s.t.Fatalf("%v\n%s", err, p.Tail(40))
	}
}

// answer starts SIPp as callee.
func (s *site) answer(name, at string) {
	host, port, _ := net.SplitHostPort(at)
	scenario, _ := filepath.Abs("testdata/callee.xml")
	s.start(harness.Spec{Name: name, Path: "sipp", Args: []string{
		"-sf", scenario, "-i", host, "-p", port, "-mi", host, "-nostdin", "-trace_err", "-error_file", filepath.Join(s.dir, name+".err"),
	}})
}

// call lets SIPp make calls; each must be answered and ended.
func (s *site) call(name, from, to, user string, calls int) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(from)
	scenario, _ := filepath.Abs("testdata/caller.xml")
	cmd := exec.Command("sipp", to, "-sf", scenario, "-s", user, "-i", host, "-p", port, "-mi", host, "-m", strconv.Itoa(calls), "-r", "10",
		"-d", "100", "-timeout", "20", "-timeout_error", "-nostdin", "-trace_err", "-error_file", filepath.Join(s.dir, name+".err"))
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		faults, _ := os.ReadFile(filepath.Join(s.dir, name+".err"))
		s.t.Fatalf("%s: %v\n%.3000s\n%.1500s\nproxy:\n%s\ncarrier:\n%s", name, err, faults, out, s.proxyProcess.Tail(40), s.carrierProcess.Tail(30))
	}
}

func TestCarrier(t *testing.T) {
	for i, algorithm := range []string{"MD5", "SHA-256"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 161+i, algorithm)
			program, err := harness.Build(filepath.Join("..", "out", "trunk"), "proxy")
			if err != nil {
				t.Fatal(err)
			}
			s.carrierProcess = s.start(harness.Spec{Name: "carrier", Path: "kamailio", Args: []string{
				"-DD", "-E", "-m", "32", "-M", "8", "-Y", s.dir, "-f", filepath.Join(s.dir, "carrier.cfg"),
			}})
			s.proxyProcess = s.start(harness.Spec{Name: "proxy", Path: program, Args: []string{"-config", "proxy.yaml"}})
			s.logged(s.proxyProcess, "registered at trunk", 1) // after 423 for a life too short
			s.answer("phone", s.phone)

			// Out: the first target is dead; the second one asks once and is proved to ever after, at BYE too.
			s.call("out", s.pbx, s.proxy, "0123", 5)
			s.logged(s.carrierProcess, "proved INVITE", 5)
			s.logged(s.carrierProcess, "proved BYE", 5)
			time.Sleep(2500 * time.Millisecond) // by now the nonce is stale
			s.call("stale", s.pbx, s.proxy, "0123", 2)
			s.logged(s.carrierProcess, "proved INVITE", 7)
			log, err := os.ReadFile(s.carrierProcess.Log)
			if n := strings.Count(string(log), "challenge INVITE"); err != nil || n < 1 || n > 5 {
				t.Errorf("%d challenges for 7 calls (%v): nonces are not used again", n, err)
			}

			// In: the carrier calls what was registered. SIPp's own callee takes the exchange's place.
			s.answer("exchange", s.pbx)
			host, _, _ := net.SplitHostPort(s.carrier)
			port, err := harness.FreePort(host)
			if err != nil {
				t.Fatal(err)
			}
			s.call("in", net.JoinHostPort(host, strconv.Itoa(port)), s.carrier, "acc", 3)
		})
	}
}
