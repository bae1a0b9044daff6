package quality

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// Two parties, A and B, whose sources have these SSRCs.
const ssrcA, ssrcB = 0xa, 0xb

func senderReport(ssrc, ntp uint32, blocks ...block) []byte {
	b := append([]byte{0x80 | byte(len(blocks)), typeSR, 0, 0}, make([]byte, 4+senderInfoSize)...)
	binary.BigEndian.PutUint32(b[4:], ssrc)
	binary.BigEndian.PutUint32(b[10:], ntp)
	return withBlocks(b, blocks)
}

func receiverReport(ssrc uint32, blocks ...block) []byte {
	b := append([]byte{0x80 | byte(len(blocks)), typeRR, 0, 0}, make([]byte, 4)...)
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return withBlocks(b, blocks)
}

func withBlocks(b []byte, blocks []block) []byte {
	for _, k := range blocks {
		b = binary.BigEndian.AppendUint32(b, k.source)
		b = binary.BigEndian.AppendUint32(b, uint32(k.fractionLost)<<24|k.lost&0xffffff)
		for _, v := range []uint32{0, k.jitter, k.lastSR, k.delay} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	return b
}

// known is a table of a call whose parties have sent audio.
func known(m Model) *Table {
	t := NewTable(m)
	t.Learn(ssrcA, 8000)
	t.Learn(ssrcB, 8000)
	return t
}

// exchange lets both send a report and report about the other one: A is 30 ms away from the relay, B 20 ms.
func exchange(t *Table, at time.Time, ntp uint32, aboutB, aboutA block) {
	t.Control(senderReport(ssrcA, ntp), at)
	t.Control(senderReport(ssrcB, ntp), at)
	aboutA.source, aboutA.lastSR, aboutA.delay = ssrcA, ntp, 65536/100
	aboutB.source, aboutB.lastSR, aboutB.delay = ssrcB, ntp, 65536/100
	t.Control(receiverReport(ssrcB, aboutA), at.Add(30*time.Millisecond))
	t.Control(receiverReport(ssrcA, aboutB), at.Add(40*time.Millisecond))
}

func TestScore(t *testing.T) {
	// Values computed by rtpengine 10.5 from reports on the wire.
	for _, c := range []struct {
		roundTrip    time.Duration
		jitter, loss int
		want         int
	}{
		{50569 * time.Microsecond, 378, 6, 10},
		{40569 * time.Microsecond, 238, 2, 24},
		{50561 * time.Microsecond, 3, 20, 21},
		{40617 * time.Microsecond, 83, 1, 40},
		{40508 * time.Microsecond, 14, 8, 36},
		{20624 * time.Microsecond, 5, 0, 43},
		{time.Hour, 60000, 100, 10},
	} {
		got, ok := CQ.score(c.roundTrip, time.Duration(c.jitter)*time.Millisecond, c.loss)
		require.True(t, ok)
		require.Equal(t, c.want, got, "%+v", c)
	}
	_, ok := CQ.score(0, 0, 0)
	require.False(t, ok)
	got, ok := LQ.score(0, 20*time.Millisecond, 3)
	require.True(t, ok)
	require.Equal(t, 41, got)
}

func TestRoundTripAddsUpBothLegs(t *testing.T) {
	q := known(CQ)
	exchange(q, start, 0x1234, block{}, block{})
	s := q.Summaries()
	require.Len(t, s, 1, "when B reported, nothing was known of A's leg yet")
	require.Equal(t, uint32(ssrcA), s[0].SSRC)
	a := s[0].Average
	require.InDelta(t, 30000, a.Leg.Microseconds(), 50)
	require.InDelta(t, 50000, a.RoundTrip.Microseconds(), 100)

	exchange(q, start.Add(2*time.Second), 0x99, block{fractionLost: 26, lost: 7, jitter: 160}, block{})
	s = q.Summaries()
	require.Len(t, s, 2)
	require.Equal(t, uint32(7), s[0].Lost)
	require.Equal(t, int64(2), s[0].Samples)
	require.Equal(t, 20*time.Millisecond, s[0].Lowest.Jitter)
	require.Equal(t, 10, s[0].Lowest.Loss)
	require.Equal(t, 10*time.Millisecond, s[0].Average.Jitter)
	require.Greater(t, s[0].Highest.MOS, s[0].Lowest.MOS)
	require.Equal(t, int64(1), s[1].Samples)
	require.Len(t, s[1].Progression, 2, "the unscored sample is part of the progression")
	require.Zero(t, s[1].Progression[0].MOS)
	sums := q.Sums()
	require.Equal(t, uint64(3), sums.MOS.Samples)
	require.Equal(t, uint64(4), sums.Leg.Samples)
	require.InDelta(t, 43, 10*sums.MOS.Average(), 5)
}

func TestReportsWithoutUse(t *testing.T) {
	q := NewTable(CQ) // no RTP seen: no clock rate
	exchange(q, start, 1, block{}, block{})
	exchange(q, start.Add(2*time.Second), 2, block{}, block{})
	require.Empty(t, q.Summaries())

	q = known(LQ)
	q.Control(receiverReport(ssrcA, block{source: ssrcB, jitter: 8}), start)
	require.Empty(t, q.Summaries(), "no LSR")
	q.Control(receiverReport(ssrcA, block{source: ssrcB, jitter: 8, lastSR: 77}), start)
	require.Empty(t, q.Summaries(), "no DLSR")
	q.Control(receiverReport(ssrcA, block{source: ssrcB, jitter: 8, lastSR: 77, delay: 1}), start)
	require.Len(t, q.Summaries(), 1, "an unknown LSR does for listening quality")
	q.Control(receiverReport(ssrcA, block{source: ssrcB, jitter: 80000, lastSR: 77, delay: 1}), start.Add(spacing/2))
	require.Equal(t, int64(1), q.Summaries()[0].Samples, "too soon")

	q = known(CQ)
	q.Control(senderReport(ssrcB, 5), start)
	q.Control(receiverReport(ssrcA, block{source: ssrcB, lastSR: 5, delay: 1 << 31}), start.Add(time.Second))
	require.Zero(t, q.find(ssrcB).leg, "a delay longer than the time that has passed")
}

func TestProgression(t *testing.T) {
	q := known(CQ)
	for i := range 101 {
		exchange(q, start.Add(time.Duration(i)*time.Second), uint32(i+1), block{}, block{})
	}
	p := q.Summaries()[0]
	require.Equal(t, int64(10), p.Interval)
	require.Len(t, p.Progression, 11)
	for i, v := range p.Progression {
		require.Equal(t, start.Unix()+int64(10*i), v.At.Unix())
	}
	for i := range 10000 {
		exchange(q, start.Add(time.Duration(200+i)*time.Second), uint32(i+1), block{}, block{})
	}
	p = q.Summaries()[0]
	require.LessOrEqual(t, len(q.find(ssrcA).history), maxHistory)
	require.Equal(t, int64(10101), p.Samples)
	require.InDelta(t, 11, len(p.Progression), 2)
	require.Equal(t, start.Unix(), p.Progression[0].At.Unix(), "the first one stays")
}

func TestSourcesAreBounded(t *testing.T) {
	q := known(CQ)
	for ssrc := range uint32(100000) {
		q.Control(senderReport(1000+ssrc, 1), start)
	}
	require.Len(t, q.sources, MaxSources)
	exchange(q, start, 2, block{}, block{})
	require.Len(t, q.Summaries(), 1, "a flood does not push out who was there")
}

func TestNoAllocation(t *testing.T) {
	q := known(CQ)
	sr, rr := senderReport(ssrcA, 1), receiverReport(ssrcB, block{source: ssrcA, lastSR: 1, delay: 1})
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q.Control(sr, start)
		q.Control(rr, start)
	}))
}

// FuzzControl feeds reports that lie about their lengths.
func FuzzControl(f *testing.F) {
	rr := receiverReport(ssrcB, block{source: ssrcA, lastSR: 1, delay: 1, jitter: 1}, block{source: 9, lastSR: 1, delay: 1})
	f.Add(rr)
	f.Add(senderReport(ssrcA, 1, block{source: ssrcB, lastSR: 1, fractionLost: 255, lost: 0xffffff, jitter: 0xffffffff, delay: 0xffffffff}))
	f.Add(append(rr[:8:8], rr...))
	f.Add([]byte{0x9f, typeSR, 0, 6, 0, 0, 0, 1})
	f.Add([]byte{0x80, typeRR, 0, 0})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		q := known(LQ)
		for i := range 3 {
			q.Control(pkt, start.Add(time.Duration(i)*time.Minute))
		}
		for _, s := range q.Summaries() {
			for _, v := range s.Progression {
				if v.MOS < 9 || v.MOS > 45 || v.Jitter < 0 || v.RoundTrip < 0 || v.Loss < 0 || v.Loss > 100 {
					t.Fatalf("impossible: %+v", v)
				}
			}
		}
	})
}
