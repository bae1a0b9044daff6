package flow

import (
	"sync/atomic"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// maxSources is the number of RTP sources of one stream that are told apart.
const maxSources = 4

// sources are the statistics by SSRC, written by the worker alone.
type sources struct {
	used   atomic.Int32
	list   [maxSources]source
	latest int
}

type source struct {
	ssrc        atomic.Uint32
	payloadType atomic.Uint32
	packets     atomic.Uint64
	bytes       atomic.Uint64
	first       atomic.Uint32 // extended sequence number of the first packet
	highest     atomic.Uint32 // extended highest sequence number
}

// count takes a packet into the statistics of its source.
func (s *sources) count(p rtp.Packet) {
	src := s.find(p.SSRC(), p.Sequence())
	if src == nil {
		return
	}
	src.packets.Store(src.packets.Load() + 1)
	src.bytes.Store(src.bytes.Load() + uint64(len(p)))
	if pt := uint32(p.PayloadType()); src.payloadType.Load() != pt {
		src.payloadType.Store(pt)
	}
	highest := src.highest.Load()
	if d := rtp.SequenceDistance(uint16(highest), p.Sequence()); d > 0 {
		src.highest.Store(highest + uint32(d))
	}
}

// find returns the statistics of a source, new ones if there is room, else nil.
func (s *sources) find(ssrc uint32, seq uint16) *source {
	used := int(s.used.Load())
	if used > 0 && s.list[s.latest].ssrc.Load() == ssrc {
		return &s.list[s.latest]
	}
	for i := range used {
		if s.list[i].ssrc.Load() == ssrc {
			s.latest = i
			return &s.list[i]
		}
	}
	if used == maxSources {
		return nil
	}
	src := &s.list[used]
	src.ssrc.Store(ssrc)
	src.first.Store(uint32(seq))
	src.highest.Store(uint32(seq))
	s.latest = used
	s.used.Store(int32(used + 1))
	return src
}

func (s *sources) snapshot() []SourceStatistics {
	used := int(s.used.Load())
	if used == 0 {
		return nil
	}
	out := make([]SourceStatistics, used)
	for i := range out {
		src := &s.list[i]
		packets, highest := src.packets.Load(), src.highest.Load()
		out[i] = SourceStatistics{
			SSRC: src.ssrc.Load(), PayloadType: uint8(src.payloadType.Load()),
			Packets: packets, Bytes: src.bytes.Load(),
			LastSequence: highest,
			Lost:         int64(highest) - int64(src.first.Load()) + 1 - int64(packets),
		}
	}
	return out
}
