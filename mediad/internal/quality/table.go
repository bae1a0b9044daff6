package quality

import (
	"sync"
	"time"
)

const (
	// MaxSources is the number of sources of one call that are judged; further ones are not, so that a flood of SSRCs costs nothing.
	MaxSources = 24
	// keptReports is the number of sender reports of a source that a receiver may still refer to.
	keptReports = 8
	// maxHistory is the number of samples of a source that are kept. When there are more, every other one goes.
	maxHistory = 128
	// spacing is the shortest time between two samples of a source; reports in between are not judged.
	spacing = time.Second
)

// Table holds the quality of one call, by SSRC. What a source is credited with is what it reports about the other end, as in
// rtpengine. Learn and Control run on the call's worker; they are rare (a new source, a report), so a lock does.
type Table struct {
	model Model

	mu      sync.Mutex // guards what follows
	sources []*source
	sums    Sums
}

// source is what is known of one SSRC.
type source struct {
	ssrc  uint32
	clock uint32 // Hz, of what it sends; 0 = not known
	leg   time.Duration

	sent     [keptReports]sentReport // ring
	nextSent int

	lost            uint32
	samples         int64
	total           Sample // sums of the scored samples
	lowest, highest Sample
	history         []Sample
}

// sentReport is a sender report that has passed.
type sentReport struct {
	ntp uint32 // middle 32 bits
	at  time.Time
}

// Sample is one judgement.
type Sample struct {
	At        time.Time
	MOS       int           // × 10; 0 = the model lacks the round-trip time
	RoundTrip time.Duration // between the parties; 0 = not known
	Leg       time.Duration // of RoundTrip, between the relay and the party that reports
	Jitter    time.Duration
	Loss      int // per cent of the packets since the report before
}

// NewTable makes the table of a call.
func NewTable(model Model) *Table { return &Table{model: model} }

// Absorb takes over what another table holds, which is not used any more. What both know stays as it is here.
func (t *Table) Absorb(o *Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.sources {
		if t.lookup(s.ssrc) == nil && len(t.sources) < MaxSources {
			t.sources = append(t.sources, s)
		}
	}
	t.sums.Merge(o.sums)
}

// Learn tells the clock rate in Hz of what a source sends.
func (t *Table) Learn(ssrc, clock uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.find(ssrc); s != nil {
		s.clock = clock
	}
}

// Control judges by the reports of an RTCP packet.
func (t *Table) Control(pkt []byte, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	reports(pkt,
		func(ssrc, ntp uint32) {
			if s := t.find(ssrc); s != nil {
				s.sent[s.nextSent] = sentReport{ntp, now}
				s.nextSent = (s.nextSent + 1) % keptReports
			}
		},
		func(from uint32, b block) { t.judge(from, b, now) },
	)
}

// judge takes a report block into account.
func (t *Table) judge(from uint32, b block, now time.Time) {
	about := t.lookup(b.source)
	if about == nil || b.lastSR == 0 || b.delay == 0 { // no report of the source has reached it yet
		return
	}
	leg := about.roundTrip(b, now)
	if leg != 0 {
		about.leg = leg
	}
	reporter := t.find(from)
	if about.clock == 0 || reporter == nil {
		return
	}
	if n := len(reporter.history); n > 0 && now.Sub(reporter.history[n-1].At) < spacing {
		return
	}
	s := Sample{
		At: now, Leg: leg,
		Jitter: time.Duration(uint64(b.jitter)*1000/uint64(about.clock)) * time.Millisecond,
		Loss:   int(b.fractionLost) * 100 / 256,
	}
	if leg != 0 && reporter.leg != 0 {
		s.RoundTrip = leg + reporter.leg
	}
	s.MOS, _ = t.model.score(s.RoundTrip, s.Jitter, s.Loss)
	reporter.lost = b.lost
	reporter.add(s)
	t.sums.add(s)
}

// roundTrip is the time from a sender report of s that passed here to the receiver and back, without the time that the receiver took;
// 0 if it cannot be told.
func (s *source) roundTrip(b block, now time.Time) time.Duration {
	for i := range s.sent {
		if r := &s.sent[i]; r.ntp == b.lastSR && !r.at.IsZero() {
			d := now.Sub(r.at) - time.Duration(uint64(b.delay)*1e9>>16)
			return max(d, 0)
		}
	}
	return 0
}

func (s *source) add(v Sample) {
	s.remember(v)
	if v.MOS == 0 {
		return
	}
	if s.samples == 0 || v.MOS < s.lowest.MOS {
		s.lowest = v
	}
	if s.samples == 0 || v.MOS > s.highest.MOS {
		s.highest = v
	}
	s.samples++
	s.total.MOS += v.MOS
	s.total.RoundTrip += v.RoundTrip
	s.total.Leg += v.Leg
	s.total.Jitter += v.Jitter
	s.total.Loss += v.Loss
}

// remember keeps the sample, and of the older ones every other one once there are too many.
func (s *source) remember(v Sample) {
	if len(s.history) == maxHistory {
		kept := s.history[:0]
		for i := 0; i < maxHistory; i += 2 {
			kept = append(kept, s.history[i])
		}
		s.history = kept
	}
	s.history = append(s.history, v)
}

// lookup returns the source, nil if it is not known.
func (t *Table) lookup(ssrc uint32) *source {
	for _, s := range t.sources {
		if s.ssrc == ssrc {
			return s
		}
	}
	return nil
}

// find returns the source, a new one if there is room, else nil.
func (t *Table) find(ssrc uint32) *source {
	if s := t.lookup(ssrc); s != nil || len(t.sources) == MaxSources {
		return s
	}
	s := &source{ssrc: ssrc}
	t.sources = append(t.sources, s)
	return s
}
