package ngclient

import (
	"sync"
	"time"
)

// place is where a call is. If released, it has left the node for good.
type place struct {
	node     *Node
	released bool
}

// sticky remembers the node of each call in two generations: what is used moves
// to the current one, and a turn drops the other. So an entry lives one to two
// turns after its last use, and there are never more than max.
type sticky struct {
	mu       sync.Mutex
	current  map[string]place
	previous map[string]place
	half     int
	turn     time.Duration
	turned   time.Time
	now      func() time.Time
}

func newSticky(max int, turn time.Duration) *sticky {
	s := &sticky{current: make(map[string]place), half: (max + 1) / 2, turn: turn, now: time.Now}
	s.turned = s.now()
	return s
}

func (s *sticky) get(callID string) (at place, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if at, ok = s.current[callID]; ok {
		return at, true
	}
	if at, ok = s.previous[callID]; ok {
		delete(s.previous, callID)
		s.store(callID, at)
	}
	return at, ok
}

// release marks all calls of a node and returns them.
func (s *sticky) release(n *Node) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	var calls []string
	for _, generation := range []map[string]place{s.current, s.previous} {
		for id, at := range generation {
			if at.node == n && !at.released {
				generation[id] = place{n, true}
				calls = append(calls, id)
			}
		}
	}
	return calls
}

func (s *sticky) put(callID string, n place) {
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

// sampleLook bounds how many entries a sample looks at: with many nodes, a call of
// one with few is found another time.
const sampleLook = 2000

// sample returns up to max calls of a node, any of them.
func (s *sticky) sample(n *Node, max int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []string
	looked := 0
	for _, generation := range []map[string]place{s.current, s.previous} {
		for id, at := range generation {
			if looked++; looked > sampleLook || len(calls) == max {
				return calls
			}
			if at.node == n && !at.released {
				calls = append(calls, id)
			}
		}
	}
	return calls
}

func (s *sticky) count(n *Node) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := 0
	for _, generation := range []map[string]place{s.current, s.previous} {
		for _, at := range generation {
			if at.node == n && !at.released {
				calls++
			}
		}
	}
	return calls
}

func (s *sticky) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.current) + len(s.previous)
}

func (s *sticky) store(callID string, n place) {
	if len(s.current) >= s.half {
		s.swap()
	}
	s.current[callID] = n
}

func (s *sticky) expire() {
	for range 2 { // both generations may have run out
		if s.now().Sub(s.turned) >= s.turn {
			s.turned = s.turned.Add(s.turn)
			s.previous, s.current = s.current, make(map[string]place)
		}
	}
	if s.now().Sub(s.turned) >= s.turn {
		s.turned = s.now()
	}
}

func (s *sticky) swap() {
	s.previous, s.current = s.current, make(map[string]place)
	s.turned = s.now()
}
