package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// garbageFloor is how many bytes of garbage may pile up before it is collected, however little is alive: a proxy with few calls up
	// would collect many times a second to keep a heap of some megabytes.
	garbageFloor = 48 << 20
	garbageLook  = time.Second
	// garbagePercent is Go's own pace, kept where more than the floor is alive.
	garbagePercent = 100
)

// pace sets how often garbage is collected.
type pace struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	sample  []metrics.Sample
	percent int
}

func newPace() *pace {
	return &pace{sample: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, cancel: func() {}}
}

func (p *pace) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	before := debug.SetGCPercent(garbagePercent)
	if before != garbagePercent { // GOGC has the last word
		debug.SetGCPercent(before)
		return
	}
	p.set()
	p.running.Go(func() {
		defer debug.SetGCPercent(garbagePercent)
		ticker := time.NewTicker(garbageLook)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				p.set()
			}
		}
	})
}

// set adapts the percentage to what is alive. A change stops the world for a moment, so small ones are not made.
func (p *pace) set() {
	metrics.Read(p.sample)
	want := percentFor(p.sample[0].Value.Uint64())
	if want < p.percent*3/4 || want > p.percent*5/4 {
		p.percent = want
		debug.SetGCPercent(want)
	}
}

// percentFor is the percentage at which the garbage beside so many live bytes is the floor, or Go's own where that is more.
func percentFor(live uint64) int {
	const least = 1 << 20 // before the first collection nothing is known to be alive
	return max(garbagePercent, int(garbageFloor*100/max(live, least)))
}

func (p *pace) close() {
	p.cancel()
	p.running.Wait()
}
