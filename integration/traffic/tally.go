package traffic

// window is how many packets of a stream are remembered, to tell reordered ones from duplicates.
const window = 64

// arrivals is what has come of one stream.
type arrivals struct {
	highest uint64 // extended sequence number
	seen    uint64 // bit i: highest-i has come
	started bool
}

// Tally counts packets.
type Tally struct {
	Sent, Received        uint64
	Duplicates, Reordered uint64
	Corrupt, Strange      uint64 // not what was sent; of no stream of ours
	Failed, Late          uint64 // not taken by the kernel; not sent for want of time
}

// Loss is the part of what was sent that did not arrive, 0 … 1.
func (t *Tally) Loss() float64 {
	if t.Sent == 0 || t.Received >= t.Sent {
		return 0
	}
	return 1 - float64(t.Received)/float64(t.Sent)
}

// note counts a packet of the stream with this sequence number of its header.
func (a *arrivals) note(seq uint16, t *Tally) {
	if !a.started {
		a.started, a.highest, a.seen = true, uint64(seq)|1<<16, 1
		t.Received++
		return
	}
	ahead := int16(seq - uint16(a.highest))
	switch {
	case ahead > 0:
		a.highest += uint64(ahead)
		a.seen = a.seen<<uint(ahead) | 1
		t.Received++
	case -ahead >= window:
		t.Reordered++
		t.Received++
	case a.seen>>uint(-ahead)&1 == 1:
		t.Duplicates++
	default:
		a.seen |= 1 << uint(-ahead)
		t.Reordered++
		t.Received++
	}
}
