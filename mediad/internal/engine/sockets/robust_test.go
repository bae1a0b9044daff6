package sockets

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
	"github.com/tandem-sbc/tandem/pkg/uring"
)

// listenStreams makes pairs of streams on new sockets, each sending to one address what its neighbour receives.
func listenStreams(t testing.TB, count int, shard uint64, to netip.AddrPort) []*flow.Stream {
	t.Helper()
	streams := make([]*flow.Stream, count)
	for i := range streams {
		c, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
		require.NoError(t, err)
		streams[i] = flow.NewStream(c, shard, time.Now())
	}
	for i, s := range streams {
		s.SetRoute(&flow.Route{Endpoint: to, Learning: flow.Off, Media: []flow.Output{{Stream: streams[i^1]}}})
	}
	return streams
}

// flood sends to changing ports until it is stopped.
type flood struct {
	mu    sync.Mutex
	ports []netip.AddrPort
	stop  chan struct{}
	ended sync.WaitGroup
}

func startFlood(t *testing.T, pkt []byte) *flood {
	f := &flood{stop: make(chan struct{})}
	sender := newPhone(t, "127.0.0.2")
	f.ended.Go(func() {
		for {
			select {
			case <-f.stop:
				return
			default:
			}
			f.mu.Lock()
			for _, p := range f.ports {
				_, _ = sender.conn.WriteToUDPAddrPort(pkt, p)
			}
			f.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	})
	return f
}

func (f *flood) aim(streams []*flow.Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = f.ports[:0]
	for _, s := range streams {
		f.ports = append(f.ports, s.LocalAddr())
	}
}

func (f *flood) end() {
	close(f.stop)
	f.ended.Wait()
}

// TestStorm attaches and detaches 2,000 sockets again and again while packets come for them. A port is free when its stream is detached and
// closed; afterwards the engine works as before and nothing is left open.
func TestStorm(t *testing.T) { bothLoops(t, storm) }

func storm(t *testing.T, ring Ring) {
	const callers, each, rounds = 4, 500, 4
	e := newEngine(t, ring)
	sink := newPhone(t, "127.0.0.3")
	before := openDescriptors(t)
	t.Run("storm", func(t *testing.T) {
		var group sync.WaitGroup
		for caller := range uint64(callers) {
			f := startFlood(t, rtpPacket(1, 1, "storm"))
			group.Go(func() {
				defer f.end()
				for range rounds {
					streams := listenStreams(t, each, caller, sink.addr())
					require.NoError(t, e.Attach(streams...))
					f.aim(streams)
					time.Sleep(20 * time.Millisecond)
					e.Detach(streams...)
					for _, s := range streams {
						require.NoError(t, s.Port().Close())
						again, err := udp.Listen(s.LocalAddr(), udp.Options{})
						if !errors.Is(err, unix.EADDRINUSE) { // another caller's by now
							require.NoError(t, err)
							require.NoError(t, again.Close())
						}
						st := s.Statistics()
						require.Zero(t, st.ErrorsOut)
					}
				}
			})
		}
		group.Wait()
	})
	require.Equal(t, before, openDescriptors(t))
	last := newPhone(t, "127.0.0.3")
	streams := listenStreams(t, 2, 0, last.addr())
	require.NoError(t, e.Attach(streams...))
	defer closeAll(t, e, streams)
	pkt := rtpPacket(9, 1, "after the storm")
	last.send(t, pkt, streams[0].LocalAddr())
	last.expect(t, pkt)
}

func closeAll(t testing.TB, e *Engine, streams []*flow.Stream) {
	e.Detach(streams...)
	for _, s := range streams {
		require.NoError(t, s.Port().Close())
	}
}

// TestPortIsFreeAfterDetach: nothing in the kernel holds the socket of a stream that is detached.
func TestPortIsFreeAfterDetach(t *testing.T) { bothLoops(t, portIsFreeAfterDetach) }

func portIsFreeAfterDetach(t *testing.T, ring Ring) {
	e := newEngine(t, ring)
	sink := newPhone(t, "127.0.0.3")
	streams := listenStreams(t, 2, 0, sink.addr())
	for range 50 {
		require.NoError(t, e.Attach(streams...))
		for _, s := range streams {
			sink.send(t, rtpPacket(1, 1, "x"), s.LocalAddr())
		}
		e.Detach(streams...)
		for i, s := range streams {
			require.NoError(t, s.Port().Close())
			c, err := udp.Listen(s.LocalAddr(), udp.Options{})
			require.NoError(t, err)
			streams[i] = flow.NewStream(c, 0, time.Now())
		}
		for i, s := range streams {
			s.SetRoute(&flow.Route{Endpoint: sink.addr(), Learning: flow.Off, Media: []flow.Output{{Stream: streams[i^1]}}})
		}
	}
	closeAll(t, e, streams)
}

// newTinyEngine has a ring that is full nearly always: of requests, completions, sends and buffers.
func newTinyEngine(t *testing.T) *Engine {
	t.Helper()
	needRing(t)
	e := new(Engine)
	require.NoError(t, e.start(&Config{Workers: 1}, ringSize{requests: 4, completions: 8, buffers: 4}.opener))
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// TestTinyRing: nothing is lost or changes its order when the ring is full, be it of packets or of copies for further outputs.
func TestTinyRing(t *testing.T) {
	const sockets, rounds, outputs = 20, 30, 3
	e := newTinyEngine(t)
	to := make([]*phone, outputs)
	outs := make([]flow.Output, outputs)
	for i := range outs {
		to[i] = newPhone(t, "127.0.0.3")
		outs[i].Stream = listenStreams(t, 2, 0, to[i].addr())[0]
		require.NoError(t, e.Attach(outs[i].Stream))
		defer e.Detach(outs[i].Stream)
	}
	streams := listenStreams(t, sockets, 0, to[0].addr())
	for _, s := range streams {
		s.SetRoute(&flow.Route{Learning: flow.Off, Media: outs})
	}
	require.NoError(t, e.Attach(streams...))
	sender := newPhone(t, "127.0.0.2")
	for round := range uint16(rounds) {
		for i, s := range streams {
			sender.send(t, rtpPacket(uint32(i), round, "to all"), s.LocalAddr())
		}
		for _, p := range to {
			for seen := 0; seen != 1<<sockets-1; {
				buf := make([]byte, 2000)
				require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(3*time.Second)))
				n, err := p.conn.Read(buf)
				require.NoError(t, err)
				require.Equal(t, 12+len("to all"), n)
				require.Equal(t, round, binary.BigEndian.Uint16(buf[2:]))
				ssrc := binary.BigEndian.Uint32(buf[8:])
				require.Zero(t, seen&(1<<ssrc), "twice")
				seen |= 1 << ssrc
			}
		}
	}
	for _, o := range outs {
		st := o.Stream.Statistics()
		require.Equal(t, uint64(sockets*rounds), st.PacketsOut)
		require.Equal(t, uint64(sockets*rounds*(12+len("to all"))), st.BytesOut)
		require.Zero(t, st.ErrorsOut)
	}
	// A crowd on one socket is many times more than there are buffers.
	for i := range uint16(100) {
		sender.send(t, rtpPacket(1, i, "crowd"), streams[0].LocalAddr())
	}
	for i := range uint16(100) {
		to[1].expect(t, rtpPacket(1, i, "crowd"))
	}
	closeAll(t, e, streams)
}

