//go:build integration

// Package kamailio is the exam of the promise to an operator of Kamailio: its
// configuration stays, rtpengine is replaced by mediad, and all goes on. It runs
// in a network namespace of its own, since Debian's configuration names
// 127.0.0.1:2223 and private addresses are what it takes for NAT.
package kamailio

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

// Hosts of the namespace.
const (
	proxyHost  = "10.9.0.1" // Kamailio and the media ports
	callerHost = "10.9.0.2"
	calleeHost = "10.9.0.3"
	thirdHost  = "10.9.0.4"
	proxySIP   = proxyHost + ":5060"
)

func TestMain(m *testing.M) {
	code, err := conformance.Isolate()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if code >= 0 {
		os.Exit(code)
	}
	for _, host := range []string{proxyHost, callerHost, calleeHost, thirdHost} {
		if out, err := exec.Command("ip", "addr", "add", host+"/32", "dev", "lo").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip addr add %s: %v: %s\n", host, err, out)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// A site is the folder and the programs of one exam.
type site struct {
	dir      string
	programs map[string]string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), programs: map[string]string{}}
	for _, source := range []string{"mediad", "deploy/demo-phone"} {
		binary, err := harness.Build(s.dir, source)
		if err != nil {
			t.Fatal(err)
		}
		s.programs[filepath.Base(source)] = binary
	}
	return s
}

func (s *site) run(t *testing.T, name, path string, args ...string) *harness.Process {
	t.Helper()
	p, err := harness.Start(harness.Spec{Name: name, Path: path, Dir: s.dir, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.Tail(4000))
		}
		if p.Running() {
			// At times one of Kamailio's many processes is slow to end; that is not this exam's matter.
			if err := p.Stop(); err != nil && !(name == "kamailio" && errors.Is(err, harness.ErrSlow)) {
				t.Error(err)
			}
		}
	})
	return p
}

// media starts mediad with the options that a script of rtpengine's has.
func (s *site) media(t *testing.T, name string, port int, options ...string) *node {
	t.Helper()
	n := &node{NG: harness.NG{Address: fmt.Sprintf("127.0.0.1:%d", port)}, low: 30000 + 1000*(port%10)}
	n.Process = s.run(t, name, s.programs["mediad"], append([]string{
		"--config-file=none", "-t", "-1", "-i", proxyHost, "-n", n.Address, "-f", "-E", "-L", "6",
		"-m", strconv.Itoa(n.low), "-M", strconv.Itoa(n.low + 999),
	}, options...)...)
	if err := n.Ready(n.Ping); err != nil {
		t.Fatal(err)
	}
	var err error
	if n.atStart, err = harness.UDPPorts(n.PID(), n.low, n.low+999); err != nil {
		t.Fatal(err)
	}
	return n
}

// A node is one media daemon.
type node struct {
	*harness.Process
	harness.NG
	low     int
	atStart []int // ports in the range that are not for media
}

// managed is how many calls the node has had since its start.
func (n *node) managed(t *testing.T) int {
	t.Helper()
	return n.total(t, "managedsessions")
}

func (n *node) total(t *testing.T, key string) int {
	t.Helper()
	reply, err := n.Ask(map[string]any{"command": "statistics"})
	if err != nil {
		t.Fatal(err)
	}
	statistics, _ := reply["statistics"].(map[string]any)
	totals, _ := statistics["totalstatistics"].(map[string]any)
	value, err := strconv.Atoi(fmt.Sprint(totals[key]))
	if err != nil {
		t.Fatalf("%s in %v: %v", key, totals, err)
	}
	return value
}

// idle waits until the node has neither call nor port.
func (n *node) idle(t *testing.T, within time.Duration) {
	t.Helper()
	if err := harness.Eventually(within, func() error {
		calls, err := n.Calls()
		if err != nil {
			return err
		}
		sockets, err := harness.MediaSockets(n.PID(), n.low, n.low+999, n.atStart)
		if err != nil {
			return err
		}
		ports, err := n.PortsInUse()
		ports += len(sockets)
		if err == nil && len(calls)+ports > 0 {
			err = fmt.Errorf("%s still has calls %v and ports %v", n.Name, calls, ports)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// kamailio runs Debian's Kamailio with a configuration and definitions.
func (s *site) kamailio(t *testing.T, config string, definitions ...string) *harness.Process {
	t.Helper()
	args := []string{"-f", config, "-l", "udp:" + proxySIP, "--alias=" + harness.Domain, "-DD", "-E", "-m", "64", "-M", "8", "-Y", s.dir}
	for _, d := range definitions {
		args = append(args, "-A", d)
	}
	p := s.run(t, "kamailio", "kamailio", args...)
	if err := p.Ready(func() error {
		if _, err := os.Stat("/proc/" + strconv.Itoa(p.PID())); err != nil {
			return err
		}
		return s.answers(p)
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

var errSilent = errors.New("no answer")

// phone starts a phone with the given accounts, registered with Kamailio.
func (s *site) phone(t *testing.T, name, host string, accounts map[string]string) *harness.Phone {
	t.Helper()
	p, err := harness.StartAccounts(s.programs["demo-phone"], name, host, proxySIP, s.dir, accounts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.Tail(2000))
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// talks waits until both phones hear the other's tone without loss.
func talks(t *testing.T, phones ...*harness.Phone) {
	t.Helper()
	for _, p := range phones {
		if err := harness.Eventually(5*time.Second, func() error {
			call, err := p.Last()
			if err != nil {
				return err
			}
			if f := call.RTP.FrequencyHz; call.State != "established" || f < 420 || f > 460 || call.RTP.Lost > 0 {
				return fmt.Errorf("%s: %s, hears %v Hz, %+v", p.Name, call.State, f, call.RTP)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
