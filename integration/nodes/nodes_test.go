//go:build integration

package nodes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// backIn is how soon after the loss of a node was seen all its calls must have media again.
const backIn = 3 * time.Second

const proxyConfig = `listeners:
  - {name: phones, transport: udp, address: "%[1]s:15060"}
  - {name: browsers, transport: wss, address: "%[1]s:18443", path: /ws, origins: ["*"]}
domains: [tandem.test]
users:
  - {name: page, password: exam-password}
trunks:
  - {name: caller, sources: ["%[2]s/32"]%[4]s}
  - {name: callee, sources: ["%[3]s/32"]}
routes:
  - {name: page, from: [caller], domain: tandem.test, to: registered}
  - {name: out, from: [caller, users], domain: "*", to: "sip:%[3]s:15060"}
media:
  nodes: ["udp:%[1]s:2001", "udp:%[1]s:2002"]
  events: "%[1]s:2003"
storage: {path: ":memory:"}
tls: {local_ca: "ca"}
log: {level: debug, format: json}
%[5]s`

// site is a proxy, two media daemons and two phones.
type site struct {
	t              *testing.T
	host, dir      string
	programs       map[string]string
	daemons        [2]string // programs of the media daemons
	media          [2]*harness.Process
	up             [2]time.Time // since when they run
	proxy          *harness.Process
	caller, callee *phone
}

// newSite starts one. With profiles, the caller has the one that is called old.
func newSite(t *testing.T, name string, number int, daemons [2]string, profiles string) *site {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "out", "nodes", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	net := 40 + (os.Getpid()+number)%200
	s := &site{t: t, dir: dir, host: fmt.Sprintf("127.%d.14.1", net), programs: programs(t), daemons: daemons}
	callerHost, calleeHost := fmt.Sprintf("127.%d.14.2", net), fmt.Sprintf("127.%d.14.3", net)
	for i := range s.media {
		s.startMedia(i)
	}
	profile := ""
	if profiles != "" {
		profile = ", profile: old"
	}
	config := filepath.Join(dir, "proxy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, proxyConfig, s.host, callerHost, calleeHost, profile, profiles), 0o600); err != nil {
		t.Fatal(err)
	}
	s.proxy = s.run("proxy", s.programs["proxy"], "-config", config)
	if err := s.proxy.Ready(func() error {
		ports, err := harness.UDPPorts(s.proxy.PID(), 15060, 15060)
		if err == nil && len(ports) == 0 {
			err = fmt.Errorf("port 15060 is not open")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.caller, s.callee = newPhone(t, callerHost+":15060", s.host+":15060"), newPhone(t, calleeHost+":15060", s.host+":15060")
	return s
}

var built = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "nodes")
	if err != nil {
		return nil, err
	}
	out := map[string]string{"rtpengine": "rtpengine"}
	for name, pkg := range map[string]string{"proxy": "proxy", "mediad": "mediad", "webrtcpeer": "integration/webrtcpeer"} {
		if out[name], err = harness.Build(dir, pkg); err != nil {
			return nil, err
		}
	}
	return out, nil
})

func programs(t *testing.T) map[string]string {
	t.Helper()
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMain(m *testing.M) {
	code := m.Run()
	if p, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(p["proxy"]))
	}
	os.Exit(code)
}

func (s *site) run(name, path string, args ...string) *harness.Process {
	s.t.Helper()
	p, err := harness.Start(harness.Spec{Name: name, Path: path, Dir: s.dir, Args: args})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if p.Running() {
			_ = p.Stop()
		}
	})
	return p
}

func (s *site) ng(i int) harness.NG { return harness.NG{Address: fmt.Sprintf("%s:%d", s.host, 2001+i)} }

func (s *site) startMedia(i int) {
	s.t.Helper()
	low := 20000 + 10000*i
	s.media[i] = s.run(fmt.Sprintf("media%d", i+1), s.programs[s.daemons[i]], "--config-file=none", "--table=-1", "--foreground", "--log-stderr",
		"--log-level=6", "--interface="+s.host, "--listen-ng="+s.ng(i).Address, fmt.Sprintf("--port-min=%d", low), fmt.Sprintf("--port-max=%d", low+9999), "--delete-delay=0", "--dtmf-log-dest="+s.host+":2003")
	if err := s.media[i].Ready(s.ng(i).Ping); err != nil {
		s.t.Fatal(err)
	}
	s.up[i] = time.Now()
}

