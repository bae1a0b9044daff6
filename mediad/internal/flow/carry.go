package flow

import (
	"sync"
	"time"
)

// Moved is what an engine has moved by the Shortcuts of one stream.
type Moved struct {
	// Packets and Bytes (of UDP payload) since the Carry was made.
	Packets, Bytes uint64
	// Last is when the last one came; the zero time for never.
	Last time.Time
	// What follows is of the RTP source of the Shortcut in use or, if there is none, the last one.
	PayloadType   uint8
	LastSequence  uint32 // extended, from Shortcut.LastSequence on
	LastTimestamp uint32
}

// Meter reads what an engine counts. It must be quick: it is read wherever statistics are.
type Meter interface{ Moved() Moved }

// Carry takes what an engine has moved past Handle into the statistics of the streams concerned, so that these do not depend on who moved
// a packet. It is made once for a stream; its methods, Fold apart, are called one at a time.
type Carry struct {
	stream *Stream
	meter  Meter

	mu     sync.Mutex // guards what follows
	taken  Moved
	ssrc   uint32
	opaque bool
	out    *counters // nil if packets are dropped
}

// NewCarry makes the one of a stream. The meter is read until Close.
func (s *Stream) NewCarry(m Meter) *Carry {
	c := &Carry{stream: s, meter: m, taken: m.Moved()}
	s.counters.watch(c)
	return c
}

// Begin tells that the engine is about to use a Shortcut of the stream.
func (c *Carry) Begin(sc Shortcut) {
	c.Fold()
	var out *counters
	if sc.Via != nil {
		out = sc.Via.counters
	}
	c.mu.Lock()
	before := c.out
	c.ssrc, c.opaque, c.out = sc.SSRC, sc.Opaque, out
	c.mu.Unlock()
	if before != out {
		before.forget(c, c.stream.counters)
		if out != nil {
			out.watch(c)
		}
	}
	c.stream.counters.carry.Store(c)
}

// Pause tells that it uses it no more.
func (c *Carry) Pause() {
	c.Fold()
	c.stream.counters.carry.CompareAndSwap(c, nil)
}

// Close takes what is left.
func (c *Carry) Close() {
	c.Pause()
	c.mu.Lock()
	out := c.out
	c.out = nil
	c.mu.Unlock()
	out.forget(c, c.stream.counters)
	c.stream.counters.forget(c, nil)
}

// Fold brings the statistics up to date. Any goroutine may call it.
func (c *Carry) Fold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.meter.Moved()
	packets, bytes := m.Packets-c.taken.Packets, m.Bytes-c.taken.Bytes
	if packets == 0 {
		return
	}
	c.taken = m
	in := c.stream.counters
	in.packetsIn.Add(packets)
	in.bytesIn.Add(bytes)
	in.carriedPackets.Add(packets)
	in.carriedBytes.Add(bytes)
	in.lastCarried.Store(wall(m.Last))
	latest := in.later(wall(m.Last))
	if c.out != nil {
		c.out.packetsOut.Add(packets)
		c.out.bytesOut.Add(bytes)
	}
	if !c.opaque {
		in.sources.carried(c.ssrc, packets, bytes, m, latest)
	}
}

// later takes note of a packet's time, and reports whether none came after it.
func (c *counters) later(at int64) bool {
	for {
		last := c.lastPacket.Load()
		if at < last {
			return false
		}
		if c.lastPacket.CompareAndSwap(last, at) {
			return true
		}
	}
}

// carried counts packets that did not come by Handle.
func (s *sources) carried(ssrc uint32, packets, bytes uint64, m Moved, latest bool) {
	for i := range s.used.Load() {
		src := &s.list[i]
		if src.ssrc.Load() != ssrc {
			continue
		}
		src.packets.Add(packets)
		src.bytes.Add(bytes)
		src.payloadType.Store(uint32(m.PayloadType))
		src.advance(m.LastSequence, m.LastTimestamp)
		if latest {
			s.latest.Store(i)
		}
		return
	}
}

// advance moves the highest sequence number on, never back.
func (s *source) advance(highest, timestamp uint32) {
	for {
		old := s.position.Load()
		if int32(highest-uint32(old>>32)) < 0 {
			return
		}
		if s.position.CompareAndSwap(old, uint64(highest)<<32|uint64(timestamp)) {
			return
		}
	}
}

// carries are those whose packets count for a stream: they come in by it or go out by it.
type carries struct {
	mu   sync.Mutex
	list []*Carry
}

func (c *counters) watch(y *Carry) {
	c.carries.mu.Lock()
	defer c.carries.mu.Unlock()
	for _, other := range c.carries.list {
		if other == y {
			return
		}
	}
	c.carries.list = append(c.carries.list, y)
}

// forget undoes watch, but not if c is to be kept.
func (c *counters) forget(y *Carry, kept *counters) {
	if c == nil || c == kept {
		return
	}
	c.carries.mu.Lock()
	defer c.carries.mu.Unlock()
	for i, other := range c.carries.list {
		if other == y {
			c.carries.list = append(c.carries.list[:i:i], c.carries.list[i+1:]...)
			return
		}
	}
}

// fold brings the counters up to date with what engines have moved.
func (c *counters) fold() {
	c.carries.mu.Lock()
	defer c.carries.mu.Unlock()
	for _, y := range c.carries.list {
		y.Fold()
	}
}
