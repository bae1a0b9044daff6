package quality

import (
	"math"
	"time"
)

// progressionSteps is into how many intervals a progression is cut.
const progressionSteps = 10

// Summary is the quality of one source.
type Summary struct {
	SSRC uint32
	// Lost is the cumulative number of packets lost of the latest judged report, as it stands there: 24 bits, a negative number being
	// a large one.
	Lost uint32
	// Samples is the number of scored samples, at least 1, and Average their mean.
	Samples         int64
	Average         Sample
	Lowest, Highest Sample
	// Interval is the distance in seconds of the entries of Progression.
	Interval    int64
	Progression []Sample
}

// Summaries returns the sources that have a score, in order of appearance.
func (t *Table) Summaries() []Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Summary
	for _, s := range t.sources {
		if s.samples > 0 {
			out = append(out, s.summary())
		}
	}
	return out
}

func (s *source) summary() Summary {
	n := s.samples
	sum := Summary{
		SSRC: s.ssrc, Lost: s.lost, Samples: n, Lowest: s.lowest, Highest: s.highest,
		Average: Sample{
			MOS: s.total.MOS / int(n), Loss: s.total.Loss / int(n), RoundTrip: s.total.RoundTrip / time.Duration(n),
			Leg: s.total.Leg / time.Duration(n), Jitter: s.total.Jitter / time.Duration(n),
		},
	}
	first, last := s.history[0].At.Unix(), s.history[len(s.history)-1].At.Unix()
	sum.Interval = (last - first) / progressionSteps
	next := first
	for _, v := range s.history {
		if v.At.Unix() >= next {
			sum.Progression = append(sum.Progression, v)
			next += sum.Interval
		}
	}
	return sum
}

// Sums are totals over samples, for counters that only grow. Each metric has its own number of samples.
type Sums struct{ MOS, Jitter, RoundTrip, Leg, Loss Sum }

// Sum is a total of values, of their squares, and how many they are. The units are rtpengine's: MOS in points (1.0–4.5), round trips
// in microseconds, jitter in milliseconds, loss in per cent.
type Sum struct {
	Total, Squares float64
	Samples        uint64
}

// Add counts a value.
func (s *Sum) Add(v float64) {
	s.Total += v
	s.Squares += v * v
	s.Samples++
}

// Merge adds what another one has counted.
func (s *Sum) Merge(o Sum) {
	s.Total += o.Total
	s.Squares += o.Squares
	s.Samples += o.Samples
}

// Average of the values; 0 if there are none.
func (s Sum) Average() float64 {
	if s.Samples == 0 {
		return 0
	}
	return s.Total / float64(s.Samples)
}

// Deviation is the standard deviation of the values; 0 if there are none.
func (s Sum) Deviation() float64 {
	if s.Samples == 0 {
		return 0
	}
	mean := s.Average()
	return math.Sqrt(max(s.Squares/float64(s.Samples)-mean*mean, 0))
}

func (s *Sums) add(v Sample) {
	if v.MOS > 0 {
		s.MOS.Add(float64(v.MOS) / 10)
	}
	if v.RoundTrip > 0 {
		s.RoundTrip.Add(float64(v.RoundTrip.Microseconds()))
	}
	s.Leg.Add(float64(v.Leg.Microseconds()))
	s.Jitter.Add(float64(v.Jitter.Milliseconds()))
	s.Loss.Add(float64(v.Loss))
}

// Merge adds the totals of another call.
func (s *Sums) Merge(o Sums) {
	s.MOS.Merge(o.MOS)
	s.Jitter.Merge(o.Jitter)
	s.RoundTrip.Merge(o.RoundTrip)
	s.Leg.Merge(o.Leg)
	s.Loss.Merge(o.Loss)
}

// Sums returns the totals of the call.
func (t *Table) Sums() Sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}
