package flow

import (
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// counters of a stream. They are written by the worker and read by anybody.
type counters struct {
	// What each packet needs comes first, so that it lies together.
	packetsIn, bytesIn atomic.Uint64
	lastPacket         atomic.Int64 // Unix nanoseconds, 0 for never
	sources            sources
	carry              atomic.Pointer[Carry] // that moves packets past Handle at the moment, nil for none

	packetsOut, bytesOut, errorsOut atomic.Uint64
	errorsIn, errorBytesIn          atomic.Uint64
	controlSSRC                     atomic.Uint32 // of the last RTCP packet

	carries                      carries
	carriedPackets, carriedBytes atomic.Uint64
	lastCarried                  atomic.Int64 // Unix nanoseconds, 0 for never

	ended    ended    // of the worker alone
	reporter reporter // of the worker alone
}

// Statistics of a stream since it was made.
type Statistics struct {
	// PacketsIn and BytesIn count media (RTP, RTCP) that arrived from an accepted source and passed authentication; bytes are UDP
	// payloads as received.
	PacketsIn, BytesIn uint64
	// CarriedPackets and CarriedBytes are those of them that an engine has moved by a Shortcut, and LastCarried is when it last did.
	CarriedPackets, CarriedBytes uint64
	LastCarried                  time.Time
	// ErrorsIn and ErrorBytesIn count media that was refused: wrong source, failed authentication, malformed.
	ErrorsIn, ErrorBytesIn uint64
	// PacketsOut and BytesOut count media sent from this port.
	PacketsOut, BytesOut uint64
	// ErrorsOut counts media meant for this port's peer that could not be protected or sent.
	ErrorsOut uint64
	// LastPacket is when media last arrived; the zero time for never.
	LastPacket time.Time
	// SSRC is that of the last packet, RTP before RTCP; 0 for none.
	SSRC uint32
	// Sources are the RTP sources seen, at most maxSources.
	Sources []SourceStatistics
}

// SourceStatistics of one SSRC received (RFC 3550 §6.4.1).
type SourceStatistics struct {
	SSRC           uint32
	PayloadType    uint8
	Packets, Bytes uint64
	// Lost is the cumulative number of packets lost; duplicates make it smaller, it may be negative.
	Lost int64
	// LastSequence is the extended highest sequence number received.
	LastSequence uint32
	// LastTimestamp is the RTP timestamp that came with it.
	LastTimestamp uint32
}

// Statistics is a snapshot of the counters.
func (s *Stream) Statistics() Statistics {
	st := s.Totals()
	c := s.counters
	st.SSRC, st.Sources = c.controlSSRC.Load(), c.sources.snapshot()
	if talking := c.sources.talking(); talking != nil {
		st.SSRC = talking.ssrc.Load()
	}
	return st
}

// Totals is Statistics without SSRC and Sources: cheap enough to be asked of all streams every second.
func (s *Stream) Totals() Statistics {
	c := s.counters
	c.fold()
	st := Statistics{
		PacketsIn: c.packetsIn.Load(), BytesIn: c.bytesIn.Load(), ErrorsIn: c.errorsIn.Load(),
		ErrorBytesIn:   c.errorBytesIn.Load(),
		CarriedPackets: c.carriedPackets.Load(), CarriedBytes: c.carriedBytes.Load(),
		PacketsOut: c.packetsOut.Load(), BytesOut: c.bytesOut.Load(), ErrorsOut: c.errorsOut.Load(),
	}
	if t := c.lastCarried.Load(); t != 0 {
		st.LastCarried = time.Unix(0, t)
	}
	if t := c.lastPacket.Load(); t != 0 {
		st.LastPacket = time.Unix(0, t)
	}
	return st
}

// accept counts a media packet that came in.
func (c *counters) accept(size int, now time.Time) {
	c.packetsIn.Add(1)
	c.bytesIn.Add(uint64(size))
	c.lastPacket.Store(now.UnixNano())
}

// control takes note of the sender of an RTCP packet.
func (c *counters) control(p rtp.RTCP) {
	if ssrc := p.SSRC(); c.controlSSRC.Load() != ssrc {
		c.controlSSRC.Store(ssrc)
	}
}

// refuse counts a datagram that was not taken.
func (c *counters) refuse(size int) {
	c.errorsIn.Add(1)
	c.errorBytesIn.Add(uint64(size))
}

// CountRefused counts a datagram that the engine could not take, for example an oversized one.
func (s *Stream) CountRefused() { s.counters.refuse(0) }
