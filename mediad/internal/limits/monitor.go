package limits

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// period is how often the load of the host is measured.
const period = time.Second

// Monitor measures what the bounds are about, once a second, and decides
// whether there is room for another call.
type Monitor struct {
	live   *Live
	source source

	load, cpu atomic.Uint64 // float64 bits
	bandwidth atomic.Uint64 // bytes a second

	stop chan struct{}
	done sync.WaitGroup
}

// source is where the numbers come from.
type source struct {
	load  func() (float64, error)            // load average of the last minute
	cpu   func() (busy, all uint64, e error) // ticks of all processors since boot
	bytes func() uint64                      // received media since the start
	now   func() time.Time
}

// NewMonitor returns a monitor for the bounds in live. bytes returns how much
// media has been received since the start. Nothing is measured before Start.
func NewMonitor(live *Live, bytes func() uint64) *Monitor {
	return newMonitor(live, source{load: hostLoad, cpu: hostCPU, bytes: bytes, now: time.Now})
}

func newMonitor(live *Live, s source) *Monitor {
	return &Monitor{live: live, source: s, stop: make(chan struct{})}
}

// Start measures until Close.
func (m *Monitor) Start() {
	m.done.Add(1)
	go m.watch()
}

// Close ends measuring and waits for its end. It is called once, also without
// Start.
func (m *Monitor) Close() {
	close(m.stop)
	m.done.Wait()
}

func (m *Monitor) watch() {
	defer m.done.Done()
	t := time.NewTicker(period)
	defer t.Stop()
	last := m.measure(sample{})
	for {
		select {
		case <-m.stop:
			return
		case <-t.C:
			last = m.measure(last)
		}
	}
}

// sample is what differences are made of.
type sample struct {
	at        time.Time
	busy, all uint64
	bytes     uint64
}

// measure takes a sample and stores what has changed since the last one. Only
// what is bounded is measured. A source that fails counts as 0: calls are not
// refused for lack of knowledge.
func (m *Monitor) measure(last sample) sample {
	v := m.live.Load()
	next := sample{at: m.source.now()}
	var load, cpu float64
	var bandwidth uint64
	if v.MaxLoad > 0 {
		load, _ = m.source.load()
	}
	if v.MaxCPU > 0 {
		next.busy, next.all, _ = m.source.cpu()
		if last.all > 0 && next.all > last.all && next.busy >= last.busy {
			cpu = 100 * float64(next.busy-last.busy) / float64(next.all-last.all)
		}
	}
	if v.MaxBandwidth > 0 {
		next.bytes = m.source.bytes()
		if elapsed := next.at.Sub(last.at).Seconds(); last.bytes > 0 && next.bytes > last.bytes && elapsed > 0 {
			bandwidth = uint64(float64(next.bytes-last.bytes) / elapsed)
		}
	}
	m.load.Store(math.Float64bits(load))
	m.cpu.Store(math.Float64bits(cpu))
	m.bandwidth.Store(bandwidth)
	return next
}

// Admit returns nil if there is room for one more call beside those that are
// there, else the ng.Reason to refuse it with, in rtpengine's order.
func (m *Monitor) Admit(calls int) error {
	v := m.live.Load()
	switch {
	case v.MaxSessions >= 0 && calls >= v.MaxSessions:
		return ng.ReasonSessionLimit
	case v.MaxLoad > 0 && math.Float64frombits(m.load.Load()) >= v.MaxLoad:
		return ng.ReasonLoadLimit
	case v.MaxCPU > 0 && math.Float64frombits(m.cpu.Load()) >= v.MaxCPU:
		return ng.ReasonCPULimit
	case v.MaxBandwidth > 0 && m.bandwidth.Load() >= v.MaxBandwidth:
		return ng.ReasonBandwidthLimit
	}
	return nil
}
