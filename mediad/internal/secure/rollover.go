package secure

// rollover follows the index of one source: the rollover counter and the sequence number of SRTP, or the index of SRTCP, with a list of
// what came in (RFC 3711 §3.3.1, §3.3.2).
type rollover struct {
	highest uint64
	started bool                      // a packet has been seen
	window  [replayWindow / 64]uint64 // bit n: highest−n was seen
}

// begin makes the next packet one of a rollover counter, whatever its sequence number.
func (r *rollover) begin(roc uint32) { *r = rollover{highest: uint64(roc) << 16} }

// next estimates the index of a packet (RFC 3711 appendix A); false if there is no index left or none yet.
func (r *rollover) next(seq uint16) (uint64, bool) {
	roc, last := r.highest>>16, uint16(r.highest)
	if r.started {
		switch {
		case last < 1<<15 && int(seq)-int(last) > 1<<15:
			if roc == 0 {
				return uint64(seq), true // before the first packet: RFC 3711 has no earlier counter
			}
			roc--
		case last >= 1<<15 && int(last)-1<<15 > int(seq):
			roc++
		}
	}
	return roc<<16 | uint64(seq), roc < 1<<32
}

// replayed reports whether an index was seen before or is too old to tell.
func (r *rollover) replayed(index uint64) bool {
	if !r.started || index > r.highest {
		return false
	}
	behind := r.highest - index
	return behind >= replayWindow || r.window[behind/64]>>(behind%64)&1 == 1
}

// seen takes note of an authenticated packet.
func (r *rollover) seen(index uint64) {
	if !r.started {
		r.started, r.highest = true, index
		r.window = [replayWindow / 64]uint64{1}
		return
	}
	if index <= r.highest {
		if behind := r.highest - index; behind < replayWindow {
			r.window[behind/64] |= 1 << (behind % 64)
		}
		return
	}
	r.shift(index - r.highest)
	r.highest = index
	r.window[0] |= 1
}

func (r *rollover) shift(by uint64) {
	switch {
	case by >= replayWindow:
		r.window = [replayWindow / 64]uint64{}
	case by >= 64:
		r.window[1] = r.window[0] << (by - 64)
		r.window[0] = 0
	default:
		r.window[1] = r.window[1]<<by | r.window[0]>>(64-by)
		r.window[0] <<= by
	}
}