// kill ends a media daemon as a power cut does.
func (s *site) kill(i int) {
	s.t.Helper()
	if err := syscall.Kill(s.media[i].PID(), syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}

// dial makes n calls between the phones.
func (s *site) dial(n int) {
	s.t.Helper()
	for range n {
		if _, err := s.caller.call(fmt.Sprintf("sip:line@%s", s.callee.conn.LocalAddr())); err != nil {
			s.t.Fatal(err)
		}
	}
}

// spread checks that both daemons have calls.
func (s *site) spread() (counts [2]int) {
	s.t.Helper()
	for i := range s.media {
		calls, err := s.ng(i).Calls()
		if err != nil {
			s.t.Fatal(err)
		}
		counts[i] = len(calls)
	}
	return counts
}

// heard waits until all lines hear the other side, and have since then.
func (s *site) heard(since time.Time, limit time.Duration) error {
	return harness.Eventually(limit, func() error {
		for name, p := range map[string]*phone{"caller": s.caller, "callee": s.callee} {
			if quiet := p.silent(since); len(quiet) > 0 {
				return fmt.Errorf("the %s hears nothing on %d of %d lines: %.3v", name, len(quiet), len(p.live()), quiet)
			}
		}
		return nil
	})
}

// lostAt waits until the proxy has told n times that it lost a node, and returns when that was.
func (s *site) lostAt(n int) (at time.Time) {
	s.t.Helper()
	if err := harness.Eventually(10*time.Second, func() error {
		text, err := os.ReadFile(s.proxy.Log)
		if err != nil {
			return err
		}
		seen := 0
		for line := range bytes.Lines(text) {
			if bytes.Contains(line, []byte("media node lost")) {
				if seen++; seen == n {
					at = stamp(line)
					return nil
				}
			}
		}
		return fmt.Errorf("the proxy has lost %d nodes, want %d", seen, n)
	}); err != nil {
		s.t.Fatal(err)
	}
	return at
}

// stamp is the time of a line of the proxy's log.
func stamp(line []byte) time.Time {
	var entry map[string]any
	if json.Unmarshal(line, &entry) == nil {
		for _, key := range []string{"time", "ts"} {
			switch v := entry[key].(type) {
			case string:
				for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700"} {
					if t, err := time.Parse(layout, v); err == nil {
						return t
					}
				}
			case float64:
				return time.Unix(0, int64(v*1e9))
			}
		}
	}
	return time.Now()
}

// end ends all calls, half of them from each side, and looks whether something is left.
func (s *site) end() {
	s.t.Helper()
	for i, l := range s.caller.live() {
		if i%2 == 1 {
			s.callee.mu.Lock()
			other := s.callee.lines[l.callID]
			s.callee.mu.Unlock()
			if other == nil { // a browser's
				continue
			}
			l = other
		}
		if err := l.bye(); err != nil {
			s.t.Error(err)
		}
	}
	for _, p := range []*phone{s.caller, s.callee} {
		if err := harness.Eventually(5*time.Second, func() error {
			if left := len(p.live()); left > 0 {
				return fmt.Errorf("%d lines are not over", left)
			}
			return nil
		}); err != nil {
			s.t.Error(err)
		}
		p.mu.Lock()
		for _, f := range p.faults {
			s.t.Error(f)
		}
		p.mu.Unlock()
	}
	for i := range s.media {
		if err := harness.Eventually(5*time.Second, func() error {
			calls, err := s.ng(i).Calls()
			if err == nil && len(calls) > 0 {
				err = fmt.Errorf("daemon %d still has %d calls", i+1, len(calls))
			}
			return err
		}); err != nil {
			s.t.Error(err)
		}
	}
}

// number is a setting of the long run.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestNodeKilledUnderLoad kills one of two daemons, again and again. NODES_ROUNDS and NODES_CALLS make it longer.
func TestNodeKilledUnderLoad(t *testing.T) {
	for i, c := range []struct {
		name    string
		daemons [2]string
	}{
		{"mediad", [2]string{"mediad", "mediad"}},
		{"mediad and rtpengine", [2]string{"mediad", "rtpengine"}},
		{"rtpengine", [2]string{"rtpengine", "rtpengine"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.name, i, c.daemons, "")
			s.dial(number("NODES_CALLS", 30))
			if err := s.heard(time.Now(), 5*time.Second); err != nil {
				t.Fatal(err)
			}
			if n := s.spread(); n[0] == 0 || n[1] == 0 {
				t.Fatalf("calls on the daemons: %v", n)
			}
			var worst, glare time.Duration
			for round := range number("NODES_ROUNDS", 2) {
				if took := s.round(round); inGlare(round) {
					glare = max(glare, took)
				} else {
					worst = max(worst, took)
				}
			}
			t.Logf("all calls had media again %s after a node was seen lost, at worst; %s with 491", worst, glare)
			s.end()
		})
	}
}

// inGlare says in which rounds some lines of the callee are just offering by themselves.
func inGlare(round int) bool { return round%3 == 2 }

