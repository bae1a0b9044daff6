package loop

import (
	"runtime"
	"time"
)

const (
	// window is what a worker's load is measured over.
	window = 2 * time.Millisecond
	// busyFrom is the number of packets in a window from which on a worker is busy: 20,000 a second.
	busyFrom = 40
	// together is how many packets a busy worker wants to handle at once.
	together = 16
	// least is the shortest time that it lets packets gather.
	least = 100 * time.Microsecond
	// yieldEvery is how often a worker yields. One that has not for 10 ms loses its processor to Go's monitor while it waits in a system
	// call, and that makes the monitor look 50 times as often for the next 25 ms: a tenth of what an engine costs.
	yieldEvery = 8 * time.Millisecond
)

// Pace measures a worker's load. It is the loop's.
type Pace struct {
	begin   time.Time
	packets int
	load    bool
	apart   time.Duration // between packets, on average
	yielded time.Time
}

// Note counts the packets of a turn, at its end, where it does no harm to let other goroutines run.
func (p *Pace) Note(packets int, now time.Time) {
	if now.Sub(p.yielded) >= yieldEvery {
		p.yielded = now
		runtime.Gosched()
	}
	p.packets += packets
	d := now.Sub(p.begin)
	if d < window {
		return
	}
	p.load = int64(p.packets)*int64(window) >= busyFrom*int64(d)
	p.apart = d / time.Duration(max(p.packets, 1))
	p.begin, p.packets = now, 0
}

// Busy reports whether so much comes that gathering pays.
func (p *Pace) Busy() bool { return p.load }

// Gather is how long a busy worker lets packets gather before it handles them together, up to most: a wake-up costs as much as handling
// a few packets, and what they share stays in the processor's caches. It is what a network card's interrupt moderation is; for sound it is
// nothing.
func (p *Pace) Gather(most time.Duration) time.Duration {
	return min(max(together*p.apart, least), most)
}
