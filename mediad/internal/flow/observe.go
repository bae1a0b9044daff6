package flow

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// Payloads tells what the payload types of a media are. It is immutable once it is part of a route.
type Payloads struct {
	// Clock is the clock rate in Hz, 0 where it is not known.
	Clock [payloadTypes]uint32
	// Events are the payload types of telephone events (RFC 4733).
	Events [payloadTypes]bool
}

// Event is a telephone event that has ended (RFC 4733 §2.3).
type Event struct {
	// Code of the event: 0–9, 10 and 11 for * and #, 12–15 for A–D, and others that are not DTMF.
	Code uint8
	// Volume in −dBm0, 0–63.
	Volume   uint8
	Duration time.Duration
}

// Observer is told on the worker of a call what happens beside forwarding. It must not block and must not keep a packet.
type Observer interface {
	// Event tells that a telephone event has ended.
	Event(e Event, src netip.AddrPort, now time.Time)
	// Control shows an RTCP packet that a stream has accepted, without protection.
	Control(pkt []byte, src, dst netip.AddrPort, now time.Time)
}

// eventSize is the length in bytes of an event payload (RFC 4733 §2.3).
const eventSize = 4

// ended is the telephone event that was told last, so that its repeated end packets are not. The worker owns it.
type ended struct {
	told      bool
	ssrc      uint32
	timestamp uint32
}

// observe takes note of what an RTP packet says beside its sound.
func (s *Stream) observe(r *Route, p rtp.Packet, from *source, src netip.AddrPort, now time.Time) {
	pt := p.PayloadType()
	if clock := r.Payloads.Clock[pt]; clock != 0 {
		if r.Report != nil {
			from.time(p, clock, now)
		}
		if from.timing.told.Load() != clock && r.Quality != nil {
			from.timing.told.Store(clock)
			r.Quality.Learn(p.SSRC(), clock)
		}
	}
	if r.Payloads.Events[pt] && r.Observer != nil {
		s.event(r, p, src, now)
	}
}

// event tells of a telephone event at the first of its end packets.
func (s *Stream) event(r *Route, p rtp.Packet, src netip.AddrPort, now time.Time) {
	payload := p.Payload()
	if len(payload) < eventSize || payload[1]&0x80 == 0 {
		return
	}
	last := &s.counters.ended
	if last.told && last.ssrc == p.SSRC() && last.timestamp == p.Timestamp() {
		return
	}
	*last = ended{true, p.SSRC(), p.Timestamp()}
	e := Event{Code: payload[0], Volume: payload[1] & 0x3f}
	if clock := r.Payloads.Clock[p.PayloadType()]; clock != 0 {
		e.Duration = time.Duration(binary.BigEndian.Uint16(payload[2:])) * time.Second / time.Duration(clock)
	}
	r.Observer.Event(e, src, now)
}
