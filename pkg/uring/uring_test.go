package uring

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a ring on the test's own thread. Where the machine forbids io_uring the test is skipped, but not in CI.
func open(t testing.TB, requests, completions uint32, buffers int) (*Ring, *Buffers) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := Probe(); err != nil {
		if !errors.Is(err, ErrUnsupported) || os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r, err := Open(requests, completions)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	b, err := r.Provide(buffers, 200, 20)
	require.NoError(t, err)
	return r, b
}

func listen(t testing.TB, addr string) *udp.Conn {
	t.Helper()
	c, err := udp.Listen(netip.MustParseAddrPort(addr), udp.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// outgoing is a message and what it points to.
type outgoing struct {
	msg  unix.Msghdr
	vec  unix.Iovec
	name udp.Sockaddr
}

func newOutgoing(pkt []byte, to netip.AddrPort) *outgoing {
	o := new(outgoing)
	o.set(pkt, to)
	return o
}

func (o *outgoing) set(pkt []byte, to netip.AddrPort) {
	o.vec.Base = unsafe.SliceData(pkt)
	o.vec.SetLen(len(pkt))
	o.msg.Iov = &o.vec
	o.msg.SetIovlen(1)
	o.msg.Name = (*byte)(unsafe.Pointer(&o.name))
	o.msg.Namelen = o.name.Set(to)
}

// collect waits for count completions, or more if there are.
func collect(t testing.TB, r *Ring, count int) []Completion {
	t.Helper()
	var all []Completion
	for deadline := time.Now().Add(3 * time.Second); len(all) < count; {
		require.True(t, time.Now().Before(deadline), "%d of %d completions", len(all), count)
		require.NoError(t, r.Enter(count-len(all), 200*time.Millisecond))
		for {
			c, ok := r.Next()
			if !ok {
				break
			}
			all = append(all, c)
		}
	}
	return all
}

// TestRelay receives from several sockets and sends from the buffers that were received into.
func TestRelay(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			r, b := open(t, 16, 64, 16)
			var in []*udp.Conn
			peer := listen(t, addr)
			for i := range 4 {
				in = append(in, listen(t, addr))
				r.Receive(in[i].FD(), uint64(i))
			}
			for i, c := range in {
				require.NoError(t, peer.WriteTo(fmt.Appendf(nil, "to %d", i), c.LocalAddr()))
			}
			kept := make([]*outgoing, 0, 4)
			seen := 0
			for _, c := range collect(t, r, 4) {
				require.NoError(t, c.Err())
				require.True(t, c.More())
				m, ok := b.Message(c)
				require.True(t, ok)
				require.Equal(t, fmt.Sprintf("to %d", c.Data), string(m.Packet))
				require.Equal(t, peer.LocalAddr(), m.Source)
				require.False(t, m.Truncated)
				require.GreaterOrEqual(t, cap(m.Packet), 220, "room behind the packet")
				id, ok := b.Holding(m.Packet)
				require.True(t, ok)
				require.Equal(t, m.Buffer, id)
				kept = append(kept, newOutgoing(append(m.Packet, " and back"...), m.Source))
				r.SendMsg(in[c.Data].FD(), &kept[len(kept)-1].msg, 100+uint64(m.Buffer))
				seen |= 1 << c.Data
			}
			require.Equal(t, 15, seen)
			for _, c := range collect(t, r, 4) {
				require.EqualValues(t, len("to 0 and back"), c.Result)
				b.Give(uint16(c.Data - 100))
			}
			reader := udp.NewReader(8, 100, 0)
			n, err := reader.Read(peer)
			require.NoError(t, err)
			require.Equal(t, 4, n)
			require.Regexp(t, `^to \d and back$`, string(reader.Packet(0)))
			runtime.KeepAlive(kept)
		})
	}
}

// TestNoBufferLeft: the receive ends with ENOBUFS, nothing is lost, and goes on when it is armed again.
func TestNoBufferLeft(t *testing.T) {
	r, b := open(t, 8, 32, 2)
	c, peer := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	for i := range 5 {
		require.NoError(t, peer.WriteTo([]byte{byte(i)}, c.LocalAddr()))
	}
	next := byte(0)
	for next < 5 {
		r.Receive(c.FD(), 7)
		count := 3 // two datagrams and the end
		if next == 4 {
			count = 1
		}
		for _, c := range collect(t, r, count) {
			if c.Err() != nil {
				require.ErrorIs(t, c.Err(), unix.ENOBUFS)
				require.False(t, c.More())
				continue
			}
			m, ok := b.Message(c)
			require.True(t, ok)
			require.Equal(t, []byte{next}, m.Packet)
			next++
			b.Give(m.Buffer)
		}
	}
}

