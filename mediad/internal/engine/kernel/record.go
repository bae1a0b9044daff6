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
	whyDevice  = "the way to the destination is no Ethernet"
	whyRefused = "the kernel has refused"
	whySoon    = "about to go to the kernel"
)

// record is what the engine knows of an attached stream. Engine.mu guards it.
type record struct {
	stream *flow.Stream
	reason string // why it is not in the kernel
	dirty  bool
	waits  bool   // for room
	entry  *entry // nil until it is there for the first time

	// to are the streams that the shortcut depends on, from those whose shortcuts depend on this stream.
	to, from []*record
}

// entry is what the kernel knows of a stream, or knew last.
type entry struct {
	engine    *Engine
	slot      uint32
	carry     *flow.Carry
	installed bool
	shortcut  flow.Shortcut
	route     forwardRoute
	since     time.Time // when the RTP source was last exchanged
}

func (r *record) installed() bool { return r.entry != nil && r.entry.installed }

// Moved is what the kernel has moved; flow.Meter.
func (n *entry) Moved() flow.Moved {
	c := n.engine.program.count(n.slot)
	position := atomic.LoadUint64(&c.Position)
	return flow.Moved{
		Packets: atomic.LoadUint64(&c.Packets), Bytes: atomic.LoadUint64(&c.Bytes), Last: n.engine.epoch.time(atomic.LoadUint64(&c.Last)),
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
	timer, look := time.NewTimer(interval), time.NewTimer(0)
	defer timer.Stop()
	defer look.Stop()
	<-look.C
	looked, waiting := time.Now(), false
	for {
		select {
		case <-e.done:
			return
		case <-e.changed:
			if !waiting {
				waiting = true
				look.Reset(max(settling, calm-time.Since(looked)))
			}
		case <-look.C:
			looked, waiting = time.Now(), false
			e.refresh()
		case <-e.work:
			if !e.gathered() {
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

// gathered waits for work that belongs together, and reports whether the engine goes on.
func (e *Engine) gathered() bool {
	t := time.NewTimer(gather)
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
		if r.installed() || r.reason == whyRoute || r.reason == whyDevice {
			e.soil(r)
		}
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
	if r.stream.Route().Control { // and will be: RTCP stays in user space
		e.drop(r)
		return true
	}
	e.depend(r)
	sc, reason, ok := r.stream.Shortcut()
	if !ok {
		e.takeOut(r)
		r.reason = reason
		return true
	}
	another := r.entry != nil && sc.SSRC != r.entry.shortcut.SSRC
	if another && now.Sub(r.entry.since) < interval {
		return false
	}
	route, err := e.compile(&sc)
	switch {
	case err != nil:
		e.takeOut(r)
		r.reason = whyRoute
		if errors.Is(err, errDevice) {
			r.reason = whyDevice
		}
		return true
	case r.entry == nil && !e.takeSlot(r):
		r.reason = whyFull
		return true
	}
	route.Slot = r.entry.slot
	if r.installed() && !another && route == r.entry.route {
		return true
	}
	if another {
		r.entry.since = now
		e.takeOut(r)
	}
	e.install(r, sc, route)
	return true
}

// install begins or changes an entry.
func (e *Engine) install(r *record, sc flow.Shortcut, route forwardRoute) {
	n := r.entry
	if !n.installed {
		count := e.program.count(n.slot)
		atomic.StoreUint64(&count.Position, uint64(sc.LastSequence)<<32|uint64(sc.LastTimestamp))
		if n.shortcut.SSRC != sc.SSRC {
			atomic.StoreUint32(&count.Clock, 0)
			atomic.StoreUint32(&count.Jitter, 0)
		}
	}
	n.carry.Begin(sc)
	if err := e.program.install(sc.Local, &route); err != nil {
		e.takeOut(r)
		n.carry.Pause()
		r.reason = whyRefused
		e.tell(fmt.Errorf("kernel: install: %w", err))
		return
	}
	if !n.installed {
		e.entries++
	}
	n.installed, n.shortcut, n.route, r.reason = true, sc, route, ""
}

// takeOut removes the entry of a stream, if there is one: what arrives from now on goes up.
func (e *Engine) takeOut(r *record) {
	if !r.installed() {
		return
	}
	if err := e.program.remove(r.entry.shortcut.Local); err != nil {
		e.tell(fmt.Errorf("kernel: remove: %w", err))
	}
	r.entry.carry.Pause()
	r.entry.installed, r.reason = false, whySoon
	e.entries--
}

// drop forgets a stream.
func (e *Engine) drop(r *record) {
	e.takeOut(r)
	if n := r.entry; n != nil {
		n.carry.Close()
		m := n.Moved()
		e.past.Packets += m.Packets
		e.past.Bytes += m.Bytes
		e.free = append(e.free, n.slot)
	}
	for _, to := range r.to {
		to.from = remove(to.from, r)
	}
	for _, from := range r.from {
		from.to = remove(from.to, r)
	}
	r.stream.Watch(nil)
	delete(e.records, r.stream)
	for len(e.waiting) > 0 && len(e.free) > 0 {
		next := e.waiting[0]
		e.waiting = e.waiting[1:]
		next.waits = false
		if e.records[next.stream] == next {
			e.soil(next)
			return
		}
	}
}

// takeSlot finds room for the counters of a stream, which it keeps as long as it is attached.
func (e *Engine) takeSlot(r *record) bool {
	n := &entry{engine: e}
	switch {
	case int(e.unused) < e.cfg.Capacity:
		n.slot = e.unused
		e.unused++
	case len(e.free) > 0:
		n.slot = e.free[0]
		e.free = e.free[1:]
	default:
		if !r.waits {
			r.waits = true
			e.waiting = append(e.waiting, r)
		}
		return false
	}
	e.program.reset(n.slot)
	n.carry = r.stream.NewCarry(n)
	r.entry = n
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
