//go:build integration

package kill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The disk of the proxy's store is full: calls go on, the log says it once, and
// again when there is room. The disk is a tmpfs in a mount namespace of the
// proxy's own.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root for a mount namespace")
		}
		t.Skip("needs root for a mount namespace")
	}
	s := newSite(t, "disk", 43)
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	s.wrap = []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"`, disk}
	s.configure(fmt.Sprintf(`trunks:
  - {name: generator, sources: ["%[1]s/32"]}
routes:
  - {name: out, from: [generator], domain: "*", to: "sip:%[2]s:15081"}
storage: {path: %[3]q}
`, s.caller, s.callee, filepath.Join(disk, "proxy.db")))
	s.startProxy()
	s.sipp("callee", "callee-waits", s.callee, 15081)
	drive := func(name string) {
		t.Helper()
		p := s.sipp(name, "caller-hangs-up", s.caller, 15080, "-m", "60", "-d", "2500", "-s", "x", "-r", "60", s.host+":15060")
		if err := p.Wait(40 * time.Second); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, s.errors(name))
		}
	}
	const failing, again = "dialogs are not kept", "dialogs are kept again"
	n := rounds(t, 1)
	for round := range n {
		filler := fmt.Sprintf("/proc/%d/root%s/filler", s.proxy.PID(), disk)
		fill(t, filler)
		drive("full-" + strconv.Itoa(round))
		if told := s.logged(failing); told != round+1 {
			t.Fatalf("round %d: the log says %d times that the disk is full", round, told)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		drive("room-" + strconv.Itoa(round))
		s.until(func() error {
			if told := s.logged(again); told != round+1 {
				return fmt.Errorf("round %d: the log says %d times that it works again", round, told)
			}
			return nil
		})
	}
	t.Logf("%d rounds, %d calls on a full disk", n, n*60)
}

// fill writes until no byte more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(err)
		}
	}
}
