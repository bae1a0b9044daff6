package metrics

import (
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
)

// period is how often rates are measured.
const period = time.Second

// Rates measures how much media is received in a second. Make it with NewRates,
// then Start, then Close.
type Rates struct {
	source func() call.Traffic
	stop   chan struct{}
	done   sync.WaitGroup

	mu        sync.Mutex
	perSecond call.Traffic
}

// NewRates returns rates of 0 of what source counts. source must be cheap: it
// is asked once a second.
func NewRates(source func() call.Traffic) *Rates {
	return &Rates{source: source, stop: make(chan struct{})}
}

// Start measures until Close.
func (r *Rates) Start() { r.done.Go(r.watch) }

// Close ends measuring and waits for its end. It is called once, also without
// Start.
func (r *Rates) Close() {
	close(r.stop)
	r.done.Wait()
}

func (r *Rates) watch() {
	t := time.NewTicker(period)
	defer t.Stop()
	last, at := r.source(), time.Now()
	for {
		select {
		case <-r.stop:
			return
		case now := <-t.C:
			next := r.source()
			r.set(last, next, now.Sub(at))
			last, at = next, now
		}
	}
}

func (r *Rates) set(last, next call.Traffic, passed time.Duration) {
	rate := func(before, after uint64) uint64 {
		if after <= before || passed <= 0 {
			return 0
		}
		return uint64(float64(after-before)/passed.Seconds() + 0.5)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.perSecond = call.Traffic{
		Packets: rate(last.Packets, next.Packets), Bytes: rate(last.Bytes, next.Bytes), Errors: rate(last.Errors, next.Errors),
		KernelPackets: rate(last.KernelPackets, next.KernelPackets), KernelBytes: rate(last.KernelBytes, next.KernelBytes),
	}
}

// PerSecond returns the rates of the last full second.
func (r *Rates) PerSecond() call.Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.perSecond
}