// TestCancel: after the last completion the socket is free, and its port may be bound again at once.
func TestCancel(t *testing.T) {
	r, b := open(t, 8, 32, 4)
	peer := listen(t, "127.0.0.1:0")
	c, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
	require.NoError(t, err)
	for range 20 {
		r.Receive(c.FD(), 1)
		require.NoError(t, r.Enter(0, 0))
		require.NoError(t, peer.WriteTo([]byte("x"), c.LocalAddr()))
		r.Cancel(1, 2)
		ended, cancelled := false, false
		for !ended || !cancelled {
			for _, c := range collect(t, r, 1) {
				switch {
				case c.Data == 2:
					require.Zero(t, c.Result)
					cancelled = true
				case c.More():
					m, ok := b.Message(c)
					require.True(t, ok)
					b.Give(m.Buffer)
				default:
					require.ErrorIs(t, c.Err(), unix.ECANCELED)
					ended = true
				}
			}
		}
		local := c.LocalAddr()
		require.NoError(t, c.Close())
		c, err = udp.Listen(local, udp.Options{})
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	r.Cancel(1, 2)
	require.ErrorIs(t, collect(t, r, 1)[0].Err(), unix.ENOENT)
}

// TestOverflow: more completions than the queue holds are not lost.
func TestOverflow(t *testing.T) {
	r, _ := open(t, 4, 4, 4)
	a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	o := newOutgoing([]byte("x"), b.LocalAddr())
	const sends = 40
	for i := range sends {
		if r.Room() == 0 {
			require.NoError(t, r.Enter(0, 0))
		}
		if r.Room() > 0 { // EBUSY until completions are read, on some kernels
			r.SendMsg(a.FD(), &o.msg, uint64(i))
		}
	}
	for i, c := range collect(t, r, sends) {
		require.EqualValues(t, i, c.Data)
		require.EqualValues(t, 1, c.Result)
	}
	runtime.KeepAlive(o)
}

func TestOddDatagrams(t *testing.T) {
	r, b := open(t, 8, 32, 4)
	c, peer := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	r.Receive(c.FD(), 1)
	require.NoError(t, peer.WriteTo(make([]byte, 201), c.LocalAddr()))
	got := collect(t, r, 1)[0]
	m, ok := b.Message(got)
	require.True(t, ok)
	require.True(t, m.Truncated)
	require.Len(t, m.Packet, 200)
	b.Give(m.Buffer)
	require.NoError(t, peer.WriteTo(nil, c.LocalAddr())) // the kernel takes it for the end
	got = collect(t, r, 1)[0]
	m, ok = b.Message(got)
	require.True(t, ok)
	require.Empty(t, m.Packet)
	require.Equal(t, peer.LocalAddr(), m.Source)
	b.Give(m.Buffer)
	if !got.More() {
		r.Receive(c.FD(), 1)
	}
	require.NoError(t, peer.WriteTo(make([]byte, 200), c.LocalAddr()))
	m, ok = b.Message(collect(t, r, 1)[0])
	require.True(t, ok)
	require.False(t, m.Truncated)
	require.Len(t, m.Packet, 200)
}

func TestErrorsOfSends(t *testing.T) {
	r, _ := open(t, 8, 32, 4)
	a := listen(t, "127.0.0.1:0")
	wrong, closed := newOutgoing([]byte("x"), netip.MustParseAddrPort("[::1]:9")), newOutgoing([]byte("x"), a.LocalAddr())
	r.SendMsg(a.FD(), &wrong.msg, 1)
	r.SendMsg(1<<20, &closed.msg, 2)
	got := collect(t, r, 2)
	require.ErrorIs(t, got[0].Err(), unix.EAFNOSUPPORT)
	require.ErrorIs(t, got[1].Err(), unix.EBADF)
	runtime.KeepAlive([]*outgoing{wrong, closed})
}

func TestWaitEnds(t *testing.T) {
	r, _ := open(t, 4, 8, 2)
	begin := time.Now()
	require.NoError(t, r.Enter(1, 20*time.Millisecond))
	_, ok := r.Next()
	require.False(t, ok)
	require.GreaterOrEqual(t, time.Since(begin), 20*time.Millisecond)
	require.Less(t, time.Since(begin), 5*time.Second)
}

// TestReadOfEventfd is how a loop is woken.
func TestReadOfEventfd(t *testing.T) {
	r, _ := open(t, 4, 8, 2)
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	var count [8]byte
	for range 3 {
		r.Read(fd, count[:], 5)
		require.NoError(t, r.Enter(1, 5*time.Millisecond))
		_, ok := r.Next()
		require.False(t, ok)
		ended := make(chan error)
		go func() {
			time.Sleep(5 * time.Millisecond)
			_, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			ended <- err
		}()
		require.EqualValues(t, 8, collect(t, r, 1)[0].Result)
		require.NoError(t, <-ended)
	}
}

func TestProvideRefusesNonsense(t *testing.T) {
	r, b := open(t, 4, 8, 2)
	require.Equal(t, 2, b.Count())
	for _, c := range [][3]int{{2, 100, 0}, {0, 100, 0}, {3, 100, 0}, {1 << 16, 100, 0}, {2, 0, 0}, {2, 100, -1}} {
		_, err := r.Provide(c[0], c[1], c[2])
		require.Error(t, err, c)
	}
	_, ok := b.Holding(make([]byte, 10))
	require.False(t, ok)
	_, ok = b.Message(Completion{Result: 1 << 20, flags: cqeBuffer})
	require.False(t, ok)
	_, ok = b.Of(Completion{flags: cqeBuffer | 2<<cqeBufferShift})
	require.False(t, ok)
}

func TestNoAllocation(t *testing.T) {
	r, b := open(t, 8, 32, 4)
	a, c := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	o := newOutgoing([]byte("packet"), c.LocalAddr())
	r.Receive(c.FD(), 1)
	received := 0
	allocs := testing.AllocsPerRun(200, func() {
		r.SendMsg(a.FD(), &o.msg, 2)
		_ = r.Enter(2, time.Second)
		for {
			done, ok := r.Next()
			if !ok {
				return
			}
			if m, ok := b.Message(done); ok && m.Source == a.LocalAddr() {
				b.Give(m.Buffer)
				received++
			}
		}
	})
	require.Zero(t, allocs)
	require.Equal(t, 201, received)
}
