//go:build integration

package steer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// roleVariable says what a process of the test's program is: one of roles, or the tests themselves inside their namespace.
const roleVariable = "TANDEM_STEER_TEST"

// elsewhere runs the tests in a network namespace of their own: programs are attached to whole namespaces.
func elsewhere() (code int, done bool) {
	role := os.Getenv(roleVariable)
	if act, ok := roles()[role]; ok {
		if err := act(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, true
	}
	if role != "" {
		if err := up("lo"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, false
	}
	cmd := again("inside", os.Args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	switch err := cmd.Run(); {
	case errors.Is(err, unix.EPERM) && os.Getenv("CI") == "":
		fmt.Println("skipped: a network namespace needs CAP_SYS_ADMIN")
		return 0, true
	case cmd.ProcessState != nil:
		return cmd.ProcessState.ExitCode(), true
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
}

// again is this program in another role, in the namespace of its caller unless told otherwise.
func again(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// far is another network namespace, behind a veth pair with an MTU of 1500.
type far struct {
	near4, near6, link6 netip.Addr // our addresses
	far4, far6, flink6  netip.Addr // its addresses; link6 and flink6 are link-local with the index of the interface at this end
	run                 func(func() error) error
}

// newFar makes the namespace; it ends with the test.
func newFar(t *testing.T) *far {
	t.Helper()
	work, results := make(chan func() error), make(chan error)
	go func() { // its thread has the namespace and ends with it
		runtime.LockOSThread()
		for f := range work {
			results <- f()
		}
	}()
	f := &far{run: func(f func() error) error { work <- f; return <-results }}
	t.Cleanup(func() { close(work) })
	var ns int
	require.NoError(t, f.run(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	}))
	defer unix.Close(ns)
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near", MTU: 1500}, PeerName: "far", PeerMTU: 1500}
	require.NoError(t, netlink.LinkAdd(pair))
	t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	other, err := netlink.LinkByName("far")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetNsFd(other, ns))
	require.NoError(t, addresses("near", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"))
	require.NoError(t, f.run(func() error { return addresses("far", "192.0.2.2/24", "2001:db8::2/64", "fe80::2/64") }))
	a := netip.MustParseAddr
	f.near4, f.near6, f.link6 = a("192.0.2.1"), a("2001:db8::1"), a("fe80::1%near")
	f.far4, f.far6, f.flink6 = a("192.0.2.2"), a("2001:db8::2"), a("fe80::2%near")
	require.Eventually(t, func() bool { // the routes to link-local addresses come with the carrier
		c, err := net.Dial("udp", "[fe80::2%near]:9")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)
	return f
}

// addresses gives a device addresses, without waiting for others to object, and starts it.
func addresses(device string, list ...string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, text := range list {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.Flags |= unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, a); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// listen makes a socket in the far namespace.
func (f *far) listen(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	require.NoError(t, f.run(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// narrow gives the route to one address an MTU of its own.
func narrow(t *testing.T, device string, to netip.Addr, mtu int) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	require.NoError(t, err)
	bits := to.BitLen()
	require.NoError(t, netlink.RouteReplace(&netlink.Route{
		LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(bits, bits)}, MTU: mtu,
	}))
}
