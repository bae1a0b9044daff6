package flow

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// ErrClosed says that a stream is detached and its port given back or about to be.
var ErrClosed = errors.New("flow: stream is closed")

// ErrNoDestination says that neither SDP nor ICE nor a packet has told where the peer is.
var ErrNoDestination = errors.New("flow: no destination yet")

// Stream is one local UDP port that faces one party: the RTP or the RTCP component of a media. The engine reads it, its Route says what
// becomes of the packets. Methods may be called from any goroutine unless they say otherwise.
type Stream struct {
	// What each packet needs comes first, so that it lies together.
	port  udp.Port
	shard atomic.Uint64

	route atomic.Pointer[Route]
	// destination is where packets to this stream's peer go, compiled from endpoints whenever one of them changes.
	destination atomic.Pointer[netip.AddrPort]
	// outlet is another stream whose port packets to the peer leave from, nil for this one's.
	outlet   atomic.Pointer[Stream]
	counters *counters
	closed   atomic.Bool // set under sending
	// reopened counts Reopen calls, so that the worker notices them without a lock.
	reopened atomic.Uint32
	latch    latch // owned by the worker

	// settled tells that the latch has closed, or that a packet has come where nothing is learned.
	settled atomic.Bool
	tos     atomic.Int32 // of what the port sends, −1 for what the engine has given it
	// opened is the time of the last Reopen in Unix nanoseconds.
	opened atomic.Int64
	// latched is one more than the number of Reopen calls when the latch was last closed, 0 if it never was.
	latched atomic.Uint64
	watcher atomic.Pointer[Watcher]
	// waiting are packets ahead of their keys, owned by the worker.
	waiting []ahead
	// passed are the connectivity checks and handshakes sent on this second, owned by the worker.
	passed struct {
		second int64 // Unix time
		count  int32
	}

	mu        sync.Mutex // guards endpoints
	endpoints endpoints

	sending sync.RWMutex // held for reading while Send uses the port
}

// NewStream makes the stream of a port. Streams with the same shard, normally a hash of the Call-ID, are served by the same worker; the
// streams a route connects must share it. Learning is open from now on.
func NewStream(port udp.Port, shard uint64, now time.Time) *Stream {
	s := &Stream{port: port, counters: new(counters)}
	s.shard.Store(shard)
	s.route.Store(&Route{Drop: true, Learning: Off})
	s.opened.Store(now.UnixNano())
	s.tos.Store(-1)
	return s
}

// NewFurther makes the stream of a port on another local address for the component that s is of. What it receives and sends counts for s,
// and the same worker serves it.
func (s *Stream) NewFurther(port udp.Port, now time.Time) *Stream {
	f := NewStream(port, s.Shard(), now)
	f.counters = s.counters
	return f
}

// Opened is when learning was last opened: at the start, and by Reopen.
func (s *Stream) Opened() time.Time { return time.Unix(0, s.opened.Load()) }

// Port is the stream's port, for the engine that opened it.
func (s *Stream) Port() udp.Port { return s.port }

// Shard is the key the engine chooses the worker by.
func (s *Stream) Shard() uint64 { return s.shard.Load() }

// SetShard changes it. The engine does, while no worker serves the stream.
func (s *Stream) SetShard(shard uint64) { s.shard.Store(shard) }

// LocalAddr is the address of the port.
func (s *Stream) LocalAddr() netip.AddrPort { return s.port.LocalAddr() }

// Route is the route in force, never nil. It must not be changed.
func (s *Stream) Route() *Route { return s.route.Load() }

// SetRoute puts a new route in force from the next packet on. Where packets to the peer go is worked out anew: an address learned or
// selected before is kept as long as the route allows it.
func (s *Stream) SetRoute(r *Route) {
	s.route.Store(r)
	if r.ICE == nil {
		s.outlet.Store(nil)
	}
	s.compile(func(e *endpoints) {
		if e.apply(r) {
			s.reopened.Add(1)
		}
	})
	s.changed()
}

