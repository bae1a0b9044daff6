//go:build integration

package kernel

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
)

func loopbackCall(t *testing.T, cfg Config) *call {
	t.Helper()
	return newCall(t, newEngine(t, cfg), newPhone(t, "127.0.0.1:0"), newPhone(t, "127.0.0.1:0"), "127.0.0.1", "127.0.0.1")
}

// TestStranger: what comes from elsewhere goes up, and no further where the route is strict; so does a source of RTP that nobody has heard of.
func TestStranger(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.routeA.Strict = true
	c.set()
	c.both()
	stranger := newPhone(t, "127.0.0.1:0")
	stranger.talk(c.toA.LocalAddr(), 20)
	c.bob.silent()
	require.EqualValues(t, 20, c.toA.Statistics().ErrorsIn)
	c.exchange(5)
}

// TestFollowsSource: another RTP source goes through user space, and then the kernel; the first one's figures stay.
func TestFollowsSource(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.both()
	c.exchange(10)
	c.alice.ssrc = 8
	c.alice.talk(c.toA.LocalAddr(), 1)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 1)
	require.Eventually(t, func() bool {
		c.engine.mu.Lock()
		defer c.engine.mu.Unlock()
		r := c.engine.records[c.toA]
		return r.installed() && r.entry.shortcut.SSRC == 8
	}, 3*time.Second, 5*time.Millisecond)
	before := c.engine.Numbers().Packets
	c.exchange(10)
	require.EqualValues(t, 20, c.engine.Numbers().Packets-before)
	st := c.toA.Statistics()
	require.EqualValues(t, 8, st.SSRC)
	require.Len(t, st.Sources, 2)
	require.EqualValues(t, 11, st.Sources[0].Packets)
	require.EqualValues(t, 11, st.Sources[1].Packets)
	require.Zero(t, st.Sources[0].Lost)
	require.Zero(t, st.Sources[1].Lost)
}

// witness counts telephone events and RTCP.
type witness struct {
	mu              sync.Mutex
	events, control int
}

func (w *witness) Event(flow.Event, netip.AddrPort, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events++
}

func (w *witness) Control([]byte, netip.AddrPort, netip.AddrPort, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.control++
}

// TestSeen: telephone events and RTCP on the same port are seen in user space while the kernel moves the sound.
func TestSeen(t *testing.T) {
	c := loopbackCall(t, Config{})
	w := &witness{}
	p := &flow.Payloads{}
	p.Clock[8], p.Clock[101], p.Events[101] = 8000, 8000, true
	c.routeA.Payloads, c.routeA.Observer, c.routeA.Quality, c.routeA.Muxed = p, w, quality.NewTable(quality.CQ), true
	c.routeA.ControlOut = c.routeA.Media
	c.set()
	c.both()
	before := c.engine.Numbers().Packets
	c.alice.talk(c.toA.LocalAddr(), 3)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 3)

	c.alice.seq++
	event := c.alice.packet()[:16]
	event[1] = 101
	copy(event[12:], []byte{5, 0x80 | 10, 0, 160})
	c.alice.send(event, c.toA.LocalAddr())
	got, _ := c.bob.next()
	require.Equal(t, event, got)

	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 7}
	c.alice.send(report, c.toA.LocalAddr())
	got, _ = c.bob.next()
	require.Equal(t, report, got)

	c.alice.talk(c.toA.LocalAddr(), 3)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 3)
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Equal(t, 1, w.events)
	require.Equal(t, 1, w.control)
	require.EqualValues(t, 6, c.engine.Numbers().Packets-before)
	st := c.toA.Statistics()
	require.EqualValues(t, 9, st.PacketsIn)
	require.EqualValues(t, 8, st.Sources[0].Packets)
	require.Zero(t, st.Sources[0].Lost)
}

