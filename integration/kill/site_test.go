//go:build integration

package kill

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// site is three loopback hosts: the proxy, its callers and its callees.
type site struct {
	t                    *testing.T
	host, caller, callee string
	dir, program         string
	proxy                *harness.Process
	running              []*harness.Process
	runs                 int
	wrap                 []string // runs the proxy: a command that executes what follows
}

func newSite(t *testing.T, name string, net int) *site {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "out", "kill", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := harness.Build(t.TempDir(), "proxy")
	if err != nil {
		t.Fatal(err)
	}
	second := os.Getpid() % 250
	s := &site{
		t: t, dir: dir, program: program,
		host: fmt.Sprintf("127.%d.%d.1", net, second), caller: fmt.Sprintf("127.%d.%d.2", net, second), callee: fmt.Sprintf("127.%d.%d.3", net, second),
	}
	t.Cleanup(s.close)
	return s
}

// close ends what still runs.
func (s *site) close() {
	for _, p := range s.running {
		if p.Running() {
			_ = p.Kill()
		}
	}
	s.running = nil
}

func (s *site) configure(more string) {
	s.t.Helper()
	text := fmt.Sprintf("listeners:\n  - {name: phones, transport: udp, address: \"%s:15060\"}\ndomains: [example.test]\nlog: {format: json}\n%s", s.host, more)
	if err := os.WriteFile(filepath.Join(s.dir, "proxy.yaml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// startProxy starts it, with a log of its own for each run.
func (s *site) startProxy() {
	s.t.Helper()
	s.runs++
	command := append(append([]string{}, s.wrap...), s.program, "-config", filepath.Join(s.dir, "proxy.yaml"))
	p, err := harness.Start(harness.Spec{Name: fmt.Sprintf("proxy-%d", s.runs), Path: command[0], Args: command[1:], Dir: s.dir})
	if err != nil {
		s.t.Fatal(err)
	}
	s.running = append(s.running, p)
	s.proxy = p
	if err := p.Ready(func() error {
		if s.logged(`"proxy ready"`) == 0 {
			return fmt.Errorf("proxy is not ready")
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

// sipp starts a side with a scenario and waits for its socket.
func (s *site) sipp(name, scenario, host string, port int, args ...string) *harness.Process {
	s.t.Helper()
	path, err := filepath.Abs(filepath.Join("scenarios", scenario+".xml"))
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := harness.Start(harness.Spec{Name: name, Path: "sipp", Dir: s.dir, Args: append([]string{
		"-sf", path, "-i", host, "-mi", host, "-p", fmt.Sprint(port), "-nostdin",
		"-trace_err", "-error_file", filepath.Join(s.dir, name+"-errors.log"),
	}, args...)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.running = append(s.running, p)
	if err := p.Ready(func() error {
		ports, err := harness.UDPPorts(p.PID(), port, port)
		if err == nil && len(ports) == 0 {
			err = fmt.Errorf("port %d is not open", port)
		}
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// logged counts the entries of the proxy's present run that match.
func (s *site) logged(pattern string) int {
	s.t.Helper()
	text, err := os.ReadFile(s.proxy.Log)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(regexp.MustCompile(pattern).FindAll(text, -1))
}

func (s *site) until(check func() error) {
	s.t.Helper()
	if err := harness.Eventually(20*time.Second, check); err != nil {
		s.t.Fatal(err)
	}
}

// errors is what SIPp wrote of failed calls.
func (s *site) errors(name string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, name+"-errors.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[:min(len(text), 3000)])
}
