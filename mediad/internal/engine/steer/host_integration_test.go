//go:build integration

package steer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
)

// roles are what this program does as another process.
func roles() map[string]func() error {
	return map[string]func() error{
		"generator": generate,
		"start": func() error { // what New says
			e, err := New(Config{})
			if err != nil {
				fmt.Println(err, "EPERM:", errors.Is(err, unix.EPERM))
				return nil
			}
			fmt.Println("started")
			return e.Close()
		},
		"victim": func() error { // to be killed
			if _, err := New(Config{}); err != nil {
				return err
			}
			fmt.Println("started")
			select {}
		},
	}
}

// programs counts the sk_lookup programs in this network namespace.
func programs(t *testing.T) int {
	t.Helper()
	var here unix.Stat_t
	require.NoError(t, unix.Stat("/proc/thread-self/ns/net", &here))
	count := 0
	var links link.Iterator
	for links.Next() {
		info, err := links.Link.Info()
		require.NoError(t, err)
		if ns := info.NetNs(); ns != nil && uint64(ns.NetnsInode) == here.Ino && ebpf.AttachType(ns.AttachType) == ebpf.AttachSkLookup {
			count++
		}
	}
	require.NoError(t, links.Err())
	links.Close()
	return count
}

// TestNothingIsLeft of an engine that has been closed, or whose process has been killed.
func TestNothingIsLeft(t *testing.T) {
	require.Zero(t, programs(t))
	e, err := New(Config{Workers: 2})
	require.NoError(t, err)
	require.Equal(t, 1, programs(t))
	require.NoError(t, e.Close())
	require.Zero(t, programs(t))

	cmd := again("victim")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	started := make([]byte, 7)
	_, err = io.ReadFull(out, started)
	require.NoError(t, err)
	require.Equal(t, "started", string(started))
	require.Equal(t, 1, programs(t))
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return programs(t) == 0 }, 5*time.Second, 10*time.Millisecond)
}

// TestMissingCapabilities are named.
func TestMissingCapabilities(t *testing.T) {
	for _, tc := range []struct {
		name string
		has  []uintptr
		says string
	}{
		{"none", nil, "steer: loading the sk_lookup program needs CAP_BPF and CAP_NET_ADMIN: "},
		{"no CAP_NET_RAW", []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN}, "steer: sending from any port needs CAP_NET_RAW: "},
		{"all", []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, "started"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := again("start")
			cmd.Path = readable(t)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tc.has}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			require.Contains(t, string(out), tc.says)
			if tc.says != "started" {
				require.Contains(t, string(out), "EPERM: true")
			}
		})
	}
}

// readable copies the test's program to where other users may run it.
func readable(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	f, err := os.CreateTemp("", "steer")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	_, err = f.Write(b)
	require.NoError(t, err)
	require.NoError(t, f.Chmod(0o755))
	require.NoError(t, f.Close())
	return f.Name()
}

// TestTwoEnginesSideBySide: two daemons in one namespace, even on one address, do not disturb each other, whoever came first and goes first.
func TestTwoEnginesSideBySide(t *testing.T) {
	ip := netip.MustParseAddr("127.0.0.1")
	phone := listen(t, "127.0.0.9:0")
	one, err := New(Config{Workers: 2})
	require.NoError(t, err)
	two := newEngine(t, Config{Workers: 2})
	a, _, err := one.OpenPair(ip, 30000)
	require.NoError(t, err)
	s := flow.NewStream(a, 1, time.Now())
	s.SetRoute(&flow.Route{Endpoint: local(phone), Learning: flow.Off, Media: []flow.Output{{Stream: s}}})
	require.NoError(t, one.Attach(s))
	for i := range uint16(4) {
		other, _ := streams(t, two, ip, 30002+2*i, local(phone))
		for _, to := range []netip.AddrPort{s.LocalAddr(), other.LocalAddr()} {
			pkt := packet(t, i, 172)
			send(t, phone, pkt, to)
			expect(t, phone, pkt)
		}
	}
	require.NoError(t, one.Close())
	other, _ := streams(t, two, ip, 30000, local(phone))
	pkt := packet(t, 1, 172)
	send(t, phone, pkt, other.LocalAddr())
	expect(t, phone, pkt)
}

