package flow

import (
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// maxSources is the number of RTP sources of one stream that are told apart. When there are more, the one that has sent least gives
// way: a flood of sources pushes out nobody who talks.
const maxSources = 4

// sources are the statistics by SSRC, written by the worker alone.
type sources struct {
	list   *[maxSources]source // made with the first one: RTCP has none, nor has a call that nobody talks in; readers look at used before
	used   atomic.Int32
	latest atomic.Int32 // index of the source of the last packet
	turned bool         // another one than before; of the worker alone
}

type source struct {
	ssrc        atomic.Uint32
	payloadType atomic.Uint32
	packets     atomic.Uint64
	bytes       atomic.Uint64
	first       atomic.Uint32 // extended sequence number of the first packet
	position    atomic.Uint64 // extended highest sequence number, and the timestamp that came with it
	timing      timing        // of the worker alone
}

// timing is what reports need to know of a source.
type timing struct {
	told    atomic.Uint32 // clock rate that quality knows; read by anybody
	clock   uint32        // clock rate that transit is measured in
	transit uint32
	jitter  uint32    // × 16 (RFC 3550 §A.8)
	arrival time.Time // of the packet with the highest sequence number

	reported         uint32 // extended highest sequence number and
	reportedReceived uint64 // packets received when a report was last made

	sr   uint32 // middle of the NTP time of the last sender report
	srAt time.Time
}

func (t *timing) reset() {
	t.told.Store(0)
	t.clock, t.transit, t.jitter, t.arrival = 0, 0, 0, time.Time{}
	t.reported, t.reportedReceived, t.sr, t.srAt = 0, 0, 0, time.Time{}
}

// count takes a packet into the statistics of its source, and returns them.
func (s *sources) count(p rtp.Packet) *source {
	src := s.find(p.SSRC(), p.Sequence())
	src.packets.Add(1)
	src.bytes.Add(uint64(len(p)))
	if pt := uint32(p.PayloadType()); src.payloadType.Load() != pt {
		src.payloadType.Store(pt)
	}
	if highest := src.highest(); rtp.SequenceAfter(uint16(highest), p.Sequence()) {
		src.place(highest+uint32(rtp.SequenceDistance(uint16(highest), p.Sequence())), p.Timestamp())
	} else if uint16(highest) == p.Sequence() {
		src.place(highest, p.Timestamp())
	}
	return src
}

func (s *source) highest() uint32 { return uint32(s.position.Load() >> 32) }

func (s *source) place(highest, timestamp uint32) {
	s.position.Store(uint64(highest)<<32 | uint64(timestamp))
}

// find returns the statistics of a source, new ones if there are none.
func (s *sources) find(ssrc uint32, seq uint16) *source {
	used, latest := s.used.Load(), s.latest.Load()
	if used > 0 && s.list[latest].ssrc.Load() == ssrc {
		return &s.list[latest]
	}
	for i := range used {
		if s.list[i].ssrc.Load() == ssrc {
			s.latest.Store(i)
			s.turned = true
			return &s.list[i]
		}
	}
	at := used
	if used == maxSources {
		at = s.quietest()
	}
	if s.list == nil {
		s.list = new([maxSources]source)
	}
	src := &s.list[at]
	src.packets.Store(0)
	src.bytes.Store(0)
	src.ssrc.Store(ssrc)
	src.first.Store(uint32(seq))
	src.place(uint32(seq), 0)
	src.timing.reset()
	s.latest.Store(at)
	s.used.Store(max(used, at+1))
	s.turned = true
	return src
}

// quietest is the index of the source that has sent the fewest packets.
func (s *sources) quietest() (at int32) {
	for i := range int32(maxSources) {
		if s.list[i].packets.Load() < s.list[at].packets.Load() {
			at = i
		}
	}
	return at
}

// lookup returns the statistics of a source, nil if there are none.
func (s *sources) lookup(ssrc uint32) *source {
	for i := range s.used.Load() {
		if s.list[i].ssrc.Load() == ssrc {
			return &s.list[i]
		}
	}
	return nil
}

// talking returns the source of the last packet, nil if none has come.
func (s *sources) talking() *source {
	if s.used.Load() == 0 {
		return nil
	}
	return &s.list[s.latest.Load()]
}

// lost is the cumulative number of packets lost (RFC 3550 §6.4.1).
func (s *source) lost() int64 {
	return int64(s.highest()) - int64(s.first.Load()) + 1 - int64(s.packets.Load())
}

func (s *sources) snapshot() []SourceStatistics {
	used := s.used.Load()
	if used == 0 {
		return nil
	}
	out := make([]SourceStatistics, used)
	for i := range out {
		src := &s.list[i]
		position := src.position.Load()
		out[i] = SourceStatistics{
			SSRC: src.ssrc.Load(), PayloadType: uint8(src.payloadType.Load()),
			Packets: src.packets.Load(), Bytes: src.bytes.Load(), Lost: src.lost(),
			LastSequence: uint32(position >> 32), LastTimestamp: uint32(position),
		}
	}
	return out
}
