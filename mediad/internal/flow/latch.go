package flow

import (
	"net/netip"
	"time"
)

// learningTime is how long after signalling a peer's address may still change (rtpengine uses the same three seconds).
const learningTime = 3 * time.Second

// latch is the state of learning a peer's address. It goes open → provisional (an address is used, but may be bettered) → closed; Reopen
// leads back to open. It belongs to the worker.
type latch struct {
	generation uint32 // of Stream.reopened that this state belongs to
	closed     bool
	rank       rank
	until      time.Time      // end of learning
	current    netip.AddrPort // learned address, as in endpoints
	previous   netip.AddrPort // what was learned before Reopen
}

// rank of a source in the heuristic mode; smaller is better.
type rank uint8

const (
	rankEqual    rank = iota // the endpoint in SDP
	rankPrevious             // the address learned before this signalling, and SDP still says the same: a re-offer gives strangers no new chance
	rankAddress              // the address in SDP, from another port
	rankPort                 // the port in SDP, from another address
	rankAny
	rankNone
)

// admit decides by the source alone, before any cryptography, whether a media packet may go on.
func (s *Stream) admit(r *Route, src netip.AddrPort, now time.Time) bool {
	if r.ICE != nil {
		return s.reachable(r, src)
	}
	if !r.Strict || r.Handover {
		return true
	}
	s.refreshLatch(now)
	if r.Learning == Off || r.Asymmetric {
		return !r.Endpoint.IsValid() || src == r.Endpoint
	}
	return !s.latch.closed || src == s.latch.current
}

// refreshLatch opens the latch again if Reopen was called since the last packet.
func (s *Stream) refreshLatch(now time.Time) {
	l := &s.latch
	if g := s.reopened.Load(); g != l.generation || l.until.IsZero() {
		previous := l.current
		if s.Learned() != previous { // a new endpoint in SDP has outdated it
			previous = netip.AddrPort{}
		}
		*l = latch{generation: g, rank: rankNone, previous: previous, current: previous}
		if previous.IsValid() { // a stranger must not take it while its owner is silent, on hold for instance
			l.rank = rankPrevious
		}
		l.until = time.Unix(0, s.opened.Load()).Add(learningTime)
	}
}

// learn takes note of the source of an accepted, authenticated packet.
func (s *Stream) learn(r *Route, src netip.AddrPort, now time.Time) {
	if r.ICE != nil || r.Asymmetric || (r.Learning == Off && !r.Handover) {
		s.settle(true)
		return
	}
	s.refreshLatch(now)
	l := &s.latch
	if r.Learning == Off { // handover goes before, as in rtpengine
		if src != r.Endpoint || l.current.IsValid() {
			s.take(src)
		}
		s.settle(true)
		return
	}
	if l.closed {
		if r.Handover && src != l.current {
			s.take(src)
		}
		return
	}
	switch r.Learning {
	case Immediate:
		l.closed = true
		s.take(src)
	case Delayed:
		l.closed = !now.Before(l.until)
		s.take(src)
	default:
		s.learnHeuristic(r, src, now)
	}
	s.settle(l.closed)
	if l.closed {
		s.latched.Store(uint64(l.generation) + 1)
		s.ripened()
	}
}

// settle takes note of whether the address of the peer may still change.
func (s *Stream) settle(settled bool) {
	if s.settled.Load() != settled {
		s.settled.Store(settled)
		s.ripened()
	}
}

// learnHeuristic keeps the best source seen, the latest of those equally good. When time is over it closes on the best one, and the
// packet at hand only counts if none came before.
func (s *Stream) learnHeuristic(r *Route, src netip.AddrPort, now time.Time) {
	l := &s.latch
	over := !now.Before(l.until)
	if k := l.rankOf(r.Endpoint, src); k <= l.rank && (!over || k < l.rank) {
		l.rank = k
		s.take(src)
	}
	l.closed = over
}

func (l *latch) rankOf(sdp, src netip.AddrPort) rank {
	switch {
	case src == sdp:
		return rankEqual
	case src.Addr() == l.previous.Addr(): // from another port, too: a NAT may have a new one
		return rankPrevious
	case src.Addr() == sdp.Addr():
		return rankAddress
	case src.Port() == sdp.Port():
		return rankPort
	default:
		return rankAny
	}
}

// take makes an address the learned one.
func (s *Stream) take(src netip.AddrPort) {
	if d := s.destination.Load(); d != nil && *d == src && s.latch.current == src {
		return // the usual case while learning is open, without a lock
	}
	s.latch.current = src
	s.update(func(e *endpoints) { e.learned = src })
}
