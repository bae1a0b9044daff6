package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

// Why a stream that has a Shortcut is not in the kernel.
const (
	whyFull    = "the kernel's table is full"
	whyRoute   = "no route to the destination"
	whyRefused = "the kernel has refused"
)

// record is what the engine knows of an attached stream. Engine.mu guards it.
type record struct {
	engine *Engine
	stream *flow.Stream
	reason string // why it is not in the kernel

	dirty     bool
	installed bool
	shortcut  flow.Shortcut // in the kernel, or the last one that was
	route     forwardRoute
	since     time.Time // when the RTP source was last exchanged

	carry *flow.Carry // nil until the stream is in the kernel for the first time; slot is valid with it
	slot  uint32

	// to are the streams that the shortcut depends on, from those whose shortcuts depend on this stream.
	to, from []*record
}

// Moved is what the kernel has moved; flow.Meter.
func (r *record) Moved() flow.Moved {
	c := r.engine.program.count(r.slot)
	position := atomic.LoadUint64(&c.Position)
	return flow.Moved{
		Packets: atomic.LoadUint64(&c.Packets), Bytes: atomic.LoadUint64(&c.Bytes), Last: r.engine.epoch.time(atomic.LoadUint64(&c.Last)),
		PayloadType:  uint8(atomic.LoadUint32(&c.Type)),
		LastSequence: uint32(position >> 32), LastTimestamp: uint32(position),
	}
}

// Changed takes a stream and those that send through it out of the kernel.
func (e *Engine) Changed(s *flow.Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.records[s]; r != nil {
		e.takeOut(r)
		e.soil(r)
		for _, from := range r.from {
			e.takeOut(from)
			e.soil(from)
		}
	}
}

// Ripened has a stream and those that send through it looked at again.
func (e *Engine) Ripened(s *flow.Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.records[s]; r != nil {
		e.soil(r)
		for _, from := range r.from {
			e.soil(from)
		}
	}
}

// soil has a record looked at by and by.
func (e *Engine) soil(r *record) {
	if r.dirty {
		return
	}
	r.dirty = true
	e.dirty = append(e.dirty, r)
	select {
	case e.work <- struct{}{}:
	default:
	}
}

// run keeps the kernel up to date.
func (e *Engine) run() {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-e.done:
			return
		case <-e.changed:
			if !e.pause(settling) {
				return
			}
			e.refresh()
		case <-e.work:
			if !e.pause(gather) {
				return
			}
			if e.clean() {
				timer.Reset(interval)
			}
		case <-timer.C:
			if e.clean() {
				timer.Reset(interval)
			}
		}
	}
}

// pause reports whether the engine goes on.
func (e *Engine) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-e.done:
		return false
	case <-t.C:
		return true
	}
}

// refresh follows a change of devices or routes.
func (e *Engine) refresh() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.network.refresh(); err != nil {
		e.tell(err)
	}
	for _, r := range e.records {
		e.soil(r)
	}
}

func (e *Engine) tell(err error) {
	if e.cfg.OnError != nil {
		e.cfg.OnError(err)
	}
}

// clean looks at the dirty records, and reports whether it is too early for some.
func (e *Engine) clean() (early bool) {
	e.mu.Lock()
	list := e.dirty
	e.dirty = nil
	for _, r := range list {
		r.dirty = false
	}
	e.mu.Unlock()
	for _, r := range list { // signalling and workers get their turn in between
		e.mu.Lock()
		if e.records[r.stream] == r && !e.decide(r, time.Now()) {
			r.dirty, early = true, true
			e.dirty = append(e.dirty, r)
		}
		e.mu.Unlock()
	}
	return early
}

// decide puts a stream into the kernel if it has a shortcut; false if it is too early for that.
func (e *Engine) decide(r *record, now time.Time) bool {
	e.depend(r)
	sc, reason, ok := r.stream.Shortcut()
	if !ok {
		e.takeOut(r)
		r.reason = reason
		return true
	}
	another := r.carry != nil && sc.SSRC != r.shortcut.SSRC
	if another && now.Sub(r.since) < interval {
		return false
	}
	route, err := e.compile(&sc)
	switch {
	case err != nil:
		e.takeOut(r)
		r.reason = whyRoute
	case r.installed && !another && r.same(route):
	case r.carry == nil && !e.takeSlot(r):
		r.reason = whyFull
	default:
		if another {
			r.since = now
			e.takeOut(r)
		}
		e.install(r, sc, route)
	}
	return true
}

// same reports whether a route is the one in the kernel.
func (r *record) same(route forwardRoute) bool {
	route.Slot = r.slot
	return route == r.route
}

