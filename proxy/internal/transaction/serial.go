package transaction

import (
	"sync"
)

// serial runs functions of one key one after the other in the order they were posted, those of different keys in
// parallel, on a bounded number of goroutines that exist only while there is work.
type serial struct {
	workers, perKey, total int

	mu      sync.Mutex
	keys    map[string]*strand
	ready   []*strand // strands with work and no worker
	running int
	queued  int
	closed  bool
	wg      sync.WaitGroup
}

// strand is the queue of one key.
type strand struct {
	key   string
	queue []func()
}

// newSerial makes a serial with at most workers goroutines, perKey functions waiting for one key and total for all.
func newSerial(workers, perKey, total int) *serial {
	return &serial{workers: workers, perKey: perKey, total: total, keys: map[string]*strand{}}
}

// post queues f; false when the serial is closed, or a bound is reached that f has to keep.
func (s *serial) post(key string, f func(), unbounded bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || (s.queued >= s.total && !unbounded) {
		return false
	}
	st := s.keys[key]
	if st == nil {
		st = &strand{key: key}
		s.keys[key] = st
		s.ready = append(s.ready, st)
	} else if len(st.queue) >= s.perKey && !unbounded {
		return false
	}
	st.queue = append(st.queue, f)
	s.queued++
	if s.running < s.workers && len(s.ready) > 0 {
		s.running++
		s.wg.Go(s.work)
	}
	return true
}

// work serves ready strands until none is left.
func (s *serial) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) > 0 {
		st := s.ready[0]
		s.ready[0] = nil
		s.ready = s.ready[1:]
		// One function a turn, so that a busy call does not starve others.
		f := st.queue[0]
		st.queue[0] = nil
		st.queue = st.queue[1:]
		s.queued--
		s.mu.Unlock()
		f()
		s.mu.Lock()
		if len(st.queue) > 0 {
			s.ready = append(s.ready, st)
		} else {
			delete(s.keys, st.key)
		}
	}
	s.running--
}

// close takes no more work, lets what is queued run, and waits.
func (s *serial) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
}
