package flow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

var start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// newStream makes a stream over a real socket, which nobody reads.
func newStream(t testing.TB) *Stream {
	t.Helper()
	c, err := udp.Listen(addr("127.0.0.1:0"), udp.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return NewStream(c, 1, start)
}

// rtpPacket is a packet in a buffer with room for protection.
func rtpPacket(ssrc uint32, seq uint16) []byte {
	b := make([]byte, 172, 172+secure.Overhead)
	b[0], b[1] = 0x80, 8
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	copy(b[12:], "sound")
	return b
}

func rtcpPacket(ssrc uint32) []byte {
	b := make([]byte, 8, 8+secure.Overhead)
	b[0], b[1], b[3] = 0x80, 201, 1
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return b
}

// pair is a stream that receives and one that sends to a known peer.
type pair struct {
	in, out *Stream
	batch   *Batch
}

var sipPhone, sink = addr("192.0.2.10:4000"), addr("198.51.100.1:6000")

func newPair(t testing.TB, r Route) *pair {
	t.Helper()
	p := &pair{in: newStream(t), out: newStream(t), batch: NewBatch()}
	p.out.SetRoute(&Route{Endpoint: sink})
	if r.Media == nil {
		r.Media = []Output{{Stream: p.out}}
	}
	if r.ControlOut == nil {
		r.ControlOut = []Output{{Stream: p.out}}
	}
	p.in.SetRoute(&r)
	return p
}

// handle returns what one packet leads to.
func (p *pair) handle(pkt []byte, src netip.AddrPort, at time.Duration) []Datagram {
	p.batch.Reset()
	p.in.Handle(pkt, src, start.Add(at), p.batch)
	return p.batch.Datagrams()
}

func TestRelay(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Muxed: true})
	pkt := rtpPacket(1, 1)
	got := p.handle(pkt, sipPhone, 0)
	require.Len(t, got, 1)
	require.Equal(t, sink, got[0].To)
	require.Same(t, p.out, got[0].Stream)
	require.Same(t, &pkt[0], &got[0].Packet[0], "no copy")
	got = p.handle(rtcpPacket(1), sipPhone, 0)
	require.Len(t, got, 1)
	st := p.in.Statistics()
	require.Equal(t, uint64(2), st.PacketsIn)
	require.Equal(t, uint64(180), st.BytesIn)
	require.Zero(t, st.ErrorsIn)
	require.Equal(t, start, st.LastPacket.UTC())
}

func TestMuxedAndSeparateControl(t *testing.T) {
	rtcpOut := newStream(t)
	rtcpOut.SetRoute(&Route{Endpoint: addr("198.51.100.1:6001"), Control: true})
	p := newPair(t, Route{Endpoint: sipPhone, Muxed: true, ControlOut: []Output{{Stream: rtcpOut}}})
	got := p.handle(rtcpPacket(1), sipPhone, 0)
	require.Len(t, got, 1)
	require.Equal(t, addr("198.51.100.1:6001"), got[0].To, "muxed in, own port out")

	p = newPair(t, Route{Endpoint: sipPhone, Control: true})
	require.Len(t, p.handle(rtcpPacket(1), sipPhone, 0), 1, "own port in, muxed out")
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0), "RTP on the RTCP port")

	p = newPair(t, Route{Endpoint: sipPhone, ControlOut: []Output{{Stream: rtcpOut}}})
	got = p.handle(rtcpPacket(1), sipPhone, 0)
	require.Len(t, got, 1, "RTCP on the RTP port without rtcp-mux")
	require.Equal(t, sink, got[0].To, "goes where it is expected as little")
}

func TestDropStillCountsAndLearns(t *testing.T) {
	p := newPair(t, Route{Drop: true, Learning: Immediate})
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0))
	require.Equal(t, uint64(1), p.in.Statistics().PacketsIn)
	require.Equal(t, sipPhone, p.in.Destination())
}