// install begins or changes an entry.
func (e *Engine) install(r *record, sc flow.Shortcut, route forwardRoute) {
	route.Slot = r.slot
	if !r.installed {
		count := e.program.count(r.slot)
		atomic.StoreUint64(&count.Position, uint64(sc.LastSequence)<<32|uint64(sc.LastTimestamp))
		if r.shortcut.SSRC != sc.SSRC {
			atomic.StoreUint32(&count.Clock, 0)
			atomic.StoreUint32(&count.Jitter, 0)
		}
	}
	r.carry.Begin(sc)
	if err := e.program.install(sc.Local, &route); err != nil {
		e.takeOut(r)
		r.carry.Pause()
		r.reason = whyRefused
		if errors.Is(err, unix.E2BIG) {
			r.reason = whyFull
		}
		e.tell(fmt.Errorf("kernel: install: %w", err))
		return
	}
	if !r.installed {
		e.entries++
	}
	r.installed, r.shortcut, r.route, r.reason = true, sc, route, ""
}

// takeOut removes the entry of a stream, if there is one: what arrives from now on goes up.
func (e *Engine) takeOut(r *record) {
	if !r.installed {
		return
	}
	if err := e.program.remove(r.shortcut.Local); err != nil {
		e.tell(fmt.Errorf("kernel: remove: %w", err))
	}
	r.carry.Pause()
	r.installed, r.reason = false, "about to go to the kernel"
	e.entries--
}

// drop forgets a stream.
func (e *Engine) drop(r *record) {
	e.takeOut(r)
	if r.carry != nil {
		r.carry.Close()
		m := r.Moved()
		e.past.Packets += m.Packets
		e.past.Bytes += m.Bytes
		e.free = append(e.free, r.slot)
	}
	for _, to := range r.to {
		to.from = remove(to.from, r)
	}
	for _, from := range r.from {
		from.to = remove(from.to, r)
	}
	r.stream.Watch(nil)
	delete(e.records, r.stream)
}

// takeSlot finds room for the counters of a stream, which it keeps as long as it is attached.
func (e *Engine) takeSlot(r *record) bool {
	switch {
	case int(e.unused) < e.cfg.Capacity:
		r.slot = e.unused
		e.unused++
	case len(e.free) > 0:
		r.slot = e.free[0]
		e.free = e.free[1:]
	default:
		return false
	}
	e.program.reset(r.slot)
	r.engine = e
	r.carry = r.stream.NewCarry(r)
	return true
}

// depend notes which streams the shortcut of another one depends on.
func (e *Engine) depend(r *record) {
	var to []*record
	for _, s := range r.stream.Sends() {
		if other := e.records[s]; other != nil && other != r {
			to = append(to, other)
		}
	}
	if slices.Equal(to, r.to) {
		return
	}
	for _, other := range r.to {
		other.from = remove(other.from, r)
	}
	for _, other := range to {
		other.from = append(other.from, r)
	}
	r.to = to
}

func remove(list []*record, r *record) []*record {
	return slices.DeleteFunc(list, func(other *record) bool { return other == r })
}

// compile turns a shortcut into what the program reads.
func (e *Engine) compile(sc *flow.Shortcut) (forwardRoute, error) {
	r := forwardRoute{Types: sc.Types, Ssrc: wire32(sc.SSRC), Clock: sc.Clock}
	if sc.Source.IsValid() {
		r.Source, r.SourcePort = addressOf(sc.Source.Addr()), wire16(sc.Source.Port())
	} else {
		r.Flags |= anySource
	}
	if sc.Opaque {
		r.Flags |= opaque
	}
	if sc.Drop {
		r.Flags |= discard
		return r, nil
	}
	h, err := e.network.lookup(direction{sc.From.Addr(), sc.To.Addr()})
	if err != nil {
		return r, err
	}
	r.From, r.FromPort = addressOf(sc.From.Addr()), wire16(sc.From.Port())
	r.To, r.ToPort = addressOf(sc.To.Addr()), wire16(sc.To.Port())
	r.Largest = uint16(min(h.largest, 1<<16-1))
	r.Device = uint32(h.device)
	r.HopFamily, r.Hop = hopOf(h.gateway)
	r.Tos = e.cfg.TOS
	if sc.TOS >= 0 {
		r.Tos = uint8(sc.TOS)
	}
	return r, nil
}

// hopOf is the next hop as struct bpf_redir_neigh has it.
func hopOf(a netip.Addr) (family uint32, w forwardAddress) {
	w = addressOf(a)
	if a.Is4() {
		return unix.AF_INET, forwardAddress{Word: [4]uint32{w.Word[3]}}
	}
	return unix.AF_INET6, w
}
