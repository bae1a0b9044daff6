package main

import (
	"fmt"
	"os"
	"time"

	"github.com/tandem-sbc/tandem/integration/traffic"
)

const (
	maxLoss   = 0.001 // of the highest rate
	lowest    = 80000 // packets a second where the search starts; below, it goes down from there
	factor    = 1.12  // from one tried rate to the next
	highest   = 400000
	reachable = 0.97 // of the rate asked for must be sent, else the generator is the limit
)

// media measures calls with packets, at each rate and upwards.
func (j *job) media() ([]sample, error) {
	load, err := j.open(j.Calls)
	if err != nil {
		return nil, err
	}
	defer load.Close()
	meter := traffic.NewMeter(j.PID)
	first := lowest / 4
	if len(j.Steps) > 0 {
		first = j.Steps[0]
	}
	if _, err := load.Run(first, 0, j.Learn, meter); err != nil {
		return nil, err
	}
	var samples []sample
	for _, rate := range j.Steps {
		s, err := j.step(load, rate, meter)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	if j.Search {
		s, err := j.search(load, meter)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return samples, load.Hangup()
}

// step measures one rate, again while others disturb it, and returns the quietest.
func (j *job) step(load *traffic.Load, rate int, meter *traffic.Meter) (sample, error) {
	best := sample{Other: 1e9}
	for try := 0; try <= j.Repeats; try++ {
		r, err := load.Run(rate, j.Ramp, j.Span, meter)
		if err != nil {
			return best, err
		}
		s := sampleOf(rate, r)
		fmt.Fprintf(os.Stderr, "    %6d pps: sent %6.0f, lost %.3f %%, daemon %5.2f µs, all %5.2f µs, p50 %5.0f p99 %5.0f µs, other load %.2f\n",
			rate, s.Values["rate"], s.Values["loss"], s.Values["daemon"], s.Values["total"], s.Values["p50"], s.Values["p99"], s.Other)
		if s.Other < best.Other {
			best = s
		}
		if best.Other <= j.Quiet {
			return best, nil
		}
	}
	best.Noisy = true
	return best, nil
}

func sampleOf(rate int, r *traffic.Result) sample {
	micro := func(q float64) float64 { return float64(r.Latency.Quantile(q)) / float64(time.Microsecond) }
	return sample{X: float64(rate), Other: r.Cost.Other(), Values: map[string]float64{
		"daemon": r.PerPacket(r.Cost.Daemon), "generator": r.PerPacket(r.Cost.Generator),
		"total": r.PerPacket(r.Cost.Daemon + r.Cost.Generator + r.Cost.Softirq),
		"rate":  r.Rate, "loss": 100 * r.Loss(), "p50": micro(.5), "p99": micro(.99), "p999": micro(.999),
		"reordered": float64(r.Reordered), "duplicates": float64(r.Duplicates), "corrupt": float64(r.Corrupt + r.Strange),
		"received": float64(r.Received),
	}}
}

// search raises the rate until packets are lost twice, and returns the highest one at which they were not. If they are lost at the first
// rate, it goes down until they are not.
func (j *job) search(load *traffic.Load, meter *traffic.Meter) (sample, error) {
	found := sample{Values: map[string]float64{"highest": 0, "limit": 0}}
	failures := 0
	for rate := float64(lowest); rate < highest && rate > lowest/8; {
		if failures == 2 {
			if found.Values["highest"] > 0 {
				break
			}
			rate, failures = rate/factor, 0
		}
		r, err := load.Run(int(rate), j.Ramp/2, j.Span/2, meter)
		if err != nil {
			return found, err
		}
		fmt.Fprintf(os.Stderr, "    %6.0f pps: sent %6.0f, lost %.3f %%, other load %.2f\n", rate, r.Rate, 100*r.Loss(), r.Cost.Other())
		switch {
		case r.Loss() >= maxLoss:
			failures++
		case r.Rate < reachable*rate:
			failures++
			found.Values["limit"] = 1 // the generator's
		default:
			failures = 0
			found.Values["limit"] = 0
		}
		if r.Loss() < maxLoss && r.Rate > found.Values["highest"] {
			found.Values["highest"], found.Other = r.Rate, r.Cost.Other()
		}
		if failures == 0 {
			rate *= factor
		}
	}
	found.Noisy = found.Other > j.Quiet
	return found, nil
}