func TestSeveralOutputs(t *testing.T) {
	key, err := secure.NewKey(secure.AESCM12880)
	require.NoError(t, err)
	outbound, err := secure.NewOutbound(key)
	require.NoError(t, err)
	inbound, err := secure.NewInbound(key)
	require.NoError(t, err)
	a, b := newStream(t), newStream(t)
	a.SetRoute(&Route{Endpoint: addr("198.51.100.7:1")})
	b.SetRoute(&Route{Endpoint: addr("198.51.100.7:2")})
	p := newPair(t, Route{Media: []Output{{Stream: a, Encrypted: true, Outbound: outbound}, {Stream: b}}})
	want := rtpPacket(1, 1)
	got := p.handle(rtpPacket(1, 1), sipPhone, 0)
	require.Len(t, got, 2)
	require.Equal(t, want, got[1].Packet, "protection for one receiver must not touch the other's packet")
	plain, err := inbound.UnprotectRTP(nil, got[0].Packet)
	require.NoError(t, err)
	require.Equal(t, want, plain)
}

func TestEncryptedWithoutKeys(t *testing.T) {
	p := newPair(t, Route{Encrypted: true, Learning: Immediate})
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0), "no keys yet")
	require.False(t, p.in.Destination().IsValid(), "nothing is learned from what cannot be checked")
	out := newStream(t)
	out.SetRoute(&Route{Endpoint: sink})
	p = newPair(t, Route{Media: []Output{{Stream: out, Encrypted: true}}})
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0), "plain must not go where SRTP is wanted")
	require.Equal(t, uint64(1), out.Statistics().ErrorsOut)
}

// TestForgedSRTPIsNotLearnedFrom is RTP bleed's cure: only the holder of the key moves the stream.
func TestForgedSRTPIsNotLearnedFrom(t *testing.T) {
	key, err := secure.NewKey(secure.AEADAES128GCM)
	require.NoError(t, err)
	inbound, err := secure.NewInbound(key)
	require.NoError(t, err)
	peer, err := secure.NewOutbound(key)
	require.NoError(t, err)
	for _, learning := range []Learning{Heuristic, Delayed, Immediate} {
		p := newPair(t, Route{Endpoint: sipPhone, Encrypted: true, Inbound: inbound, Learning: learning, Muxed: true})
		require.Empty(t, p.handle(rtpPacket(1, 1), addr("203.0.113.66:1"), 0))
		require.Empty(t, p.handle(rtcpPacket(1), addr("203.0.113.66:1"), 0))
		require.Equal(t, sipPhone, p.in.Destination())
		pkt := rtpPacket(1, uint16(learning)+1)
		protected, err := peer.ProtectRTP(pkt[:0], pkt)
		require.NoError(t, err)
		require.Len(t, p.handle(protected, addr("192.0.2.10:9999"), 0), 1)
		require.Equal(t, addr("192.0.2.10:9999"), p.in.Destination(), learning)
		require.Equal(t, uint64(2), p.in.Statistics().ErrorsIn)
	}
}

// gate is an ICE agent and DTLS endpoint that remembers what it got.
type gate struct {
	allowed netip.AddrPort
	got     []string
}

func (g *gate) Allows(src netip.AddrPort) bool { return src == g.allowed }
func (g *gate) HandlePacket(pkt []byte, src netip.AddrPort) {
	g.got = append(g.got, fmt.Sprintf("%d from %s", pkt[0], src))
}

