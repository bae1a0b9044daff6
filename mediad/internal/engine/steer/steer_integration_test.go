//go:build integration

package steer

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	pionrtp "github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/exam"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/kernel"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

func TestExam(t *testing.T) {
	exam.Run(t, func(t *testing.T, workers int, onPanic func(any, []byte)) engine.Engine {
		e, err := New(Config{Workers: workers, OnPanic: onPanic})
		require.NoError(t, err)
		return e
	})
}

// TestExamBelowKernel: the same with kernel forwarding above this engine.
func TestExamBelowKernel(t *testing.T) {
	exam.Run(t, func(t *testing.T, workers int, onPanic func(any, []byte)) engine.Engine {
		below, err := New(Config{Workers: workers, OnPanic: onPanic})
		require.NoError(t, err)
		e, err := kernel.New(below, kernel.Config{})
		require.NoError(t, err)
		return e
	})
}

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// streams opens a pair of ports and attaches their streams; what one receives the other sends to the address given.
func streams(t testing.TB, e *Engine, local netip.Addr, even uint16, to netip.AddrPort) (rtp, rtcp *flow.Stream) {
	t.Helper()
	a, b, err := e.OpenPair(local, even)
	require.NoError(t, err)
	rtp, rtcp = flow.NewStream(a, uint64(even/2), time.Now()), flow.NewStream(b, uint64(even/2), time.Now())
	rtp.SetRoute(&flow.Route{Learning: flow.Off, Media: []flow.Output{{Stream: rtcp}}})
	rtcp.SetRoute(&flow.Route{Endpoint: to, Learning: flow.Off})
	require.NoError(t, e.Attach(rtp, rtcp))
	t.Cleanup(func() {
		e.Detach(rtp, rtcp)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
	return rtp, rtcp
}

func packet(t testing.TB, seq uint16, size int) []byte {
	t.Helper()
	b, err := (&pionrtp.Packet{Header: pionrtp.Header{Version: 2, SequenceNumber: seq, SSRC: 7}, Payload: make([]byte, size-12)}).Marshal()
	require.NoError(t, err)
	for i := 12; i < size; i++ {
		b[i] = byte(i * int(seq+3))
	}
	return b
}

func listen(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t testing.TB, c *net.UDPConn, pkt []byte, to netip.AddrPort) {
	t.Helper()
	_, err := c.WriteToUDPAddrPort(pkt, to)
	require.NoError(t, err)
}

func expect(t testing.TB, c *net.UDPConn, want []byte) netip.AddrPort {
	t.Helper()
	buf := make([]byte, 5000)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(3*time.Second)))
	n, src, err := c.ReadFromUDPAddrPort(buf)
	require.NoError(t, err)
	require.Equal(t, want, buf[:n])
	return netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
}

func local(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// TestAcrossNamespaces relays what comes over a veth pair and goes back there, over IPv4, IPv6 and link-local addresses, small packets and
// such as are larger than the MTU: the kernel reassembles them before they come, and fragments them when they go.
func TestAcrossNamespaces(t *testing.T) {
	f := newFar(t)
	e := newEngine(t, Config{Workers: 2, TOS: 184})
	for _, tc := range []struct {
		name string
		near netip.Addr
		far  netip.Addr
		bind string
	}{
		{"IPv4", f.near4, f.far4, "192.0.2.2:0"}, {"IPv6", f.near6, f.far6, "[2001:db8::2]:0"}, {"link-local", f.link6, f.flink6, "[fe80::2%far]:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from, to := f.listen(t, tc.bind), f.listen(t, tc.bind)
			for i := range uint16(4) { // of both workers
				rtp, rtcp := streams(t, e, tc.near, 30000+2*i, netip.AddrPortFrom(tc.far, local(to).Port()))
				target := rtp.LocalAddr()
				if tc.near.Zone() != "" {
					target = netip.AddrPortFrom(tc.near.WithZone("far"), target.Port())
				}
				for seq, size := range []int{172, 13, 1472, 1473, 1500, 3001, 172} {
					pkt := packet(t, uint16(seq), size)
					send(t, from, pkt, target)
					src := expect(t, to, pkt)
					require.Equal(t, rtcp.LocalAddr().Port(), src.Port())
					require.Equal(t, tc.near.WithZone(""), src.Addr().WithZone(""))
				}
				require.Eventually(t, func() bool { return rtcp.Statistics().PacketsOut == 7 }, time.Second, time.Millisecond)
				require.Zero(t, rtcp.Statistics().ErrorsOut)
				for _, size := range []int{1, 1200, 3000} { // as STUN and DTLS go
					pkt := packet(t, 9, max(size, 12))[:size]
					require.NoError(t, rtp.Send(pkt, netip.AddrPortFrom(tc.far, local(to).Port())))
					require.Equal(t, rtp.LocalAddr().Port(), expect(t, to, pkt).Port())
				}
			}
		})
	}
}

// TestNarrowPath: the path's MTU is less than the interface's, as a router or its "packet too big" tells.
func TestNarrowPath(t *testing.T) {
	f := newFar(t)
	e := newEngine(t, Config{})
	for _, tc := range []struct {
		near netip.Addr
		bind string
	}{{f.near4, "192.0.2.2:0"}, {f.near6, "[2001:db8::2]:0"}} {
		phone := f.listen(t, tc.bind)
		narrow(t, "near", local(phone).Addr(), 1300)
		rtp, out := streams(t, e, tc.near, 30000, local(phone))
		for seq, size := range []int{172, 1250, 1400, 1452, 2900, 172} {
			pkt := packet(t, uint16(seq), size)
			send(t, phone, pkt, rtp.LocalAddr())
			require.Equal(t, out.LocalAddr(), expect(t, phone, pkt))
		}
		require.Zero(t, out.Statistics().ErrorsOut)
	}
}