// TestTinyRingUnderStorm: a full ring loses no cancel.
func TestTinyRingUnderStorm(t *testing.T) {
	e := newTinyEngine(t)
	sink := newPhone(t, "127.0.0.3")
	f := startFlood(t, rtpPacket(1, 1, "storm"))
	defer f.end()
	for range 20 {
		streams := listenStreams(t, 100, 0, sink.addr())
		require.NoError(t, e.Attach(streams...))
		f.aim(streams)
		time.Sleep(3 * time.Millisecond)
		closeAll(t, e, streams)
	}
}

// TestSendErrors are counted, and what was counted as sent is taken back.
func TestSendErrors(t *testing.T) { bothLoops(t, sendErrors) }

func sendErrors(t *testing.T, ring Ring) {
	e := newEngine(t, ring)
	streams := listenStreams(t, 2, 0, netip.MustParseAddrPort("[::1]:9")) // an IPv4 socket cannot
	require.NoError(t, e.Attach(streams...))
	p := newPhone(t, "127.0.0.2")
	for i := range uint16(5) {
		p.send(t, rtpPacket(1, i, "lost"), streams[0].LocalAddr())
	}
	require.Eventually(t, func() bool { return streams[0].Statistics().PacketsIn == 5 }, 3*time.Second, time.Millisecond)
	closeAll(t, e, streams)
	st := streams[1].Statistics()
	require.Equal(t, uint64(5), st.ErrorsOut)
	require.Zero(t, st.PacketsOut)
	require.Zero(t, st.BytesOut)
}

// TestEmptyDatagrams end a multishot receive; what follows is received all the same.
func TestEmptyDatagrams(t *testing.T) { bothLoops(t, emptyDatagrams) }

