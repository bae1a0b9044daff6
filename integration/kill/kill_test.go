//go:build integration

// Package kill is the exam of parts that die under load: the proxy itself, its
// disk, the upstream. SIPp is on both sides.
package kill

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	// calls of each kind in a round, and how many begin in a second.
	calls     = 20
	perSecond = 100
	// hold is how long a call lasts that a side ends: beyond the restart.
	hold = 3500 * time.Millisecond
	// written is when a dialog is in the store.
	written = 1300 * time.Millisecond
)

// rounds of each exam: KILL_ROUNDS, or those of a short run.
func rounds(t *testing.T, short int) int {
	t.Helper()
	text := os.Getenv("KILL_ROUNDS")
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KILL_ROUNDS: %q is not a number above 0", text)
	}
	return n
}

// kind is a way for calls to end.
type kind struct {
	name, caller, callee string // scenarios
	port                 int    // of the callee
}

// kinds of calls: who ends them, the last one nobody but the proxy.
func kinds() []kind {
	return []kind{
		{"caller", "caller-hangs-up", "callee-waits", 15061},
		{"callee", "caller-waits", "callee-hangs-up", 15062},
		{"timer", "caller-waits", "callee-timer", 15063},
	}
}

// The proxy is killed with SIGKILL and started again while calls are up and
// others come and go: all that were answered can be ended by either side, and
// by the proxy itself, whose session timers go on.
func TestProxyKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, "proxy", 41)
	s.configure(fmt.Sprintf(`trunks:
  - {name: generator, sources: ["%[1]s/32"]}
routes:
  - {name: a, from: [generator], domain: "*", pattern: caller, to: "sip:%[2]s:15061"}
  - {name: b, from: [generator], domain: "*", pattern: callee, to: "sip:%[2]s:15062"}
  - {name: c, from: [generator], domain: "*", pattern: timer, to: "sip:%[2]s:15063"}
  - {name: d, from: [generator], domain: "*", pattern: load, to: "sip:%[2]s:15064"}
storage: {path: %[3]q}
`, s.caller, s.callee, filepath.Join(s.dir, "proxy.db")))
	s.startProxy()
	// Calls beside, some of which are cut in their setup: nothing is asked of them.
	s.sipp("load-callee", "callee-waits", s.callee, 15064)
	s.sipp("load-caller", "caller-hangs-up", s.caller, 15064, "-s", "load", "-d", "700", "-r", "20", "-cid_str", "load-%u-%p@%s", s.host+":15060")
	n := rounds(t, 2)
	began := time.Now()
	for round := range n {
		s.killRound(round)
	}
	t.Logf("%d rounds in %s: %d calls answered before a kill, all ended behind it", n, time.Since(began).Round(time.Second), n*calls*len(kinds()))
	if err := s.proxy.Stop(); err != nil {
		t.Error(err)
	}
	if left := s.kept(); left != 0 {
		t.Errorf("%d dialogs are left in the store", left)
	}
}

// killRound sets calls up, kills the proxy, starts it again, and waits for the
// end of all.
func (s *site) killRound(round int) {
	s.t.Helper()
	var sides []*harness.Process
	upBefore := s.logged(`"call set up","call-id":"k`)
	for _, k := range kinds() {
		name := fmt.Sprintf("%s-%d", k.name, round)
		d := strconv.FormatInt(hold.Milliseconds(), 10)
		sides = append(sides, s.sipp(name+"-callee", k.callee, s.callee, k.port, "-m", strconv.Itoa(calls), "-d", d))
		sides = append(sides, s.sipp(name+"-caller", k.caller, s.caller, k.port, "-m", strconv.Itoa(calls), "-d", d, "-s", k.name,
			"-r", strconv.Itoa(perSecond), "-cid_str", "k"+k.name+"-%u-%p@%s", s.host+":15060"))
	}
	if err := harness.Eventually(20*time.Second, func() error {
		if up := s.logged(`"call set up","call-id":"k`) - upBefore; up != calls*len(kinds()) {
			return fmt.Errorf("round %d: %d calls are up", round, up)
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(written)
	if err := syscall.Kill(s.proxy.PID(), syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	_ = s.proxy.Wait(5 * time.Second)
	s.startProxy()
	for _, p := range sides {
		if err := p.Wait(40 * time.Second); err != nil {
			s.t.Fatalf("round %d: %s: %v\n%s", round, p.Name, err, s.errors(p.Name))
		}
	}
}

// kept counts the dialogs in the store that are none of the load's.
func (s *site) kept() (n int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "proxy.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT count(*) FROM dialogs WHERE call_id NOT LIKE 'load-%'`).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// The upstream's first target is killed under load: calls go on by the second.
func TestUpstreamKilled(t *testing.T) {
	t.Parallel()
	for round := range rounds(t, 1) {
		s := newSite(t, fmt.Sprintf("upstream-%d", round), 42)
		s.configure(fmt.Sprintf(`trunks:
  - {name: generator, sources: ["%[1]s/32"]}
  - name: carrier
    sources: ["%[2]s/32"]
    targets: [{uri: "sip:%[2]s:15071", priority: 1}, {uri: "sip:%[2]s:15072", priority: 2}]
    timeout: 500ms
routes:
  - {name: out, from: [generator], domain: "*", to: carrier}
storage: {path: ":memory:"}
`, s.caller, s.callee))
		s.startProxy()
		first := s.sipp("first", "callee-waits", s.callee, 15071)
		s.sipp("second", "callee-waits", s.callee, 15072)
		const n = 150
		s.sipp("caller", "caller-hangs-up", s.caller, 15070, "-m", strconv.Itoa(n), "-d", "100", "-s", "x", "-r", "50", s.host+":15060")
		s.until(func() error {
			if up := s.logged(`"call set up"`); up < n/3 {
				return fmt.Errorf("%d calls", up)
			}
			return nil
		})
		if err := syscall.Kill(first.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// A call that had been answered there cannot be ended there any more; all later ones must be answered.
		if err := harness.Eventually(30*time.Second, func() error {
			if up := s.logged(`"call set up"`); up != n {
				return fmt.Errorf("round %d: %d of %d calls answered", round, up, n)
			}
			return nil
		}); err != nil {
			t.Errorf("%v\n%s", err, s.errors("caller"))
		}
		s.close()
	}
}