// round kills a daemon, waits for the media, and starts it again.
func (s *site) round(round int) time.Duration {
	s.t.Helper()
	victim := round % 2
	if inGlare(round) {
		s.callee.glare.Store(3)
	}
	quick := round%4 == 1 // it is back before anybody looks, and knows nothing
	if quick {            // daemons tell their age in whole seconds
		time.Sleep(time.Until(s.up[victim].Add(5 * time.Second)))
	}
	s.kill(victim)
	if quick {
		s.startMedia(victim)
	}
	lost := s.lostAt(round + 1)
	limit := backIn
	if inGlare(round) {
		limit += 5 * time.Second // the proxy has to wait behind a 491 (RFC 3261 §14.1)
	}
	if err := s.heard(lost, time.Until(lost.Add(limit))); err != nil {
		s.t.Fatalf("round %d, %s after the loss of daemon %d was seen: %v", round, time.Since(lost), victim+1, err)
	}
	back := time.Since(lost)
	// One that is back at once may have got them again.
	if n, err := s.ng(1 - victim).Calls(); err != nil || len(n) == 0 && !quick {
		s.t.Fatalf("round %d: the other daemon has %d calls, %v", round, len(n), err)
	}
	// A side's own offer, and new calls, go on as ever.
	lines := s.caller.live()
	if err := lines[round%len(lines)].refresh(); err != nil {
		s.t.Error(err)
	}
	if !quick {
		s.startMedia(victim)
	}
	s.dial(3)
	for _, l := range s.caller.live()[:3] {
		if err := l.bye(); err != nil {
			s.t.Error(err)
		}
	}
	if err := s.heard(time.Now(), 5*time.Second); err != nil {
		s.t.Fatalf("round %d, afterwards: %v", round, err)
	}
	return back
}

// page runs a browser-like peer; its events come out of the channel, which closes with it.
func (s *site) page(args ...string) <-chan map[string]any {
	s.t.Helper()
	cmd := exec.Command(s.programs["webrtcpeer"], append([]string{"-url", "wss://" + s.host + ":18443/ws", "-domain", "tandem.test",
		"-user", "page", "-password", harness.Password, "-every", "100ms"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	events := make(chan map[string]any, 10000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			event := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &event) == nil {
				events <- event
			}
		}
		_ = cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return events
}

// until waits for an event; reports of media count when more packets have come than before.
func until(t *testing.T, events <-chan map[string]any, name string, limit time.Duration, ok func(map[string]any) bool) map[string]any {
	t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the page ended before %q", name)
			}
			if e["event"] == "error" {
				t.Fatalf("page: %v", e["reason"])
			}
			if e["event"] == name && (ok == nil || ok(e)) {
				return e
			}
		case <-timeout:
			t.Fatalf("no %q within %s", name, limit)
		}
	}
}

// TestBrowserFollowsToAnotherNode: its call gets new ICE and DTLS at the other daemon, in both directions of the call.
func TestBrowserFollowsToAnotherNode(t *testing.T) {
	for i, c := range []struct {
		name      string
		daemons   [2]string
		pageCalls bool
	}{
		{"page calls, mediad to mediad", [2]string{"mediad", "mediad"}, true},
		{"page is called, mediad to rtpengine", [2]string{"mediad", "rtpengine"}, false},
		{"page calls, rtpengine to mediad", [2]string{"rtpengine", "mediad"}, true},
		{"page is called, rtpengine to rtpengine", [2]string{"rtpengine", "rtpengine"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, strings.ReplaceAll(c.name, ",", ""), 10+i, c.daemons, "")
			s.pageMoves(c.pageCalls)
		})
	}
}

func (s *site) pageMoves(pageCalls bool) {
	t := s.t
	t.Helper()
	args := []string{"-talk", "60s"}
	if pageCalls {
		args = append(args, "-call", "line")
	}
	events := s.page(args...)
	until(t, events, "registered", 10*time.Second, nil)
	other := s.callee
	if !pageCalls {
		if _, err := s.caller.call("sip:page@tandem.test"); err != nil {
			t.Fatal(err)
		}
		other = s.caller
	}
	until(t, events, "connected", 10*time.Second, nil)
	hears := func(e map[string]any) bool { n, _ := e["packets"].(float64); return n > 10 }
	until(t, events, "media", 10*time.Second, hears)
	var since time.Time
	quiet := func() error {
		if q := other.silent(since); len(q) > 0 || len(other.live()) == 0 {
			return fmt.Errorf("the phone hears nothing")
		}
		return nil
	}
	if err := harness.Eventually(5*time.Second, quiet); err != nil {
		t.Fatal(err)
	}
	victim := 0
	if s.spread()[1] > 0 {
		victim = 1
	}
	if n := s.spread(); n[victim] != 1 || n[1-victim] != 0 {
		t.Fatalf("calls: %v", n)
	}
	s.kill(victim)
	lost := s.lostAt(1)
	since = lost
	until(t, events, "reinvited", time.Until(lost.Add(backIn)), nil)
	until(t, events, "media", time.Until(lost.Add(backIn)), hears)
	if err := harness.Eventually(time.Until(lost.Add(backIn)), quiet); err != nil {
		t.Fatal(err)
	}
	t.Logf("media both ways %s after the loss was seen", time.Since(lost))
	s.startMedia(victim)
	if err := other.live()[0].bye(); err != nil {
		t.Error(err)
	}
	until(t, events, "ended", 5*time.Second, nil)
	s.end()
}
