//go:build integration

// Package load is the exam of many calls: SIPp on both sides of proxy and
// mediad, with RTP, and afterwards nothing may be left of any call.
package load

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	calls     = 1000
	perSecond = 50
	warmUp    = 1000 // calls before the first look at memory: the heap then has its working size

	// linger is how long RFC 3261's timers may hold a transaction after its
	// end: 64*T1 is 32 s.
	linger = 36 * time.Second
	// slack is what the Go runtime itself may start or stop between two looks.
	slackGoroutines = 5
	slackMemory     = 12 << 10 // KiB of resident memory; a call that is kept costs more than 12 KiB
)

const proxyConfig = `listeners:
  - {name: phones, transport: udp, address: "%[1]s:15060"}
domains: [example.test]
trunks:
  - {name: generator, sources: ["%[2]s/32"]}
routes:
  - {name: out, from: [generator], domain: "*", to: "sip:%[3]s:15060"}
media:
  nodes: ["udp:%[1]s:2223"]
storage: {path: ":memory:"}
`

// A site is the three loopback hosts of the exam.
type site struct {
	host, caller, callee string
	dir                  string
	media, proxy         *harness.Process
	atStart              []int // ports of mediad in its media range that are not for media
	callees              *harness.Process
}

func TestThousandCallsLeaveNothing(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("..", "out", "load"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	net := 40 + os.Getpid()%200
	s := &site{dir: dir, host: fmt.Sprintf("127.%d.9.1", net), caller: fmt.Sprintf("127.%d.9.2", net), callee: fmt.Sprintf("127.%d.9.3", net)}
	s.start(t)

	s.drive(t, "warm", warmUp)
	time.Sleep(linger)
	before := s.look(t)
	s.drive(t, "load", calls)
	time.Sleep(linger)
	after := s.look(t)

	for name, was := range before {
		is := after[name]
		t.Logf("%s: %d sockets, %d kB resident before; %d sockets, %d kB after", name, was.files, was.memory, is.files, is.memory)
		if is.files > was.files {
			t.Errorf("%s holds %d file descriptors, before the load %d", name, is.files, was.files)
		}
		if is.memory > was.memory+slackMemory {
			t.Errorf("%s has %d kB resident, before the load %d", name, is.memory, was.memory)
		}
	}
	if ports, err := harness.MediaSockets(s.media.PID(), 30000, 39999, s.atStart); err != nil || len(ports) > 0 {
		t.Errorf("mediad still holds the ports %v (%v)", ports, err)
	}
	ng := harness.NG{Address: s.host + ":2223"}
	if used, err := ng.PortsInUse(); err != nil || used > 0 {
		t.Errorf("mediad still uses %d ports (%v)", used, err)
	}
	if left, err := ng.Calls(); err != nil || len(left) > 0 {
		t.Errorf("mediad still has the calls %v (%v)", left, err)
	}
	s.packets(t, ng)
	s.goroutines(t)
}

func (s *site) start(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	programs := make(map[string]string)
	for _, half := range []string{"proxy", "mediad"} {
		program, err := harness.Build(bin, half)
		if err != nil {
			t.Fatal(err)
		}
		programs[half] = program
	}
	config := filepath.Join(s.dir, "proxy.yaml")
	tone := make([]byte, 8000*10)
	for i := range tone {
		tone[i] = aLaw(int(8000 * math.Sin(2*math.Pi*1000*float64(i)/8000)))
	}
	files := map[string][]byte{
		config:                            fmt.Appendf(nil, proxyConfig, s.host, s.caller, s.callee),
		filepath.Join(s.dir, "tone.pcma"): tone,
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.media = s.run(t, "mediad", programs["mediad"], "--config-file=none", "--foreground", "--log-stderr",
		"--log-level=5", "--interface="+s.host, "--listen-ng="+s.host+":2223", "--port-min=30000", "--port-max=39999", "--delete-delay=0")
	if err := s.media.Ready(harness.NG{Address: s.host + ":2223"}.Ping); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.atStart, err = harness.UDPPorts(s.media.PID(), 30000, 39999); err != nil {
		t.Fatal(err)
	}
	s.proxy = s.run(t, "proxy", programs["proxy"], "-config", config)
	s.callees = s.run(t, "callees", "sipp", "-sf", scenario(t, "uas.xml"), "-i", s.callee, "-p", "15060",
		"-mi", s.callee, "-mp", "20000", "-rtp_echo", "-nostdin",
		"-trace_err", "-error_file", filepath.Join(s.dir, "callees-errors.log"))
	if err := s.proxy.Ready(func() error { return s.bound(s.proxy.PID(), 15060) }); err != nil {
		t.Fatal(err)
	}
	if err := s.callees.Ready(func() error { return s.bound(s.callees.PID(), 20000) }); err != nil {
		t.Fatal(err)
	}
}

func (s *site) bound(pid, port int) error {
	ports, err := harness.UDPPorts(pid, port, port)
	if err == nil && len(ports) == 0 {
		err = fmt.Errorf("port %d is not open", port)
	}
	return err
}

func (s *site) run(t *testing.T, name, path string, args ...string) *harness.Process {
	t.Helper()
	p, err := harness.Start(harness.Spec{Name: name, Path: path, Dir: s.dir, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.Running() {
			_ = p.Stop()
		}
	})
	return p
}

func scenario(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("scenarios", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// drive makes n calls; SIPp's exit code tells whether one of them failed.
func (s *site) drive(t *testing.T, name string, n int) {
	t.Helper()
	cmd := exec.Command("sipp", "-sf", scenario(t, "uac.xml"), "-i", s.caller, "-p", "15060", "-mi", s.caller, "-mp", "20000",
		"-s", "callee", "-d", "3000", "-r", strconv.Itoa(perSecond), "-m", strconv.Itoa(n), "-nostdin", "-timeout", "120s", "-timeout_error",
		"-trace_err", "-error_file", filepath.Join(s.dir, name+"-errors.log"), s.host+":15060")
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err := os.WriteFile(filepath.Join(s.dir, name+"-screen.log"), out, 0o600); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		errors, _ := os.ReadFile(filepath.Join(s.dir, name+"-errors.log"))
		t.Fatalf("sipp %s: %v\n%.3000s", name, err, errors)
	}
}

// cost is what one process holds.
type cost struct{ files, memory int }

func (s *site) look(t *testing.T) map[string]cost {
	t.Helper()
	costs := map[string]cost{}
	for name, p := range map[string]*harness.Process{"proxy": s.proxy, "mediad": s.media} {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		costs[name] = cost{files: len(fds), memory: kb}
	}
	return costs
}

// packets asks mediad whether the calls carried media: each sent 150 packets
// in its three seconds, which the callee sent back.
func (s *site) packets(t *testing.T, ng harness.NG) {
	t.Helper()
	reply, err := ng.Ask(map[string]any{"command": "statistics"})
	if err != nil {
		t.Fatal(err)
	}
	stats, _ := reply["statistics"].(map[string]any)
	totals, _ := stats["totalstatistics"].(map[string]any)
	relayed, err := strconv.Atoi(fmt.Sprint(totals["relayedpackets"]))
	if err != nil {
		t.Fatalf("relayedpackets: %v in %v", err, totals)
	}
	const each = 2 * 140
	if want := (calls + warmUp) * each; relayed < want {
		t.Errorf("mediad relayed %d packets, want at least %d", relayed, want)
	}
	t.Logf("relayed %d packets, errors %v", relayed, totals["relayedpacketerrors"])
}

// goroutines compares the stacks that SIGQUIT prints with those of fresh
// processes: the Go runtime tells every goroutine there is.
func (s *site) goroutines(t *testing.T) {
	t.Helper()
	used := map[string]int{"mediad": stacks(t, s.media), "proxy": stacks(t, s.proxy)}
	fresh := &site{dir: filepath.Join(s.dir, "fresh"), host: s.host, caller: s.caller, callee: s.callee}
	_ = s.callees.Stop()
	fresh.start(t)
	for name, p := range map[string]*harness.Process{"mediad": fresh.media, "proxy": fresh.proxy} {
		time.Sleep(time.Second)
		want := stacks(t, p)
		t.Logf("%s: %d goroutines after the load, %d in a fresh process", name, used[name], want)
		if used[name] > want+slackGoroutines {
			t.Errorf("%s kept goroutines: %d, a fresh process has %d (stacks in %s)", name, used[name], want, s.dir)
		}
	}
}

func stacks(t *testing.T, p *harness.Process) int {
	t.Helper()
	if err := syscall.Kill(p.PID(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if err := harness.Eventually(10*time.Second, func() error {
		if p.Running() {
			return fmt.Errorf("%s still runs", p.Name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	_, dump, _ := strings.Cut(string(log), "SIGQUIT: quit")
	n := strings.Count(dump, "\ngoroutine ")
	if n == 0 {
		t.Fatalf("%s printed no stacks", p.Name)
	}
	return n
}

// aLaw is G.711 A-law of one 16-bit sample.
func aLaw(s int) byte {
	sign := byte(0x80)
	if s < 0 {
		s, sign = -s-1, 0
	}
	s >>= 4
	exp := 0
	for v := s >> 5; v > 0; v >>= 1 {
		exp++
	}
	if exp > 0 {
		mant := s >> exp & 0x0f
		exp = min(exp, 7)
		return (sign | byte(exp)<<4 | byte(mant)) ^ 0x55
	}
	return (sign | byte(s>>1)&0x0f | byte(s>>5)<<4) ^ 0x55
}
