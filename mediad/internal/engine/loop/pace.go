package loop

import "time"

const (
	// Gather is how long a busy worker lets packets gather before it handles them together. A wake-up costs as much as handling a packet
	// or two, so this is what a network card's interrupt moderation is; for sound it is nothing.
	Gather = 100 * time.Microsecond
	// window is what a worker's load is measured over.
	window = 2 * time.Millisecond
	// busyFrom is the number of packets in a window from which on a worker is busy: 20,000 a second, two in the time of Gather.
	busyFrom = 40
)

// Pace measures a worker's load. It is the loop's.
type Pace struct {
	begin   time.Time
	packets int
	load    bool
}

// Note counts the packets of a turn.
func (p *Pace) Note(packets int, now time.Time) {
	p.packets += packets
	d := now.Sub(p.begin)
	if d < window {
		return
	}
	p.load = int64(p.packets)*int64(window) >= busyFrom*int64(d)
	p.begin, p.packets = now, 0
}

// Busy reports whether so much comes that gathering pays.
func (p *Pace) Busy() bool { return p.load }
