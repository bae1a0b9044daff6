package flow

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// witness is an Observer that remembers.
type witness struct {
	events  []Event
	control int
}

func (w *witness) Event(e Event, _ netip.AddrPort, _ time.Time)       { w.events = append(w.events, e) }
func (w *witness) Control(_ []byte, _, _ netip.AddrPort, _ time.Time) { w.control++ }

// telephony are payload types as most phones have them.
func telephony() *Payloads {
	p := &Payloads{}
	p.Clock[8], p.Clock[101] = 8000, 8000
	p.Events[101] = true
	return p
}

func eventPacket(timestamp uint32, code, volume byte, duration uint16) []byte {
	b := make([]byte, 16, 16+secure.Overhead)
	b[0], b[1] = 0x80, 101
	binary.BigEndian.PutUint32(b[4:], timestamp)
	b[12], b[13] = code, volume
	binary.BigEndian.PutUint16(b[14:], duration)
	return b
}

func TestEventsAreToldOnce(t *testing.T) {
	w := &witness{}
	p := newPair(t, Route{Payloads: telephony(), Observer: w, Drop: true})
	const end = 0x80
	for _, pkt := range [][]byte{
		eventPacket(0, 5, 10, 160), eventPacket(0, 5, 10, 320), // going on
		eventPacket(0, 5, end|10, 640), eventPacket(0, 5, end|10, 640), eventPacket(0, 5, end|10, 640),
		eventPacket(1000, 11, end|63, 800),
		eventPacket(2000, 1, 10, 160),      // never ends
		eventPacket(3000, 2, end, 80)[:15], // cut
		rtpPacket(1, 1),                    // sound
	} {
		p.handle(pkt, sipPhone, 0)
	}
	require.Equal(t, []Event{{5, 10, 80 * time.Millisecond}, {11, 63, 100 * time.Millisecond}}, w.events)
}

func TestControlIsShown(t *testing.T) {
	w := &witness{}
	p := newPair(t, Route{Observer: w, Muxed: true})
	p.handle(rtcpPacket(1), sipPhone, 0)
	require.Equal(t, 1, w.control)
	p.handle(rtcpPacket(1)[:7], sipPhone, 0)
	require.Equal(t, 1, w.control, "malformed")
}

func TestQualityLearnsClocks(t *testing.T) {
	q := quality.NewTable(quality.LQ)
	p := newPair(t, Route{Payloads: telephony(), Quality: q, Muxed: true})
	report := rtcpPacket(9) // about source 1, 160 units of jitter
	report = append(report, make([]byte, reportBlockSize)...)
	report[0], report[3] = 0x81, 7
	binary.BigEndian.PutUint32(report[8:], 1)
	binary.BigEndian.PutUint32(report[20:], 160)
	binary.BigEndian.PutUint32(report[24:], 77)
	report[31] = 1 // DLSR
	p.handle(report, sipPhone, 0)
	require.Empty(t, q.Summaries(), "source 1 has not been heard")
	p.handle(rtpPacket(1, 1), sipPhone, 0)
	p.handle(report, sipPhone, 0)
	require.Len(t, q.Summaries(), 1)
	require.Equal(t, 20*time.Millisecond, q.Summaries()[0].Average.Jitter)
}