// TestTOS: each port has its own, on all ways out.
func TestTOS(t *testing.T) {
	e := newEngine(t, Config{TOS: 184})
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			ip := netip.MustParseAddr(addr)
			phone := listen(t, netip.AddrPortFrom(ip, 0).String())
			raw, err := phone.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
			}))
			read := func() int {
				t.Helper()
				oob := make([]byte, 100)
				require.NoError(t, phone.SetReadDeadline(time.Now().Add(3*time.Second)))
				_, n, _, _, err := phone.ReadMsgUDPAddrPort(make([]byte, 5000), oob)
				require.NoError(t, err)
				list, err := unix.ParseSocketControlMessage(oob[:n])
				require.NoError(t, err)
				require.Len(t, list, 1)
				return int(list[0].Data[0])
			}
			one, out := streams(t, e, ip, 30000, local(phone))
			two, other := streams(t, e, ip, 30002, local(phone))
			require.NoError(t, other.Port().SetTOS(40))
			send(t, phone, packet(t, 1, 172), one.LocalAddr())
			require.Equal(t, 184, read())
			send(t, phone, packet(t, 1, 172), two.LocalAddr())
			require.Equal(t, 40, read())
			require.NoError(t, out.Port().SetTOS(0))
			require.NoError(t, out.Send([]byte("x"), local(phone)))
			require.Equal(t, 0, read())
		})
	}
}

// TestOtherSocketsOfTheHost: the same port of another address, and other ports of the same address, are not ours.
func TestOtherSocketsOfTheHost(t *testing.T) {
	e := newEngine(t, Config{})
	phone := listen(t, "127.0.0.9:0")
	rtp, _ := streams(t, e, netip.MustParseAddr("127.0.0.1"), 30000, local(phone))
	for _, addr := range []string{"127.0.0.2:30000", "127.0.0.1:30002", "[::1]:30000", "127.0.0.1:30004"} {
		c := listen(t, addr)
		pkt := []byte("for " + addr)
		sender := listen(t, netip.AddrPortFrom(local(c).Addr(), 0).String())
		send(t, sender, pkt, local(c))
		expect(t, c, pkt)
	}
	// A connected socket of somebody else keeps its peer's packets even on our port.
	pkt := packet(t, 1, 100)
	send(t, phone, pkt, rtp.LocalAddr())
	expect(t, phone, pkt)
}

// TestUnattachedPortIsTheHosts: before a stream is attached, and after, who sends there is told that nobody listens.
func TestUnattachedPortIsTheHosts(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		ip := netip.MustParseAddr(addr)
		e := newEngine(t, Config{})
		rtp, rtcp, err := e.OpenPair(ip, 30000)
		require.NoError(t, err)
		refused := func() bool {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(rtp.LocalAddr()))
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Write(packet(t, 1, 172))
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
			_, err = c.Read(make([]byte, 10))
			require.Error(t, err)
			return !err.(net.Error).Timeout()
		}
		require.True(t, refused())
		s := flow.NewStream(rtp, 1, time.Now())
		require.NoError(t, e.Attach(s))
		require.False(t, refused())
		require.Equal(t, uint64(1), s.Statistics().ErrorsIn+s.Statistics().PacketsIn)
		e.Detach(s)
		require.True(t, refused())
		require.NoError(t, rtp.Close())
		require.NoError(t, rtcp.Close())
		require.NoError(t, rtp.Close())
		again, _, err := e.OpenPair(ip, 30000)
		require.NoError(t, err)
		_, _, err = e.OpenPair(ip, 30000)
		require.ErrorIs(t, err, unix.EADDRINUSE)
		require.NotNil(t, again)
	}
}

// TestAddresses: those that the host does not have are refused as bind does, and those out of use give their room to others.
func TestAddresses(t *testing.T) {
	e := newEngine(t, Config{Addresses: 2})
	_, _, err := e.OpenPair(netip.MustParseAddr("198.51.100.1"), 30000)
	require.ErrorIs(t, err, unix.EADDRNOTAVAIL)
	_, _, err = e.OpenPair(netip.MustParseAddr("0.0.0.0"), 30000)
	require.Error(t, err)
	_, _, err = e.OpenPair(netip.MustParseAddr("127.0.0.1"), 30001)
	require.Error(t, err)
	phone := listen(t, "127.0.0.9:0")
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			a, b := netip.AddrFrom4([4]byte{127, 0, 1, byte(2 * i)}), netip.AddrFrom4([4]byte{127, 0, 1, byte(2*i + 1)})
			one, _ := streams(t, e, a, 30000, local(phone))
			two, _ := streams(t, e, b, 30000, local(phone))
			_, _, err := e.OpenPair(netip.MustParseAddr("127.0.2.1"), 30000)
			require.ErrorIs(t, err, ErrTooManyAddresses)
			for _, s := range []*flow.Stream{one, two} {
				pkt := packet(t, uint16(i), 100)
				send(t, phone, pkt, s.LocalAddr())
				expect(t, phone, pkt)
			}
		})
	}
}