// TestStreamingMoves: signalling takes streams out of the kernel and they go back, again and again, and no packet is lost, doubled or changed.
func TestStreamingMoves(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.both()
	const packets = 3000
	var talking sync.WaitGroup
	for _, way := range []struct {
		from *phone
		to   netip.AddrPort
	}{{c.alice, c.toA.LocalAddr()}, {c.bob, c.toB.LocalAddr()}} {
		talking.Go(func() {
			for range packets {
				way.from.talk(way.to, 1)
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	var hearing sync.WaitGroup
	heard := make([]map[uint16]int, 2)
	for i, p := range []*phone{c.bob, c.alice} {
		heard[i] = make(map[uint16]int)
		hearing.Go(func() {
			b := make([]byte, 2048)
			for range packets {
				_ = p.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
				n, _, err := p.conn.ReadFromUDPAddrPort(b)
				if err != nil || n != 12+payload {
					return
				}
				heard[i][binary.BigEndian.Uint16(b[2:])]++
			}
		})
	}
	stop := make(chan struct{})
	go func() { talking.Wait(); close(stop) }()
	moves := 0
	for running := true; running; {
		select {
		case <-stop:
			running = false
		case <-time.After(15 * time.Millisecond):
			c.set() // the same routes, as a re-INVITE without changes makes them
			moves++
		}
	}
	hearing.Wait()
	for _, h := range heard {
		require.Len(t, h, packets)
		for seq, times := range h {
			require.Equal(t, 1, times, "sequence number %d", seq)
		}
	}
	for _, s := range []*flow.Stream{c.toA, c.toB} {
		st := s.Statistics()
		require.EqualValues(t, packets+1, st.PacketsIn)
		require.EqualValues(t, packets+1, st.PacketsOut)
		require.Zero(t, st.ErrorsIn+st.ErrorsOut)
		require.Zero(t, st.Sources[0].Lost)
		require.EqualValues(t, packets+1, st.Sources[0].LastSequence)
	}
	n := c.engine.Numbers()
	t.Logf("%d moves, %d of %d packets by the kernel", moves, n.Packets, 2*packets+2)
	require.Greater(t, n.Packets, uint64(packets/4))
	require.Less(t, n.Packets, uint64(2*packets))
}

// TestHold: what is held goes nowhere from the moment that SetRoute returns, counts all the same, and goes on afterwards.
func TestHold(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.both()
	held := flow.Route{Endpoint: c.alice.addr, Learning: flow.Immediate, Drop: true}
	c.toA.SetRoute(&held)
	c.alice.talk(c.toA.LocalAddr(), 20)
	c.bob.silent()
	c.carrier(c.toA, "kernel") // which drops
	before := c.engine.Numbers().Packets
	c.alice.talk(c.toA.LocalAddr(), 20)
	c.bob.silent()
	require.EqualValues(t, 20, c.engine.Numbers().Packets-before)
	require.EqualValues(t, 41, c.toA.Statistics().PacketsIn)
	require.EqualValues(t, 1, c.toB.Statistics().PacketsOut)
	c.set()
	c.carrier(c.toA, "kernel")
	c.exchange(10)
}

// TestNewDestination: where packets go changes with the route of the stream that sends.
func TestNewDestination(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.both()
	other := newPhone(t, "127.0.0.1:0")
	c.bob = other
	c.routeB.Endpoint = other.addr
	c.set()
	c.alice.talk(c.toA.LocalAddr(), 5)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 5)
	c.both()
	c.exchange(5)
}

// TestDetach: a stream whose receiver is gone sends nowhere.
func TestDetach(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.both()
	c.engine.Detach(c.toB)
	c.alice.talk(c.toA.LocalAddr(), 5)
	c.bob.silent()
	require.EqualValues(t, 5, c.toB.Statistics().ErrorsOut)
	require.Zero(t, c.engine.Numbers().Entries)
}

// TestOpaque: media that is not RTP.
func TestOpaque(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.routeA.Opaque, c.routeB.Opaque = true, true
	c.set()
	say := func() {
		c.alice.send([]byte{1, 2, 3}, c.toA.LocalAddr())
		b, from := c.bob.next()
		require.Equal(t, []byte{1, 2, 3}, b)
		require.Equal(t, c.toB.LocalAddr(), from)
	}
	say()
	c.carrier(c.toA, "kernel")
	before := c.engine.Numbers().Packets
	say()
	require.EqualValues(t, 1, c.engine.Numbers().Packets-before)
	require.EqualValues(t, 2, c.toA.Statistics().PacketsIn)
}

// TestFlat: calls that come and go leave nothing in the kernel or in the engine, and their slots serve again.
func TestFlat(t *testing.T) {
	e := newEngine(t, Config{Capacity: 16})
	alice, bob := newPhone(t, "127.0.0.1:0"), newPhone(t, "127.0.0.1:0")
	for range 20 { // 40 streams in the kernel, one after the other
		t.Run("", func(t *testing.T) {
			c := newCall(t, e, alice, bob, "127.0.0.1", "127.0.0.1")
			c.both()
			c.exchange(3)
		})
	}
	n := e.Numbers()
	require.Zero(t, n.Entries)
	require.EqualValues(t, 20*2*3, n.Packets)
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Empty(t, e.records)
	require.Len(t, e.free, int(e.unused))
	var place forwardPlace
	var route forwardRoute
	require.False(t, e.program.objects.Routes.Iterate().Next(&place, &route))
}

// TestFull: streams that find no room stay in user space.
func TestFull(t *testing.T) {
	e := newEngine(t, Config{Capacity: 1})
	first := newStream(t, e, "127.0.0.1", 32000)
	first.SetRoute(&flow.Route{Opaque: true, Drop: true, Learning: flow.Off, Endpoint: netip.MustParseAddrPort("127.0.0.1:9")})
	require.NoError(t, e.Attach(first))
	c := newCall(t, e, newPhone(t, "127.0.0.1:0"), newPhone(t, "127.0.0.1:0"), "127.0.0.1", "127.0.0.1")
	c.carrier(first, "kernel")
	c.alice.talk(c.toA.LocalAddr(), 1)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 1)
	require.Eventually(t, func() bool { _, why := e.Carrier(c.toA); return why == whyFull }, 3*time.Second, 5*time.Millisecond)
	c.alice.talk(c.toA.LocalAddr(), 5)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 5)
	e.Detach(first)
	c.carrier(c.toA, "kernel")
	c.alice.talk(c.toA.LocalAddr(), 5)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 5)
	require.EqualValues(t, 5, e.Numbers().Packets)
}

