package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/quality"
)

// crowd are the receiving streams of many calls.
func crowd(t testing.TB, calls int) []*Stream {
	t.Helper()
	var all []*Stream
	payloads := telephony()
	for range calls {
		o := newStream(t)
		o.SetRoute(&Route{Endpoint: sink})
		s := newStream(t)
		s.SetRoute(&Route{
			Endpoint: sipPhone, Muxed: true, Payloads: payloads, Quality: quality.NewTable(quality.CQ), Observer: &witness{},
			Media: []Output{{Stream: o}}, ControlOut: []Output{{Stream: o}},
		})
		all = append(all, s)
	}
	return all
}

// TestWarm: reading ahead changes nothing, whatever state streams are in.
func TestWarm(t *testing.T) {
	streams := crowd(t, maxWarm+8)
	streams[1].SetRoute(&Route{Drop: true})
	streams[2].Route().Media[0].Stream.SetRoute(&Route{}) // no destination
	batch := NewBatch()
	for range 2 { // before and after the first packet
		before := make([]Statistics, len(streams))
		for i, s := range streams {
			before[i] = s.Statistics()
		}
		Warm(streams)
		for i, s := range streams {
			require.Equal(t, before[i], s.Statistics())
			batch.Reset()
			s.Handle(rtpPacket(1, 0), sipPhone, start, batch)
		}
	}
	require.Zero(t, Warm(nil))
	require.Zero(t, testing.AllocsPerRun(100, func() { Warm(streams) }))
}

// BenchmarkCrowd handles batches of 16 packets of 8,000 calls in no order, with and without Warm.
func BenchmarkCrowd(b *testing.B) {
	const calls, size = 8000, 16
	for name, warm := range map[string]func([]*Stream) uint64{"warm": Warm, "cold": func([]*Stream) uint64 { return 0 }} {
		b.Run(name, func(b *testing.B) {
			streams := crowd(b, calls)
			rand.Shuffle(calls, func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
			batch, pkt, later := NewBatch(), rtpPacket(1, 0), start.Add(learningTime)
			seq, at := uint16(0), 0
			for b.Loop() {
				if at+size > calls {
					at = 0
					seq++
				}
				batch.Reset()
				warm(streams[at : at+size])
				for _, s := range streams[at : at+size] {
					binary.BigEndian.PutUint16(pkt[2:], seq)
					s.Handle(pkt, sipPhone, later, batch)
				}
				at += size
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/packet")
		})
	}
}
