package rtpio

import (
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

// leastHeard is how many samples a frequency is told from: a quarter of a second.
const leastHeard = tone.Rate / 4

// Stats is a snapshot of a session.
type Stats struct {
	Sent       uint64  `json:"sent"`
	Received   uint64  `json:"received"`   // without duplicates
	Lost       uint64  `json:"lost"`       // by sequence number
	Duplicates uint64  `json:"duplicates"` // by sequence number
	Stray      uint64  `json:"stray"`      // from another address than the peer's description names; dropped
	Broken     uint64  `json:"broken"`     // no RTP or RTCP
	Unknown    uint64  `json:"unknown"`    // payload type that was not agreed
	JitterMS   float64 `json:"jitterMs"`   // RFC 3550 interarrival jitter
	Digits     string  `json:"digits"`     // received as RFC 4733 events
	Frequency  float64 `json:"frequencyHz"`
	Level      float64 `json:"levelDbfs"`
	RTCP       RTCP    `json:"rtcp"`
}

// RTCP is what the reports of both sides say.
type RTCP struct {
	Sent         uint64  `json:"sent"`
	Received     uint64  `json:"received"`
	FractionLost float64 `json:"fractionLost"` // of our packets, as the peer sees it, 0-1
	Lost         uint32  `json:"lost"`         // of our packets, as the peer sees it
	RoundTripMS  float64 `json:"roundTripMs"`  // 0 = not known
}

// Stats counts from the start; Frequency (Hz, 0 = none) and Level (dBFS) are those of the last second of received audio.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	r := &s.in
	pcm := r.pcm(time.Now())
	stats := Stats{
		Sent: s.out.packets, Received: r.packets, Lost: r.lost(), Duplicates: r.duplicates,
		Stray: r.stray, Broken: r.broken, Unknown: r.unknown,
		JitterMS: r.jitter * 1000 / tone.Rate, Digits: string(r.digits),
		RTCP: RTCP{
			Sent: s.out.reports, Received: r.reports.received, FractionLost: float64(r.reports.fractionLost) / 256,
			Lost: r.reports.lost, RoundTripMS: float64(r.reports.roundTrip.Microseconds()) / 1000,
		},
	}
	s.mu.Unlock()
	if len(pcm) < leastHeard {
		pcm = nil
	}
	stats.Frequency, stats.Level = tone.Dominant(pcm)
	return stats
}
