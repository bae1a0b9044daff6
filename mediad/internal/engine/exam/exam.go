// Package exam has the tests that every engine must pass, for the engines' own tests: plain relaying and a WebRTC peer, on loopback.
package exam

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	pionrtp "github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
)

// Open starts the engine that is examined. Each call makes another one.
type Open func(t *testing.T, workers int, onPanic func(value any, stack []byte)) engine.Engine

// Run examines an engine.
func Run(t *testing.T, open Open) {
	for _, e := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"plain call", plainCall},
		{"many calls", manyCalls},
		{"detach under load", detachUnderLoad},
		{"close", closing},
		{"oversized datagrams", oversizedDatagrams},
		{"unreachable peer", unreachablePeer},
		{"panic is contained", panicIsContained},
		{"move loses nothing", moveLosesNothing},
		{"move and detach", moveAndDetach},
		{"browser to phone", browserToPhone},
		{"browser restarts ICE", browserRestartsICE},
	} {
		t.Run(e.name, func(t *testing.T) { e.test(t, open) })
	}
}

// leg is one side of a hand-wired call: what the call package builds for one media of a party.
type leg struct {
	pair *ports.Pair
	rtp  *flow.Stream
	rtcp *flow.Stream
}

func start(t *testing.T, open Open, workers int) engine.Engine {
	t.Helper()
	e := open(t, workers, nil)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func newRegistry(t *testing.T, e engine.Engine, local string) *ports.Registry {
	t.Helper()
	r, err := ports.New([]ports.Interface{{Name: "default", Addresses: []ports.Address{
		{Local: netip.MustParseAddr(local), Min: 20000, Max: 60000},
	}}}, ports.Options{Open: e.OpenPair})
	require.NoError(t, err)
	return r
}

// phone is a plain RTP endpoint.
type phone struct {
	conn *net.UDPConn
}

func newPhone(t *testing.T, local string) *phone {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &phone{c}
}

func (p *phone) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func rtpPacket(t *testing.T, ssrc uint32, seq uint16, payload string) []byte {
	t.Helper()
	b, err := (&pionrtp.Packet{
		Header:  pionrtp.Header{Version: 2, PayloadType: 0, SequenceNumber: seq, Timestamp: uint32(seq) * 160, SSRC: ssrc},
		Payload: []byte(payload),
	}).Marshal()
	require.NoError(t, err)
	return b
}

// connectPlain routes two plain legs to each other.
func connectPlain(a, b *leg, toA, toB netip.AddrPort) {
	set := func(from, to *leg, peer netip.AddrPort) {
		from.rtp.SetRoute(&flow.Route{Endpoint: peer, Media: []flow.Output{{Stream: to.rtp}}})
		from.rtcp.SetRoute(&flow.Route{
			Endpoint: netip.AddrPortFrom(peer.Addr(), peer.Port()+1), Control: true, ControlOut: []flow.Output{{Stream: to.rtcp}},
		})
	}
	set(a, b, toA)
	set(b, a, toB)
}

// rtpPorts is a phone with an RTP and an RTCP port side by side.
type rtpPorts struct{ rtp, rtcp *phone }

func newRTPPorts(t *testing.T, local string) rtpPorts {
	t.Helper()
	addr := netip.MustParseAddr(local)
	for range 200 {
		p := newPhone(t, local)
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, p.addr().Port()+1)))
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = c.Close() })
		return rtpPorts{p, &phone{c}}
	}
	t.Fatal("no pair of ports")
	return rtpPorts{}
}

func (p *phone) expect(t *testing.T, want []byte) netip.AddrPort {
	t.Helper()
	buf := make([]byte, 3000)
	require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(3*time.Second)))
	n, src, err := p.conn.ReadFromUDPAddrPort(buf)
	require.NoError(t, err)
	require.Equal(t, want, buf[:n])
	return netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
}

func (p *phone) send(t *testing.T, pkt []byte, to netip.AddrPort) {
	t.Helper()
	_, err := p.conn.WriteToUDPAddrPort(pkt, to)
	require.NoError(t, err)
}

func report(ssrc uint32) []byte {
	b := make([]byte, 8)
	b[0], b[1], b[3] = 0x80, 201, 1
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return b
}

func newLeg(t *testing.T, e engine.Engine, r *ports.Registry, shard uint64) *leg {
	t.Helper()
	pair, err := r.Allocate("", ports.AnyFamily)
	require.NoError(t, err)
	now := time.Now()
	l := &leg{pair: pair, rtp: flow.NewStream(pair.RTP, shard, now), rtcp: flow.NewStream(pair.RTCP, shard, now)}
	require.NoError(t, e.Attach(l.rtp))
	require.NoError(t, e.Attach(l.rtcp))
	t.Cleanup(func() {
		e.Detach(l.rtp)
		e.Detach(l.rtcp)
		pair.Release()
	})
	return l
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/" + strconv.Itoa(os.Getpid()) + "/fd")
	require.NoError(t, err)
	return len(d)
}