// TestReports: with RTCP of our own nothing of the peers' passes, and each gets reports that fit what is relayed.
func TestReports(t *testing.T) {
	q := quality.NewTable(quality.CQ)
	a, b := newStream(t), newStream(t) // facing A and B
	aAddr, bAddr := sipPhone, sink
	toA, toB := Output{Stream: a}, Output{Stream: b}
	reportA := &Report{Of: a, To: toA, Hears: b, Interval: 5 * time.Second, Name: "relay"}
	reportB := &Report{Of: b, To: toB, Hears: a, Interval: 5 * time.Second, Name: "relay"}
	route := func(end netip.AddrPort, own *Report, out Output, other *Report) *Route {
		out.Report = other
		return &Route{
			Endpoint: end, Muxed: true, Payloads: telephony(), Quality: q, Report: own,
			Media: []Output{out}, ControlOut: []Output{out},
		}
	}
	a.SetRoute(route(aAddr, reportA, toB, reportB))
	b.SetRoute(route(bAddr, reportB, toA, reportA))
	batch := NewBatch()
	at := start
	var toBoth [2][][]byte
	take := func() {
		for _, d := range batch.Datagrams() {
			if rtp.Classify(d.Packet) == rtp.Control {
				i := 0
				if d.Stream == b {
					i = 1
				}
				toBoth[i] = append(toBoth[i], append([]byte(nil), d.Packet...))
			}
		}
		batch.Reset()
	}
	for i := range uint16(600) { // 12 s of A; B is silent and loses nothing
		at = at.Add(20 * time.Millisecond)
		pkt := rtpPacket(1, 1000+i+i/100) // one of a hundred is lost
		binary.BigEndian.PutUint32(pkt[4:], 160*uint32(i))
		a.Handle(pkt, aAddr, at, batch)
		take()
	}
	require.Len(t, toBoth[0], 2)
	require.Len(t, toBoth[1], 2)

	sr := toBoth[1][1]
	require.Equal(t, byte(typeSR), sr[1])
	require.Equal(t, uint32(1), binary.BigEndian.Uint32(sr[4:]), "the sender that B hears")
	packets := binary.BigEndian.Uint32(sr[20:])
	require.InDelta(t, 500, packets, 60)
	require.Equal(t, 160*packets, binary.BigEndian.Uint32(sr[24:]))
	require.Equal(t, 160*(packets-1), binary.BigEndian.Uint32(sr[16:]), "timestamp of the packet at hand")
	require.Equal(t, byte(typeSDES), sr[29])
	require.Equal(t, "relay", string(sr[38:43]))
	require.Zero(t, len(sr)%4)

	rr := toBoth[0][1]
	require.Equal(t, byte(typeRR), rr[1], "A hears nobody")
	require.Equal(t, uint32(1), binary.BigEndian.Uint32(rr[8:]))
	require.InDelta(t, 2, rr[12], 2, "a hundredth of 256")
	require.InDelta(t, 5, binary.BigEndian.Uint32(rr[12:])&0xffffff, 1)

	// B's own RTCP ends here, and tells about the round trip to B.
	own := rtcpPacket(2)
	b.Handle(own, bAddr, at, batch)
	require.Empty(t, batch.Datagrams())
	about := append(rtcpPacket(2), make([]byte, reportBlockSize)...)
	about[0], about[3] = 0x81, 7
	binary.BigEndian.PutUint32(about[8:], 1)
	copy(about[24:], sr[10:14])
	about[31] = 1 // DLSR
	b.Handle(about, bAddr, at.Add(time.Second), batch)
	require.Equal(t, uint64(1), q.Sums().Leg.Samples)
}

func TestReportsMakeNoGarbage(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Payloads: telephony(), Quality: quality.NewTable(quality.CQ)})
	r := *p.in.Route()
	r.Report = &Report{Of: p.in, To: Output{Stream: p.in}, Hears: p.out, Interval: time.Second, Name: "relay"}
	p.in.SetRoute(&r)
	at, pkt := start, rtpPacket(1, 1)
	sent := 0
	step := func() {
		at = at.Add(2 * time.Second)
		p.batch.Reset()
		p.in.Handle(pkt, sipPhone, at, p.batch)
		sent = len(p.batch.Datagrams())
	}
	step()
	allocs := testing.AllocsPerRun(100, step)
	require.Equal(t, 2, sent, "packet and report")
	if !raceEnabled {
		require.Zero(t, allocs)
	}
}

func TestLoudSourcesStay(t *testing.T) {
	p := newPair(t, Route{})
	for seq := range uint16(100) {
		p.handle(rtpPacket(7, seq), sipPhone, 0)
	}
	for ssrc := range uint32(1000) {
		p.handle(rtpPacket(100+ssrc, 1), sipPhone, 0)
	}
	st := p.in.Statistics()
	require.Equal(t, uint32(7), st.Sources[0].SSRC)
	require.Equal(t, uint64(100), st.Sources[0].Packets)
	require.Equal(t, uint32(1099), st.SSRC, "the latest one")
}
