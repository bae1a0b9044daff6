package ngclient

import (
	"sync"
	"time"
)

// sticky remembers the node of each call in two generations: what is used moves
// to the current one, and a turn drops the other. So an entry lives one to two
// turns after its last use, and there are never more than max.
type sticky struct {
	mu       sync.Mutex
	current  map[string]*Node
	previous map[string]*Node
	half     int
	turn     time.Duration
	turned   time.Time
	now      func() time.Time
}

func newSticky(max int, turn time.Duration) *sticky {
	s := &sticky{current: make(map[string]*Node), half: (max + 1) / 2, turn: turn, now: time.Now}
	s.turned = s.now()
	return s
}

func (s *sticky) get(callID string) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if n := s.current[callID]; n != nil {
		return n
	}
	n := s.previous[callID]
	if n != nil {
		delete(s.previous, callID)
		s.store(callID, n)
	}
	return n
}

func (s *sticky) put(callID string, n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	delete(s.previous, callID)
	s.store(callID, n)
}

func (s *sticky) remove(callID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.current, callID)
	delete(s.previous, callID)
}

func (s *sticky) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.current) + len(s.previous)
}

func (s *sticky) store(callID string, n *Node) {
	if len(s.current) >= s.half {
		s.swap()
	}
	s.current[callID] = n
}

func (s *sticky) expire() {
	for range 2 { // both generations may have run out
		if s.now().Sub(s.turned) >= s.turn {
			s.turned = s.turned.Add(s.turn)
			s.previous, s.current = s.current, make(map[string]*Node)
		}
	}
	if s.now().Sub(s.turned) >= s.turn {
		s.turned = s.now()
	}
}

func (s *sticky) swap() {
	s.previous, s.current = s.current, make(map[string]*Node)
	s.turned = s.now()
}