func TestICEGate(t *testing.T) {
	checked, stranger := addr("192.0.2.1:1000"), addr("203.0.113.66:1")
	ice, dtls := &gate{allowed: checked}, &gate{}
	p := newPair(t, Route{ICE: ice, DTLS: dtls, Endpoint: sipPhone, Learning: Immediate, Muxed: true})
	require.False(t, p.in.Destination().IsValid(), "without a selected pair there is no destination, whatever SDP says")

	stun, hello := make([]byte, 20), make([]byte, 20)
	hello[0] = 22
	p.handle(stun, stranger, 0)
	require.Equal(t, []string{"0 from " + stranger.String()}, ice.got, "STUN comes before everything")
	p.handle(hello, stranger, 0)
	require.Empty(t, dtls.got, "DTLS of an unchecked source")
	require.Empty(t, p.handle(rtpPacket(1, 1), stranger, 0))
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0), "the endpoint in SDP is not a checked source")
	require.Equal(t, uint64(2), p.in.Statistics().ErrorsIn, "two packets of media; DTLS is repeated")

	p.handle(hello, checked, 0)
	require.Len(t, dtls.got, 1)
	require.Len(t, p.handle(rtpPacket(1, 1), checked, 0), 1, "checked and not selected yet")
	require.False(t, p.in.Destination().IsValid(), "media moves nothing with ICE")

	selected := addr("192.0.2.2:2000")
	p.in.Select(selected)
	require.Equal(t, selected, p.in.Destination())
	require.Len(t, p.handle(rtpPacket(1, 2), selected, 0), 1)
	p.in.Reopen(start)
	p.handle(rtpPacket(1, 3), checked, 0)
	require.Equal(t, selected, p.in.Destination())

	p.in.SetRoute(&Route{Endpoint: sipPhone}) // ICE is given up by a re-offer
	require.Equal(t, sipPhone, p.in.Destination())
}

func TestSTUNAndDTLSWithoutHandlers(t *testing.T) {
	p := newPair(t, Route{})
	for _, first := range []byte{0, 1, 22, 64, 200, 255} {
		pkt := make([]byte, 40)
		pkt[0] = first
		require.Empty(t, p.handle(pkt, sipPhone, 0))
	}
	require.Empty(t, p.handle(nil, sipPhone, 0))
}

func TestOpaque(t *testing.T) {
	p := newPair(t, Route{Opaque: true, Endpoint: sipPhone, Learning: Immediate})
	got := p.handle([]byte{0, 1, 2, 3}, addr("192.0.2.10:4002"), 0)
	require.Len(t, got, 1)
	require.Equal(t, []byte{0, 1, 2, 3}, got[0].Packet)
	require.Equal(t, addr("192.0.2.10:4002"), p.in.Destination())
	require.Empty(t, p.handle(nil, sipPhone, 0))
}

func TestRetiredOutput(t *testing.T) {
	p := newPair(t, Route{})
	p.out.Retire()
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0))
	require.ErrorIs(t, p.out.Send([]byte("x"), sink), ErrClosed)
	require.ErrorIs(t, p.in.Send([]byte("x"), netip.AddrPort{}), ErrNoDestination)
}

func TestSources(t *testing.T) {
	p := newPair(t, Route{})
	for _, seq := range []uint16{65534, 65535, 1, 0, 4} { // 2 and 3 lost, 0 late
		p.handle(rtpPacket(7, seq), sipPhone, 0)
	}
	for ssrc := range uint32(10) {
		p.handle(rtpPacket(100+ssrc, 1), sipPhone, 0)
	}
	p.handle(rtpPacket(7, 5), sipPhone, 0)
	st := p.in.Statistics()
	require.Len(t, st.Sources, maxSources)
	require.Equal(t, SourceStatistics{SSRC: 7, PayloadType: 8, Packets: 6, Bytes: 6 * 172, Lost: 2, LastSequence: 65536 + 5}, st.Sources[0])
	require.Equal(t, uint64(16), st.PacketsIn)
}

func TestBatchIsBounded(t *testing.T) {
	p := newPair(t, Route{})
	outs := make([]Output, 20)
	for i := range outs {
		outs[i] = Output{Stream: p.out}
	}
	p.in.SetRoute(&Route{Media: outs})
	p.batch.Reset()
	for p.batch.Room() {
		p.in.Handle(rtpPacket(1, 1), sipPhone, start, p.batch)
	}
	require.LessOrEqual(t, len(p.batch.Datagrams()), batchSize)
	for range 10 {
		p.in.Handle(rtpPacket(1, 1), sipPhone, start, p.batch)
	}
	require.LessOrEqual(t, len(p.batch.Datagrams()), batchSize)
	large := make([]byte, PacketSize)
	copy(large, rtpPacket(1, 1))
	p.batch.Reset()
	p.in.Handle(large, sipPhone, start, p.batch)
	require.Len(t, p.batch.Datagrams(), 1, "what cannot be copied goes to one output only")
}
