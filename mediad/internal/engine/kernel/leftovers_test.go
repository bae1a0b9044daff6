//go:build integration

package kernel

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
)

// programs counts what is attached to the ingress side of the loopback device, by tcx links and by tc filters.
func programs(t *testing.T) (links, filters int) {
	t.Helper()
	q, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
	require.NoError(t, err)
	lo, err := netlink.LinkByIndex(1)
	require.NoError(t, err)
	list, err := netlink.FilterList(lo, netlink.HANDLE_MIN_INGRESS)
	require.NoError(t, err)
	return len(q.Programs), len(list)
}

// TestNothingStays: after Close no program is attached.
func TestNothingStays(t *testing.T) {
	for _, filters := range []bool{false, true} {
		below, err := sockets.New(sockets.Config{Workers: 1})
		require.NoError(t, err)
		e, err := New(below, Config{filters: filters})
		require.NoError(t, err)
		l, f := programs(t)
		require.Equal(t, 1, l+f)
		require.Equal(t, filters, f == 1)
		require.NoError(t, e.Close())
		l, f = programs(t)
		require.Zero(t, l+f)
	}
}

// TestKilled: a process that is killed leaves no tcx link, and the filter that it leaves goes with the next start.
func TestKilled(t *testing.T) {
	if os.Getenv(child) != "" {
		_ = newEngine(t, Config{filters: os.Getenv(child) == "filter"})
		_, _ = os.Stdout.WriteString("ready\n")
		time.Sleep(time.Minute)
	}
	for _, how := range []string{"link", "filter"} {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), child+"="+how)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = out.Read(make([]byte, 64))
		require.NoError(t, err)
		l, f := programs(t)
		require.Equal(t, 1, l+f)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		require.Eventually(t, func() bool { l, _ := programs(t); return l == 0 }, 3*time.Second, 10*time.Millisecond)
		_, f = programs(t)
		require.Equal(t, how == "filter", f == 1)
	}
	e := newEngine(t, Config{filters: true})
	_, f := programs(t)
	require.Equal(t, 1, f) // our own
	require.NoError(t, e.Close())
	_, f = programs(t)
	require.Zero(t, f)
}

// TestUnprivileged: without the capabilities New says which are missing.
func TestUnprivileged(t *testing.T) {
	if os.Getenv(child) == "unprivileged" {
		below, err := sockets.New(sockets.Config{Workers: 1})
		require.NoError(t, err)
		_, err = New(below, Config{})
		require.NoError(t, below.Close())
		require.ErrorIs(t, err, os.ErrPermission)
		require.ErrorContains(t, err, "CAP_BPF")
		return
	}
	path, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command("setpriv", "--bounding-set=-all", "--inh-caps=-all", path, "-test.run", "^TestUnprivileged$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=unprivileged")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestUnprivileged")
}
