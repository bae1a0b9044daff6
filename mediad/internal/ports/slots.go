package ports

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// blockWords is the number of words of a bitmap that are counted together.
const blockWords = 16

// slots keeps book of numbered places: each is free, in use, resting or not there at all. Taking a random free one costs the same however
// few are left. Not safe for concurrent use.
type slots struct {
	free   []uint64 // bitmap
	blocks []uint16 // free ones by block of free
	total  int
	idle   int // free ones in all
	used   int
	rest   queue
}

// newSlots makes n places; those that keep says are there are free.
func newSlots(n int, keep func(slot int) bool) *slots {
	words := (n + 63) / 64
	s := &slots{free: make([]uint64, words), blocks: make([]uint16, (words+blockWords-1)/blockWords)}
	for i := range n {
		if keep(i) {
			s.setFree(i)
			s.total++
		}
	}
	return s
}

// take removes a random free slot, or the one that has rested longest when all others are in use. ok is false if there is none.
func (s *slots) take(now time.Time) (slot int, ok bool) {
	s.wake(now)
	switch {
	case s.idle > 0:
		slot = s.nth(rand.IntN(s.idle))
		s.free[slot/64] &^= 1 << (slot % 64)
		s.blocks[slot/64/blockWords]--
		s.idle--
	case s.rest.len() > 0:
		slot = s.rest.pop()
	default:
		return 0, false
	}
	s.used++
	return slot, true
}

// nth finds the free slot that has n before it.
func (s *slots) nth(n int) int {
	block := 0
	for n >= int(s.blocks[block]) {
		n -= int(s.blocks[block])
		block++
	}
	word := block * blockWords
	for {
		c := bits.OnesCount64(s.free[word])
		if n < c {
			break
		}
		n -= c
		word++
	}
	w := s.free[word]
	for range n {
		w &= w - 1
	}
	return word*64 + bits.TrailingZeros64(w)
}

// untake frees a slot that was taken at once.
func (s *slots) untake(slot int) {
	s.used--
	s.setFree(slot)
}

// release lets a slot rest until a time, which is not before that of the ones released earlier.
func (s *slots) release(slot int, until time.Time) {
	s.used--
	s.rest.push(slot, until)
}

// wake frees the slots whose rest is over.
func (s *slots) wake(now time.Time) {
	for s.rest.len() > 0 && !now.Before(s.rest.until()) {
		s.setFree(s.rest.pop())
	}
}

func (s *slots) setFree(slot int) {
	s.free[slot/64] |= 1 << (slot % 64)
	s.blocks[slot/64/blockWords]++
	s.idle++
}

// queue has the resting slots in the order of their release, in a ring that grows with them.
type queue struct {
	ring  []resting
	first int
	count int
	base  time.Time // what times are told from
}

type resting struct {
	until time.Duration // after base
	slot  uint16
}

func (q *queue) len() int { return q.count }

// until is when the first slot's rest ends.
func (q *queue) until() time.Time { return q.base.Add(q.ring[q.first].until) }

func (q *queue) push(slot int, until time.Time) {
	if q.ring == nil {
		q.base = until
	}
	if q.count == len(q.ring) {
		grown := make([]resting, max(16, 2*q.count))
		n := copy(grown, q.ring[q.first:])
		copy(grown[n:], q.ring[:q.first])
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.count)%len(q.ring)] = resting{until.Sub(q.base), uint16(slot)}
	q.count++
}

func (q *queue) pop() int {
	slot := q.ring[q.first].slot
	q.first = (q.first + 1) % len(q.ring)
	q.count--
	return int(slot)
}
