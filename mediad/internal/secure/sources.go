package secure

// maxSSRCs bounds the replay and rollover state of one context. A context that has met so many sources refuses new ones, because
// forgetting one would let its packets be replayed or its key stream be used twice.
const maxSSRCs = 256

// source is what a context knows of one SSRC.
type source struct {
	ssrc uint32
	rollover
}

// sources are the SSRCs that a context holds state for, at most maxSSRCs. Nearly every packet has the same as the one before. They must not be
// copied.
type sources struct {
	list   []source
	latest int
	one    [1]source // where the list begins: most have no second, and what is elsewhere is far from the processor
}

// find returns what is known of a source, nil if nothing is. The result holds until the next add.
func (s *sources) find(ssrc uint32) *source {
	if s.latest < len(s.list) && s.list[s.latest].ssrc == ssrc {
		return &s.list[s.latest]
	}
	for i := range s.list {
		if s.list[i].ssrc == ssrc {
			s.latest = i
			return &s.list[i]
		}
	}
	return nil
}

// has reports whether a source is known.
func (s *sources) has(ssrc uint32) bool { return s.find(ssrc) != nil }

// add takes a source in; it must be neither known nor one too many.
func (s *sources) add(src source) *source {
	if s.list == nil {
		s.list = s.one[:0]
	}
	s.list = append(s.list, src)
	s.latest = len(s.list) - 1
	return &s.list[s.latest]
}

// begin returns what is known of a source, new state if there is none; nil if it is one too many.
func (s *sources) begin(ssrc uint32) *source {
	if src := s.find(ssrc); src != nil {
		return src
	}
	if len(s.list) >= maxSSRCs {
		return nil
	}
	return s.add(source{ssrc: ssrc})
}
