//go:build integration

package soak

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/integration/traffic"
)

const (
	ngAddress   = "127.0.0.1:2223"
	httpAddress = "127.0.0.1:2225"
	short       = 5 * time.Second // for each engine, when all exams run; SOAK_TIME makes it longer
	storms      = 4
	perStorm    = 25 // calls at a time
	steady      = 50 // calls that stay
	steadyRate  = 2000
	settling    = 2 * time.Second

	// slack is what the runtime itself may hold more or less.
	slackGoroutines = 4
	slackMemory     = 16 << 20
)

// engines are forced one after the other.
func engines() []string { return []string{"sockets", "steer", "kernel"} }

func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK_TIME")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStormsLeaveNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	length := duration(t)
	folder := t.TempDir()
	program, err := harness.Build(folder, "mediad")
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			p := place{t: t, dir: filepath.Join(folder, engine)}
			p.start(program, engine)
			p.soak(length)
		})
	}
}

// place is one daemon in a namespace of its own.
type place struct {
	t         *testing.T
	dir       string
	namespace *harness.Namespace
	daemon    *harness.Process
}

func (p *place) start(program, engine string) {
	p.t.Helper()
	n, err := harness.NewNamespace(fmt.Sprintf("Bsoak%d-%s", os.Getpid(), engine))
	if err != nil {
		p.t.Fatal(err)
	}
	p.namespace = n
	p.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			p.t.Error(err)
		}
	})
	args := []string{
		"--config-file=none", "-f", "-E", "-L", "4", "--engine=" + engine, "--interface=a/127.0.0.1", "--interface=b/127.0.0.2",
		"--listen-ng=" + ngAddress, "--listen-http=" + httpAddress, "--port-min=20000", "--port-max=22999", "--delete-delay=0",
	}
	if p.daemon, err = n.Start(harness.Spec{Name: engine, Path: program, Args: args, Dir: p.dir}); err != nil {
		p.t.Fatal(err)
	}
	err = p.daemon.Ready(func() error { return n.Do(p.calm) })
	if err != nil && engine != "sockets" && os.Getenv("CI") == "" {
		p.t.Skip(err) // an engine that this machine does not bear
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := p.daemon.Stop(); err != nil {
			p.t.Error(err)
		}
	})
}

// calm is an error while the daemon has calls.
func (p *place) calm() error {
	c, err := traffic.Dial(ngAddress)
	if err != nil {
		return err
	}
	defer c.Close()
	n, err := c.Calls(100000)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d calls are left", n)
	}
	return err
}

func (p *place) parties() traffic.Parties {
	return traffic.Parties{
		Kind: traffic.RTP, Interfaces: [2]string{"a", "b"},
		Address: [2]netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4")},
	}
}

// soak warms the daemon up, looks, lets it storm, and looks again.
func (p *place) soak(length time.Duration) {
	p.t.Helper()
	warm := p.storm(length/4, 1)
	time.Sleep(settling)
	before := p.look()
	var counts traffic.Counts
	load := p.talk(length, func() { counts = p.storm(length, 2) })
	time.Sleep(settling)
	after := p.look()
	p.t.Logf("before %+v, storm %+v; steady calls: %d packets, %.4f %% lost", warm, counts, load.Sent, 100*load.Loss())
	p.t.Logf("before: %s", before)
	p.t.Logf("after:  %s", after)
	if load.Loss() > 0 || load.Corrupt > 0 || load.Duplicates > 0 {
		p.t.Errorf("calls beside the storm: %+v", load.Tally)
	}
	if counts.Talks == 0 || counts.Moves == 0 || counts.Blocks == 0 {
		p.t.Errorf("the storm has done too little: %+v", counts)
	}
	before.compare(p.t, after)
	if err := p.namespace.Do(p.calm); err != nil {
		p.t.Error(err)
	}
	if ports, err := harness.UDPPorts(p.daemon.PID(), 20000, 22999); err != nil || len(ports) > 0 {
		p.t.Errorf("ports still open: %v, %v", ports, err)
	}
}

// talk lets steady calls talk while f runs.
func (p *place) talk(length time.Duration, f func()) *traffic.Result {
	p.t.Helper()
	inside := func(_ int, f func() error) error { return p.namespace.Do(f) }
	load, err := traffic.Open(traffic.Config{Parties: p.parties(), Dial: p.dial, Calls: steady, Share: 5, Place: inside})
	if err != nil {
		p.t.Fatal(err)
	}
	defer load.Close()
	var result *traffic.Result
	var wg sync.WaitGroup
	wg.Go(func() { result, err = load.Run(steadyRate, 0, length, traffic.NewMeter(p.daemon.PID())) })
	f()
	wg.Wait()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := load.Hangup(); err != nil {
		p.t.Error(err)
	}
	return result
}

// dial makes a control inside the namespace.
func (p *place) dial() (c *traffic.Control, err error) {
	err = p.namespace.Do(func() (err error) { c, err = traffic.Dial(ngAddress); return err })
	return c, err
}

// storm lets storms blow for a while.
func (p *place) storm(length time.Duration, seed uint64) traffic.Counts {
	p.t.Helper()
	var all []*traffic.Storm
	for i := range storms {
		var s *traffic.Storm
		if err := p.namespace.Do(func() (err error) {
			s, err = traffic.NewStorm(p.parties(), traffic.To(ngAddress), perStorm, seed*100+uint64(i))
			return err
		}); err != nil {
			p.t.Fatal(err)
		}
		defer s.Close()
		all = append(all, s)
	}
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	for _, s := range all {
		wg.Go(func() {
			for time.Now().Before(end) && !p.t.Failed() {
				if err := s.Blow(); err != nil {
					p.t.Error(err)
				}
			}
			if err := s.Calm(); err != nil {
				p.t.Error(err)
			}
		})
	}
	wg.Wait()
	var sum traffic.Counts
	for _, s := range all {
		sum.Add(s.Counts)
	}
	return sum
}

// holdings is what a daemon holds.
type holdings struct {
	resident                int64 // bytes
	files, goroutines, keys int   // keys: entries of BPF hash maps
}

func (h holdings) String() string {
	return fmt.Sprintf("%.1f MiB, %d descriptors, %d goroutines, %d entries of maps", float64(h.resident)/(1<<20), h.files, h.goroutines, h.keys)
}

func (h holdings) compare(t *testing.T, after holdings) {
	t.Helper()
	if after.resident > h.resident+h.resident/10+slackMemory || after.files > h.files || after.goroutines > h.goroutines+slackGoroutines || after.keys > h.keys {
		t.Errorf("something is left: before %s, after %s", h, after)
	}
}

func (p *place) look() holdings {
	p.t.Helper()
	var h holdings
	var err error
	if h.resident, h.files, err = traffic.Memory(p.daemon.PID()); err != nil {
		p.t.Fatal(err)
	}
	if h.keys, err = mapEntries(p.daemon.PID()); err != nil {
		p.t.Fatal(err)
	}
	if err := p.namespace.Do(func() (err error) { h.goroutines, err = goroutines(); return err }); err != nil {
		p.t.Fatal(err)
	}
	return h
}

// goroutines asks the daemon's metrics. It must run in one thread, that of the namespace: so it dials itself.
func goroutines() (int, error) {
	conn, err := net.Dial("tcp", httpAddress)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "go_goroutines "); found {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("no go_goroutines in %.300s", text)
}
