package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, addr string) *Conn {
	t.Helper()
	c, err := Listen(netip.MustParseAddrPort(addr), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// read waits until the socket has something.
func read(t *testing.T, r *Reader, c *Conn) int {
	t.Helper()
	waitReadable(t, c)
	n, err := r.Read(c)
	require.NoError(t, err)
	return n
}

func waitReadable(t *testing.T, c *Conn) {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.FD()), Events: unix.POLLIN}}, 2000)
	require.NoError(t, err)
	require.Equal(t, 1, n, "nothing arrived")
}

func TestBatchesCarryPacketsAndAddresses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			a, b := listen(t, addr), listen(t, addr)
			require.NotZero(t, a.LocalAddr().Port())
			w := NewWriter(8)
			for i := range 5 {
				w.Add(fmt.Appendf(nil, "packet %d", i), b.LocalAddr())
			}
			sent, err := w.Flush(a)
			require.NoError(t, err)
			require.Equal(t, 5, sent)

			r := NewReader(8, 100, 20)
			got := 0
			for got < 5 {
				n := read(t, r, b)
				for i := range n {
					require.Equal(t, fmt.Sprintf("packet %d", got), string(r.Packet(i)))
					require.Equal(t, a.LocalAddr(), r.Source(i))
					require.False(t, r.Truncated(i))
					require.GreaterOrEqual(t, cap(r.Packet(i))-100, 20, "room behind the packet")
					got++
				}
			}
			_, err = r.Read(b)
			require.ErrorIs(t, err, ErrWouldBlock)

			require.NoError(t, b.WriteTo([]byte("back"), a.LocalAddr()))
			require.Equal(t, 1, read(t, r, a))
			require.Equal(t, "back", string(r.Packet(0)))
			require.Equal(t, b.LocalAddr(), r.Source(0))
		})
	}
}

func TestTruncationIsReported(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	require.NoError(t, a.WriteTo(make([]byte, 101), b.LocalAddr()))
	r := NewReader(1, 100, 0)
	require.Equal(t, 1, read(t, r, b))
	require.True(t, r.Truncated(0))
	require.Len(t, r.Packet(0), 100)
}

// TestFlushPassesOverFailures: one bad destination in a batch must not cost the packets behind it.
func TestFlushPassesOverFailures(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	w := NewWriter(4)
	w.Add([]byte("one"), b.LocalAddr())
	w.Add([]byte("two"), netip.MustParseAddrPort("[::1]:9")) // the other family
	w.Add([]byte("three"), b.LocalAddr())
	sent, err := w.Flush(a)
	require.Error(t, err)
	require.Equal(t, 2, sent)
	r := NewReader(4, 100, 0)
	require.Equal(t, 2, read(t, r, b))
	require.Equal(t, "three", string(r.Packet(1)))
}

func TestListenRefusesIndefiniteAddresses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"} {
		_, err := Listen(netip.MustParseAddrPort(addr), Options{})
		require.ErrorIs(t, err, ErrInvalidAddress, addr)
	}
	_, err := Listen(netip.AddrPort{}, Options{})
	require.ErrorIs(t, err, ErrInvalidAddress)
}

func TestListenPairIsAllOrNothing(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	_, _, err := ListenPair(local, 30001, Options{})
	require.ErrorIs(t, err, ErrInvalidAddress, "odd port")
	// Find an even port whose odd neighbour is free, then occupy the neighbour.
	for range 100 {
		probe := listen(t, "127.0.0.1:0")
		port := probe.LocalAddr().Port()
		if port%2 == 0 {
			continue
		}
		_, _, err := ListenPair(local, port-1, Options{})
		require.ErrorIs(t, err, unix.EADDRINUSE)
		again, err := Listen(netip.AddrPortFrom(local, port-1), Options{})
		if errors.Is(err, unix.EADDRINUSE) {
			continue // somebody else's
		}
		require.NoError(t, err, "the even port was kept")
		require.NoError(t, again.Close())
		return
	}
	t.Fatal("no odd port found")
}

func TestTOS(t *testing.T) {
	c, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{TOS: 184, ReadBuffer: 1 << 16, WriteBuffer: 1 << 16})
	require.NoError(t, err)
	defer c.Close()
	tos, err := unix.GetsockoptInt(c.FD(), unix.IPPROTO_IP, unix.IP_TOS)
	require.NoError(t, err)
	require.Equal(t, 184, tos)
	require.NoError(t, c.SetTOS(40))
	tos, _ = unix.GetsockoptInt(c.FD(), unix.IPPROTO_IP, unix.IP_TOS)
	require.Equal(t, 40, tos)
	c6, err := Listen(netip.MustParseAddrPort("[::1]:0"), Options{TOS: 184})
	require.NoError(t, err)
	defer c6.Close()
	tos, err = unix.GetsockoptInt(c6.FD(), unix.IPPROTO_IPV6, unix.IPV6_TCLASS)
	require.NoError(t, err)
	require.Equal(t, 184, tos)
}

func TestNoAllocation(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		a, b := listen(t, addr), listen(t, addr)
		r, w := NewReader(4, 100, 0), NewWriter(4)
		pkt, to := []byte("packet"), b.LocalAddr()
		var src netip.AddrPort
		allocs := testing.AllocsPerRun(200, func() {
			w.Add(pkt, to)
			_, _ = w.Flush(a)
			if n, _ := r.Read(b); n > 0 {
				src = r.Source(0)
			}
		})
		require.Zero(t, allocs, addr)
		require.Equal(t, a.LocalAddr(), src)
	}
}

func TestView(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:5000")
	peer := netip.MustParseAddrPort("127.0.0.2:6000")
	var to netip.AddrPort
	var written string
	v := NewView(local, 2, func(pkt []byte, dst netip.AddrPort) error {
		written, to = string(pkt), dst
		return nil
	})
	pkt := []byte("in")
	require.True(t, v.Feed(pkt, peer))
	pkt[0] = 'X' // the view has a copy
	require.True(t, v.Feed([]byte("second"), peer))
	require.False(t, v.Feed([]byte("third"), peer), "the queue is bounded")
	buf := make([]byte, 100)
	n, src, err := v.ReadFrom(buf)
	require.NoError(t, err)
	require.Equal(t, "in", string(buf[:n]))
	require.Equal(t, peer.String(), src.String())
	_, err = v.WriteTo([]byte("out"), net.UDPAddrFromAddrPort(peer))
	require.NoError(t, err)
	require.Equal(t, "out", written)
	require.Equal(t, peer, to)

	_, _, err = v.ReadFrom(buf)
	require.NoError(t, err)
	require.NoError(t, v.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, _, err = v.ReadFrom(buf)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, v.SetReadDeadline(time.Time{}))
	ended := make(chan error)
	go func() {
		_, _, err := v.ReadFrom(make([]byte, 10))
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, v.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.NoError(t, v.Close())
	require.False(t, v.Feed(pkt, peer))
	_, err = v.WriteTo(pkt, net.UDPAddrFromAddrPort(peer))
	require.ErrorIs(t, err, net.ErrClosed)
}
