package main

import (
	"fmt"
	"os"
	"time"

	"github.com/tandem-sbc/tandem/integration/traffic"
)

const (
	warmCalls = 300 // before a first measurement
	settling  = 3 * time.Second
	calming   = 80 * time.Second // at most: mediad keeps replies for ten seconds and gives memory back when it has been calm for some more
	returned  = 1.05             // of what was resident before, and there is no need to wait longer
)

// setUp measures offer, answer and delete by commands in flight.
func (j *job) setUp() ([]sample, error) {
	p, err := j.parties()
	if err != nil {
		return nil, err
	}
	if err := traffic.Churn(p, traffic.To(ngAddress), warmCalls, 8); err != nil {
		return nil, err
	}
	meter := traffic.NewMeter(j.PID)
	var samples []sample
	for _, inFlight := range j.Steps {
		best := sample{Other: 1e9}
		for try := 0; try <= j.Repeats && best.Other > j.Quiet; try++ {
			cost, err := spent(meter, func() error { return traffic.Churn(p, traffic.To(ngAddress), j.Calls, inFlight) })
			if err != nil {
				return nil, err
			}
			if cost.Other() < best.Other {
				best = sample{X: float64(inFlight), Other: cost.Other(), Values: map[string]float64{
					"cpu": perCall(cost.Daemon, j.Calls), "calls": float64(j.Calls) / cost.Time.Seconds(),
				}}
			}
			fmt.Fprintf(os.Stderr, "    %d in flight: %.0f µs a call, %.0f calls/s, other load %.2f\n",
				inFlight, perCall(cost.Daemon, j.Calls), float64(j.Calls)/cost.Time.Seconds(), cost.Other())
		}
		best.Noisy = best.Other > j.Quiet
		samples = append(samples, best)
	}
	return samples, nil
}

func perCall(d time.Duration, calls int) float64 { return float64(d.Microseconds()) / float64(calls) }

// spent is what f costs.
func spent(meter *traffic.Meter, f func() error) (traffic.Cost, error) {
	before, err := meter.Read()
	if err != nil {
		return traffic.Cost{}, err
	}
	if err := f(); err != nil {
		return traffic.Cost{}, err
	}
	after, err := meter.Read()
	return after.Since(before), err
}

// memory measures what idle calls hold, step by step.
func (j *job) memory() ([]sample, error) {
	empty, _, err := traffic.Memory(j.PID)
	if err != nil {
		return nil, err
	}
	var samples []sample
	have := 0
	for _, n := range j.Steps {
		load, err := j.open(n - have)
		if err != nil {
			return nil, err
		}
		defer load.Close()
		have = n
		time.Sleep(settling / 3)
		resident, files, err := traffic.Memory(j.PID)
		if err != nil {
			return nil, err
		}
		s := sample{X: float64(n), Values: map[string]float64{
			"resident": float64(resident) / (1 << 20), "call": float64(resident-empty) / 1024 / float64(n), "files": float64(files),
		}}
		fmt.Fprintf(os.Stderr, "    %d calls: %.1f MiB, %.1f KiB a call, %d descriptors\n", n, s.Values["resident"], s.Values["call"], files)
		samples = append(samples, s)
	}
	return samples, nil
}

// crowd measures what calls cost when there are many: to set them up, and a packet at the same rate.
func (j *job) crowd() ([]sample, error) {
	p, err := j.parties()
	if err != nil {
		return nil, err
	}
	if err := traffic.Churn(p, traffic.To(ngAddress), warmCalls, 8); err != nil {
		return nil, err
	}
	meter := traffic.NewMeter(j.PID)
	var load *traffic.Load
	cost, err := spent(meter, func() (err error) { load, err = j.open(j.Calls); return err })
	if err != nil {
		return nil, err
	}
	defer load.Close()
	fmt.Fprintf(os.Stderr, "    %d calls: %.0f µs each\n", j.Calls, perCall(cost.Daemon, j.Calls))
	if _, err := load.Run(j.Steps[0], 0, j.Learn, meter); err != nil {
		return nil, err
	}
	s, err := j.step(load, j.Steps[0], meter)
	if err != nil {
		return nil, err
	}
	resident, files, err := traffic.Memory(j.PID)
	if err != nil {
		return nil, err
	}
	s.X = float64(j.Calls)
	s.Values["cpu"], s.Values["resident"], s.Values["files"] = perCall(cost.Daemon, j.Calls), float64(resident)/(1<<20), float64(files)
	s.Values["seconds"] = cost.Time.Seconds()
	return []sample{s}, nil
}

// calm waits until the daemon has given memory back, if it does, and returns what it had at once, in MiB. before is what it may come down
// to; 0 = do not wait.
func (j *job) calm(before float64) (atOnce float64, err error) {
	time.Sleep(settling)
	for end := time.Now().Add(calming); ; time.Sleep(time.Second) {
		resident, _, err := traffic.Memory(j.PID)
		if err != nil {
			return 0, err
		}
		now := float64(resident) / (1 << 20)
		if atOnce == 0 {
			atOnce = now
		}
		if before == 0 || now <= returned*before || time.Now().After(end) {
			return atOnce, nil
		}
	}
}

// churn lets calls come and go, and looks what is left: after the first few and after all.
func (j *job) churn() ([]sample, error) {
	p, err := j.parties()
	if err != nil {
		return nil, err
	}
	control, err := traffic.Dial(ngAddress)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	var samples []sample
	var before float64
	for _, n := range j.Steps {
		if err := traffic.Churn(p, traffic.To(ngAddress), n, 8); err != nil {
			return nil, err
		}
		atOnce, err := j.calm(before)
		if err != nil {
			return nil, err
		}
		resident, files, err := traffic.Memory(j.PID)
		if err != nil {
			return nil, err
		}
		left, err := control.Calls(1000)
		if err != nil {
			return nil, err
		}
		s := sample{X: float64(n), Values: map[string]float64{
			"resident": float64(resident) / (1 << 20), "files": float64(files), "left": float64(left),
			"at once": atOnce,
		}}
		if before > 0 {
			s.Values["growth"] = s.Values["resident"]/before - 1
		}
		before = s.Values["resident"]
		fmt.Fprintf(os.Stderr, "    %d calls later: %.1f MiB, %d descriptors, %d calls\n", n, before, files, left)
		samples = append(samples, s)
	}
	return samples, nil
}
