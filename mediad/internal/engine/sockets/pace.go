package sockets

import "time"

const (
	// gather is how long a busy worker lets packets gather before it handles them together. A wake-up costs as much as handling a packet
	// or two, so this is what a network card's interrupt moderation is; for sound it is nothing.
	gather = 100 * time.Microsecond
	// window is what a worker's load is measured over.
	window = 2 * time.Millisecond
	// busyFrom is the number of packets in a window from which on a worker is busy: 20,000 a second, two in the time of gather.
	busyFrom = 40
)

// pace measures a worker's load.
type pace struct {
	begin   time.Time
	packets int
	load    bool
}

// note counts the packets of a turn.
func (p *pace) note(packets int, now time.Time) {
	p.packets += packets
	d := now.Sub(p.begin)
	if d < window {
		return
	}
	p.load = int64(p.packets)*int64(window) >= busyFrom*int64(d)
	p.begin, p.packets = now, 0
}

// busy reports whether so much comes that gathering pays.
func (p *pace) busy() bool { return p.load }