func emptyDatagrams(t *testing.T, ring Ring) {
	e := newEngine(t, ring)
	p := newPhone(t, "127.0.0.2")
	streams := listenStreams(t, 2, 0, p.addr())
	require.NoError(t, e.Attach(streams...))
	for i := range uint16(20) {
		for range 3 {
			p.send(t, nil, streams[0].LocalAddr())
		}
		pkt := rtpPacket(1, i, "after nothing")
		p.send(t, pkt, streams[0].LocalAddr())
		p.expect(t, pkt)
	}
	closeAll(t, e, streams)
}

// TestNoAllocationPerPacket measures the whole process while an engine relays.
func TestNoAllocationPerPacket(t *testing.T) { bothLoops(t, noAllocationPerPacket) }

func noAllocationPerPacket(t *testing.T, ring Ring) {
	const packets = 5000
	e := newEngine(t, ring)
	sink, err := udp.Listen(netip.MustParseAddrPort("127.0.0.3:0"), udp.Options{})
	require.NoError(t, err)
	defer sink.Close()
	streams := listenStreams(t, 2, 0, sink.LocalAddr())
	require.NoError(t, e.Attach(streams...))
	pkt := rtpPacket(1, 1, "twenty milliseconds")
	reader, to := udp.NewReader(16, 2000, 0), streams[0].LocalAddr()
	relay := func(n int) (got int) {
		for deadline := time.Now().Add(10 * time.Second); got < n && time.Now().Before(deadline); {
			if err := sink.WriteTo(pkt, to); err != nil {
				return got
			}
			for range 1000 {
				if n, err := reader.Read(sink); err == nil {
					got += n
					break
				}
				runtime.Gosched()
			}
		}
		return got
	}
	relay(100)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.GreaterOrEqual(t, relay(packets), packets)
	runtime.ReadMemStats(&after)
	require.Less(t, after.Mallocs-before.Mallocs, uint64(packets/10), "of all goroutines")
	closeAll(t, e, streams)
}

// TestRingIsChosen: io_uring unless it is not wanted.
func TestRingIsChosen(t *testing.T) {
	needRing(t)
	for ring, detail := range map[Ring]string{Auto: "io_uring", On: "io_uring", Off: "epoll"} {
		e, err := New(Config{Ring: ring})
		require.NoError(t, err)
		require.Equal(t, detail, e.Detail())
		require.NoError(t, e.Close())
	}
}

// TestClosedSocket: a stream whose socket is closed while it is read or before is told as a fault, and the others go on.
func TestClosedSocket(t *testing.T) {
	needRing(t)
	said := make(chan any, 10)
	e, err := New(Config{Ring: On, Workers: 1, OnPanic: func(v any, _ []byte) { said <- v }})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	p := newPhone(t, "127.0.0.2")
	streams := listenStreams(t, 4, 0, p.addr())
	require.NoError(t, streams[0].Port().Close())
	require.NoError(t, e.Attach(streams...))
	require.ErrorIs(t, (<-said).(error), unix.EBADF)
	pkt := rtpPacket(1, 1, "undisturbed")
	p.send(t, pkt, streams[2].LocalAddr())
	p.expect(t, pkt)
	e.Detach(streams[0])
	closeAll(t, e, streams[1:])
}

// TestForbiddenRing: where the machine forbids io_uring, as containers do, Auto takes epoll and says why, and On fails.
func TestForbiddenRing(t *testing.T) {
	const variable = "TANDEM_SOCKETS_FORBIDDEN"
	if os.Getenv(variable) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestForbiddenRing$", "-test.v") // the filter stays for good
		cmd.Env = append(os.Environ(), variable+"=1")
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
		require.Contains(t, string(said), "--- PASS: TestForbiddenRing", string(said))
		return
	}
	forbidRing(t)
	before := openDescriptors(t)
	_, err := New(Config{Ring: On})
	require.ErrorIs(t, err, uring.ErrUnsupported)
	require.ErrorIs(t, err, unix.EPERM)
	require.Equal(t, before, openDescriptors(t))
	e := newEngine(t, Auto)
	require.Regexp(t, `^epoll \(.*io_uring_setup: operation not permitted\)$`, e.Detail())
	p := newPhone(t, "127.0.0.2")
	streams := listenStreams(t, 2, 0, p.addr())
	require.NoError(t, e.Attach(streams...))
	p.send(t, rtpPacket(1, 1, "without io_uring"), streams[0].LocalAddr())
	p.expect(t, rtpPacket(1, 1, "without io_uring"))
	closeAll(t, e, streams)
}

// forbidRing makes io_uring_setup fail for the rest of the process's life, with a seccomp(2) filter.
func forbidRing(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	require.Zero(t, errno)
}
