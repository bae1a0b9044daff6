package flow

// maxWarm is the number of streams that Warm takes at once.
const maxWarm = 64

// Warm reads what Handle will look at for a packet of each of some streams, at most 64, on their worker. With many calls most of it is in no
// cache; a loop that only reads lets the processor wait for all of it at once, where Handle would wait for one place after another, packet by
// packet. It returns a number that means nothing, so that no compiler leaves the reading out.
func Warm(streams []*Stream) (seen uint64) {
	streams = streams[:min(len(streams), maxWarm)]
	var outs [maxWarm]*Output
	for i, s := range streams {
		if r := s.route.Load(); len(r.Media) > 0 {
			outs[i] = &r.Media[0]
		}
		seen += uint64(s.latch.generation) + s.counters.packetsIn.Load()
	}
	for i, s := range streams {
		if list := s.counters.sources.list; list != nil {
			seen += list[s.counters.sources.latest.Load()].packets.Load()
		}
		if o := outs[i]; o != nil && o.Stream.destination.Load() != nil {
			seen += uint64(o.Stream.destination.Load().Port()) + o.Stream.counters.packetsOut.Load()
		}
	}
	return seen
}