// TestSameStatistics: the same packets with gaps, repetitions and a wrap of the sequence number, by the kernel and by the sockets alone.
func TestSameStatistics(t *testing.T) {
	numbers := func(e interface {
		Attach(...*flow.Stream) error
	}, c *call) flow.Statistics {
		for _, seq := range []uint16{65530, 65531, 65535, 65534, 65535, 0, 1, 5, 4, 9000, 9001} {
			c.alice.seq = seq
			c.alice.send(c.alice.packet(), c.toA.LocalAddr())
			c.bob.hears(c.alice, c.toB.LocalAddr(), 1)
			if seq == 65530 && c.engine != nil {
				c.carrier(c.toA, "kernel")
			}
		}
		st := c.toA.Statistics()
		require.WithinDuration(t, time.Now(), st.LastPacket, time.Second)
		st.LastPacket = time.Time{}
		return st
	}
	c := loopbackCall(t, Config{})
	moved := numbers(c.engine, c)
	require.EqualValues(t, 10, c.engine.Numbers().Packets)
	require.EqualValues(t, 10, moved.CarriedPackets)
	require.WithinDuration(t, time.Now(), moved.LastCarried, time.Second)
	moved.CarriedPackets, moved.CarriedBytes, moved.LastCarried = 0, 0, time.Time{} // who has moved them is all that differs

	below, err := sockets.New(sockets.Config{Workers: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, below.Close()) })
	d := &call{t: t, alice: newPhone(t, "127.0.0.1:0"), bob: newPhone(t, "127.0.0.1:0")}
	d.toA, d.toB = newStream(t, below, "127.0.0.1", 31000), newStream(t, below, "127.0.0.1", 31002)
	d.toA.SetRoute(&flow.Route{Endpoint: d.alice.addr, Learning: flow.Immediate, Media: []flow.Output{{Stream: d.toB}}})
	d.toB.SetRoute(&flow.Route{Endpoint: d.bob.addr, Learning: flow.Immediate})
	require.NoError(t, below.Attach(d.toA, d.toB))
	require.Equal(t, numbers(below, d), moved)
}

// TestOddPackets: what the kernel is not sure of goes up, and is forwarded or refused there.
func TestOddPackets(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.both()
	before := c.engine.Numbers().Packets
	good := func(b []byte, by uint64) {
		t.Helper()
		c.alice.send(b, c.toA.LocalAddr())
		got, _ := c.bob.next()
		require.Equal(t, b, got)
		require.Equal(t, by, c.engine.Numbers().Packets-before)
		before = c.engine.Numbers().Packets
	}
	packet := func() []byte { c.alice.seq++; return c.alice.packet() }
	extended := packet() // with two contributors and an extension of three words
	extended[0] |= 0x12
	copy(extended[20:], []byte{0xbe, 0xde, 0, 3})
	good(extended, 1)
	good(append(packet(), make([]byte, 3000)...), 1) // large, but whole: the loopback device takes it
	good(packet()[:12], 1)                           // no payload

	bad := packet()
	bad[0] |= 0x10
	copy(bad[12:], []byte{0xbe, 0xde, 0xff, 0xff}) // an extension longer than the packet
	c.alice.send(bad, c.toA.LocalAddr())
	c.alice.send(packet()[:11], c.toA.LocalAddr())
	c.alice.send([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, c.toA.LocalAddr()) // STUN
	c.alice.send([]byte{22, 0xfe, 0xfd, 0}, c.toA.LocalAddr())                  // DTLS
	c.bob.silent()
	require.Equal(t, before, c.engine.Numbers().Packets)
	require.EqualValues(t, 4, c.toA.Statistics().ErrorsIn)
}