// Reopen lets the stream learn its peer's address again, for three seconds in the modes that wait. To be called at signalling only.
// Until a packet comes in, packets go on to where they went before, unless the endpoint in SDP has changed.
func (s *Stream) Reopen(now time.Time) {
	s.opened.Store(now.UnixNano())
	s.reopened.Add(1)
	s.changed()
}

// Select tells the remote address that ICE has chosen. The zero value takes the choice back.
func (s *Stream) Select(remote netip.AddrPort) {
	s.update(func(e *endpoints) { e.selected = remote })
}

// Destination is where packets to the peer go now; the zero value says that it is not known.
func (s *Stream) Destination() netip.AddrPort {
	if d := s.destination.Load(); d != nil {
		return *d
	}
	return netip.AddrPort{}
}

// SetOutlet makes packets to the peer leave from another stream's port, to where that stream sends: ICE has chosen a pair whose local
// address is not this stream's. nil takes it back. Both streams must have the same shard. A route without ICE takes it back, too.
func (s *Stream) SetOutlet(other *Stream) {
	if other == s {
		other = nil
	}
	s.outlet.Store(other)
	s.changed()
}

// Outlet is the stream whose port packets to the peer leave from: the stream itself, or what SetOutlet has put in its place.
func (s *Stream) Outlet() *Stream {
	if o := s.outlet.Load(); o != nil {
		return o
	}
	return s
}

// Confirmed reports whether the address of the peer is settled: learning is over, or ICE has chosen a pair.
func (s *Stream) Confirmed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.endpoints
	return e.ice && e.selected.IsValid() || !e.ice && s.settled.Load()
}

// Learned is the source address that was learned, unset if none.
func (s *Stream) Learned() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints.learned
}

// Send writes one packet from the stream's port at once, past routes and batches: STUN and DTLS.
func (s *Stream) Send(pkt []byte, dst netip.AddrPort) error {
	if !dst.IsValid() || dst.Port() == 0 {
		return ErrNoDestination
	}
	s.sending.RLock()
	defer s.sending.RUnlock()
	if s.closed.Load() {
		return ErrClosed
	}
	return s.port.WriteTo(pkt, dst)
}

// Retire makes Send fail and outputs to this stream drop from now on, and waits for a Send under way. The engine calls it when it
// detaches the stream, on the stream's worker; afterwards the port may be closed.
func (s *Stream) Retire() {
	s.sending.Lock()
	s.closed.Store(true)
	s.sending.Unlock()
	s.changed()
}

// Retired reports whether Retire has been called.
func (s *Stream) Retired() bool { return s.closed.Load() }

// update changes the endpoints and compiles the destination from them.
func (s *Stream) update(change func(*endpoints)) {
	if s.compile(change) {
		s.changed()
	}
}

func (s *Stream) compile(change func(*endpoints)) (moved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.endpoints)
	d, old := s.endpoints.destination(), s.destination.Load()
	switch {
	case !d.IsValid():
		s.destination.Store(nil)
		return old != nil
	case old == nil || *old != d:
		s.destination.Store(&d)
		return true
	}
	return false
}

// endpoints are the addresses a peer may be at.
type endpoints struct {
	signalled  netip.AddrPort // Route.Endpoint
	learned    netip.AddrPort
	selected   netip.AddrPort
	ice        bool
	asymmetric bool
}

// apply takes over what a route says. A new endpoint in SDP outdates the learned one; apply reports whether that is so.
func (e *endpoints) apply(r *Route) (moved bool) {
	if moved = e.signalled != r.Endpoint; moved {
		e.learned = netip.AddrPort{}
	}
	e.signalled = r.Endpoint
	e.ice = r.ICE != nil
	e.asymmetric = r.Asymmetric
	if !e.ice {
		e.selected = netip.AddrPort{}
	}
	return moved
}

func (e *endpoints) destination() netip.AddrPort {
	switch {
	case e.ice:
		return e.selected
	case e.learned.IsValid() && !e.asymmetric:
		return e.learned
	default:
		return e.signalled
	}
}
