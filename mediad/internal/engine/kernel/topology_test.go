//go:build integration

package kernel

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is a network namespace beside ours, for peers.
type host struct {
	t  *testing.T
	ns *os.File
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t}
	apart(t, func() {
		require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
		var err error
		h.ns, err = os.Open("/proc/thread-self/ns/net")
		require.NoError(t, err)
	})
	t.Cleanup(func() { _ = h.ns.Close() })
	h.do(func() { up(t, "lo") })
	return h
}

// do runs f in the namespace. Sockets that it opens stay there.
func (h *host) do(f func()) {
	h.t.Helper()
	apart(h.t, func() {
		require.NoError(h.t, unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET))
		f()
	})
}

// apart runs f on a thread of its own, which ends with it.
func apart(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends
		f()
	}()
	<-done
}

func (h *host) phone(local string) (p *phone) {
	h.t.Helper()
	h.do(func() { p = newPhone(h.t, local) })
	return p
}

func up(t *testing.T, device string) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(l))
}

// configure gives a device addresses and brings it up.
func configure(t *testing.T, device string, addresses ...string) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	require.NoError(t, err)
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		require.NoError(t, err)
		a.Flags = unix.IFA_F_NODAD
		require.NoError(t, netlink.AddrAdd(l, a))
	}
	require.NoError(t, netlink.LinkSetUp(l))
}

// cable connects us to a host: our end has the name and the addresses .1, the host's "eth0" the addresses .2 of network number n.
func (h *host) cable(name string, n int) {
	h.t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	require.NoError(h.t, netlink.LinkAdd(pair))
	h.t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	peer, err := netlink.LinkByName(name + "p")
	require.NoError(h.t, err)
	require.NoError(h.t, netlink.LinkSetNsFd(peer, int(h.ns.Fd())))
	configure(h.t, name, address(n, 1), address6(n, 1))
	h.do(func() {
		l, err := netlink.LinkByName(name + "p")
		require.NoError(h.t, err)
		require.NoError(h.t, netlink.LinkSetName(l, "eth0"))
		configure(h.t, "eth0", address(n, 2), address6(n, 2))
	})
}

// route adds the default route of a host.
func (h *host) route(via string) {
	h.t.Helper()
	h.do(func() { require.NoError(h.t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)})) })
}

func address(n, host int) string  { return fmt.Sprintf("10.77.%d.%d/24", n, host) }
func address6(n, host int) string { return fmt.Sprintf("fd77:%d::%d/64", n, host) }

// offload switches checksum offload of a device.
func offload(t *testing.T, device string, on string) {
	t.Helper()
	out, err := exec.Command("ethtool", "-K", device, "tx", on, "rx", on).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