// TestForeignSocketsArePassedOver: ports that somebody has bound, on the address or on all, are not handed out; those of other addresses
// and of connected sockets are.
func TestForeignSocketsArePassedOver(t *testing.T) {
	for _, tc := range []struct{ local, wildcard, elsewhere string }{
		{"127.0.0.1", "0.0.0.0", "127.0.0.2"}, {"::1", "[::]", "127.0.0.2"}, {"127.0.0.1", "[::]", "[::1]"},
	} {
		a := netip.MustParseAddr(tc.local)
		held := listen(t, netip.AddrPortFrom(a, 40000).String())
		require.NotNil(t, held)
		var others []net.PacketConn
		for _, addr := range []string{tc.wildcard + ":40003", tc.elsewhere + ":40004"} {
			c, err := net.ListenPacket("udp", addr)
			require.NoError(t, err)
			others = append(others, c)
		}
		e := newEngine(t, Config{})
		r, err := ports.New([]ports.Interface{{Name: "x", Addresses: []ports.Address{{Local: a, Min: 40000, Max: 40007}}}}, ports.Options{Open: e.OpenPair})
		require.NoError(t, err)
		var got []*ports.Pair
		for range 2 {
			p, err := r.Allocate("", ports.AnyFamily)
			require.NoError(t, err)
			require.Contains(t, []uint16{40004, 40006}, p.RTP.LocalAddr().Port())
			got = append(got, p)
		}
		_, err = r.Allocate("", ports.AnyFamily)
		require.ErrorIs(t, err, ports.ErrNoPorts)
		require.NoError(t, held.Close())
		require.Eventually(t, func() bool { // found out a second later
			p, err := r.Allocate("", ports.AnyFamily)
			if err == nil {
				require.Equal(t, uint16(40000), p.RTP.LocalAddr().Port())
				p.Release()
			}
			return err == nil
		}, 3*time.Second, 50*time.Millisecond)
		for _, p := range got {
			p.Release()
		}
		for _, c := range others {
			require.NoError(t, c.Close())
		}
		require.NoError(t, e.Close())
	}
}

// TestManyCallsWithFewDescriptors sets 20,000 calls up, that is 80,000 ports, with a limit of 4,096 files, of which it takes a handful.
func TestManyCallsWithFewDescriptors(t *testing.T) {
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 4096, Max: old.Max}))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }()
	const calls = 20000
	e := newEngine(t, Config{Workers: 2})
	var registries []*ports.Registry
	for _, addr := range []string{"127.0.0.1", "127.0.0.2"} {
		r, err := ports.New([]ports.Interface{{Name: "x", Addresses: []ports.Address{{Local: netip.MustParseAddr(addr), Min: 10000, Max: 60000}}}},
			ports.Options{Open: e.OpenPair})
		require.NoError(t, err)
		registries = append(registries, r)
	}
	before, begin := files(t), time.Now()
	var pairs []*ports.Pair
	var all []*flow.Stream
	for i := range calls {
		for _, r := range registries {
			p, err := r.Allocate("", ports.AnyFamily)
			require.NoError(t, err)
			pairs = append(pairs, p)
			some := []*flow.Stream{flow.NewStream(p.RTP, uint64(i), begin), flow.NewStream(p.RTCP, uint64(i), begin)}
			require.NoError(t, e.Attach(some...))
			all = append(all, some...)
		}
	}
	t.Logf("%s a call to open and attach four ports", time.Since(begin)/calls)
	require.LessOrEqual(t, files(t), before)
	phone := listen(t, "127.0.0.9:0")
	for _, i := range []int{0, 1, 2, 3, 40002, 79998} {
		s := all[i]
		s.SetRoute(&flow.Route{Endpoint: local(phone), Learning: flow.Off, Media: []flow.Output{{Stream: s}}})
		pkt := packet(t, uint16(i), 172)
		send(t, phone, pkt, s.LocalAddr())
		require.Equal(t, s.LocalAddr(), expect(t, phone, pkt))
	}
	begin = time.Now()
	e.Detach(all...)
	for _, p := range pairs {
		p.Release()
	}
	t.Logf("%s a call to detach and close them", time.Since(begin)/calls)
	for _, a := range *e.addresses.Load() {
		require.Zero(t, a.open)
	}
	runtime.KeepAlive(all)
}

func files(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// TestDetail names the engine for logs.
func TestDetail(t *testing.T) {
	e := newEngine(t, Config{Workers: 3})
	require.Equal(t, "steer", e.Name())
	require.True(t, strings.HasSuffix(e.Detail(), "workers: 3"), e.Detail())
	name, reason := e.Carrier(nil)
	require.Equal(t, []string{"steer", ""}, []string{name, reason})
}
