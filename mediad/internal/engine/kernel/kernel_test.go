//go:build integration

package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

// phone is a peer: a socket that sends and gets RTP.
type phone struct {
	t    *testing.T
	conn *net.UDPConn
	addr netip.AddrPort
	seq  uint16
	ssrc uint32
	pt   uint8
}

func newPhone(t *testing.T, local string) *phone {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &phone{t: t, conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), ssrc: 7, pt: 8}
}

// payload is what a packet carries: a multiple of neither 2 nor 4.
const payload = 161

func (p *phone) packet() []byte {
	b := make([]byte, 12+payload)
	b[0], b[1] = 0x80, p.pt
	binary.BigEndian.PutUint16(b[2:], p.seq)
	binary.BigEndian.PutUint32(b[4:], uint32(p.seq)*160)
	binary.BigEndian.PutUint32(b[8:], p.ssrc)
	for i := range b[12:] {
		b[12+i] = byte(i) ^ byte(p.seq)
	}
	return b
}

// talk sends a number of packets.
func (p *phone) talk(to netip.AddrPort, n int) {
	p.t.Helper()
	for range n {
		p.seq++
		p.send(p.packet(), to)
	}
}

func (p *phone) send(b []byte, to netip.AddrPort) {
	p.t.Helper()
	_, err := p.conn.WriteToUDPAddrPort(b, to)
	require.NoError(p.t, err)
}

// next is the packet that comes within two seconds.
func (p *phone) next() ([]byte, netip.AddrPort) {
	p.t.Helper()
	b := make([]byte, 8192)
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(2*time.Second)))
	n, from, err := p.conn.ReadFromUDPAddrPort(b)
	require.NoError(p.t, err)
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// hears expects the next n packets of another phone, from a port of ours.
func (p *phone) hears(other *phone, from netip.AddrPort, n int) {
	p.t.Helper()
	was := other.seq
	for i := range n {
		other.seq = was - uint16(n-1-i)
		b, src := p.next()
		require.Equal(p.t, other.packet(), b)
		require.Equal(p.t, from, src)
	}
	other.seq = was
}

// silent expects that nothing comes.
func (p *phone) silent() {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	n, from, err := p.conn.ReadFromUDPAddrPort(make([]byte, 2048))
	require.Error(p.t, err, "%d bytes from %s", n, from)
}

// call is two phones with our two ports between them.
type call struct {
	t          *testing.T
	engine     *Engine
	alice, bob *phone
	toA, toB   *flow.Stream // our ports that face them
	routeA     flow.Route   // of what alice sends
	routeB     flow.Route
}

func newEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	below, err := sockets.New(sockets.Config{Workers: 1})
	require.NoError(t, err)
	cfg.OnError = func(err error) { t.Log(err) }
	e, err := New(below, cfg)
	if err != nil {
		_ = below.Close()
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func newStream(t *testing.T, e engine.Engine, addr string, port uint16) *flow.Stream {
	t.Helper()
	rtp, rtcp, err := e.OpenPair(netip.MustParseAddr(addr), port)
	require.NoError(t, err)
	s := flow.NewStream(rtp, 1, time.Now())
	t.Cleanup(func() {
		e.Detach(s)
		_ = rtp.Close()
		_ = rtcp.Close()
	})
	return s
}

func newCall(t *testing.T, e *Engine, alice, bob *phone, addrA, addrB string) *call {
	t.Helper()
	c := &call{t: t, engine: e, alice: alice, bob: bob}
	c.toA, c.toB = newStream(t, e, addrA, 30000), newStream(t, e, addrB, 30002)
	c.routeA = flow.Route{Endpoint: alice.addr, Learning: flow.Immediate, Media: []flow.Output{{Stream: c.toB}}}
	c.routeB = flow.Route{Endpoint: bob.addr, Learning: flow.Immediate, Media: []flow.Output{{Stream: c.toA}}}
	c.set()
	require.NoError(t, e.Attach(c.toA, c.toB))
	return c
}

// set puts the routes of the call in force.
func (c *call) set() {
	a, b := c.routeA, c.routeB
	c.toA.SetRoute(&a)
	c.toB.SetRoute(&b)
}

// carrier waits until a stream is moved by an engine.
func (c *call) carrier(s *flow.Stream, want string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { got, _ := c.engine.Carrier(s); return got == want }, 3*time.Second, 2*time.Millisecond,
		"reason: %s", func() string { _, r := c.engine.Carrier(s); return r }())
}

// both has packets sent both ways until the kernel moves them.
func (c *call) both() {
	c.t.Helper()
	c.alice.talk(c.toA.LocalAddr(), 1)
	c.bob.hears(c.alice, c.toB.LocalAddr(), 1)
	c.bob.talk(c.toB.LocalAddr(), 1)
	c.alice.hears(c.bob, c.toA.LocalAddr(), 1)
	c.carrier(c.toA, "kernel")
	c.carrier(c.toB, "kernel")
}

// exchange has n packets sent each way.
func (c *call) exchange(n int) {
	c.t.Helper()
	c.alice.talk(c.toA.LocalAddr(), n)
	c.bob.hears(c.alice, c.toB.LocalAddr(), n)
	c.bob.talk(c.toB.LocalAddr(), n)
	c.alice.hears(c.bob, c.toA.LocalAddr(), n)
}

func TestLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run(addr, func(t *testing.T) {
			e := newEngine(t, Config{})
			at := netip.AddrPortFrom(netip.MustParseAddr(addr), 0).String()
			c := newCall(t, e, newPhone(t, at), newPhone(t, at), addr, addr)
			c.both()
			before := e.Numbers()
			c.exchange(50)
			after := e.Numbers()
			require.Equal(t, 2, after.Entries)
			require.EqualValues(t, 100, after.Packets-before.Packets)
			st := c.toA.Statistics()
			require.EqualValues(t, 51, st.PacketsIn)
			require.EqualValues(t, 51, st.PacketsOut)
			require.EqualValues(t, 51*(12+payload), st.BytesIn)
			require.EqualValues(t, 51*(12+payload), st.BytesOut)
			require.WithinDuration(t, time.Now(), st.LastPacket, time.Second)
			require.Equal(t, []flow.SourceStatistics{{
				SSRC: 7, PayloadType: 8, Packets: 51, Bytes: 51 * (12 + payload), LastSequence: 51, LastTimestamp: 51 * 160,
			}}, st.Sources)
		})
	}
}
