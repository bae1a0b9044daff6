package sockets

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine/loop"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/pkg/uring"
)

// ringSize bounds what a ring takes. What there is no buffer for waits in the sockets.
type ringSize struct {
	requests    int // queued, and sends under way
	completions int
	buffers     int // for what is received; a power of two
}

// gatherMost is the number of packets that ends their gathering early.
const gatherMost = 64

// What a request is for stands above the number of the port or send it belongs to.
const (
	forReceive = iota << 32
	forSend
	forQueue
	forCancel
	ofWhat = 1<<32 - 1
)

// ring moves packets with io_uring: one system call a turn sends what is queued and waits for what comes. A packet is sent out of the
// buffer it was received into, which goes back to the kernel when the last send from it has completed.
type ring struct {
	ring    *uring.Ring
	buffers *uring.Buffers
	users   []uint16 // of each buffer: sends under way, and the handler
	queue   *loop.Queue
	woken   [8]byte // what is read from the queue's eventfd
	out     *outbox
	sends   *sends

	ports   []port
	vacant  []uint32 // ports that are free
	numbers map[*flow.Stream]uint32
	unarmed []uint32 // ports whose receive has ended and is to start again
	ending  int      // ports that are being detached
	pace    loop.Pace
}

// port is a stream that is read.
type port struct {
	stream *flow.Stream // nil while the port is free
	armed  bool         // a receive is under way
	ending bool         // and is to end
}

// opener makes rings, or fails with uring.ErrUnsupported where there is no io_uring.
func (size ringSize) opener(out *outbox, queue *loop.Queue) (mover, error) {
	if err := uring.Probe(); err != nil {
		return nil, err
	}
	u, err := uring.Open(uint32(size.requests), uint32(size.completions))
	if err != nil {
		return nil, err
	}
	r := &ring{ring: u, queue: queue, out: out, numbers: make(map[*flow.Stream]uint32), users: make([]uint16, size.buffers)}
	if r.buffers, err = u.Provide(size.buffers, flow.PacketSize-secure.Overhead, secure.Overhead); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	if r.sends, err = newSends(size.requests); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	u.Read(queue.FD(), r.woken[:], forQueue)
	return r, nil
}

func (r *ring) attach(s *flow.Stream) error {
	n := uint32(len(r.ports))
	if free := len(r.vacant); free > 0 {
		n, r.vacant = r.vacant[free-1], r.vacant[:free-1]
	} else {
		r.ports = append(r.ports, port{})
	}
	r.ports[n] = port{stream: s}
	r.numbers[s] = n
	r.arm(n)
	return nil
}

func (r *ring) attached(s *flow.Stream) bool {
	_, ok := r.numbers[s]
	return ok
}

func (r *ring) all() []*flow.Stream {
	all := make([]*flow.Stream, 0, len(r.numbers))
	for s := range r.numbers {
		all = append(all, s)
	}
	return all
}

// arm queues the receive of a port.
func (r *ring) arm(n uint32) {
	r.makeRoom()
	r.ports[n].armed = true
	r.ring.Receive(socketOf(r.ports[n].stream).FD(), forReceive|uint64(n))
}

// detach cancels the receives and goes round until they have completed, and then all sends that are queued. What comes in the meantime is
// handled, for other streams and for those that move to another worker.
func (r *ring) detach(streams []*flow.Stream) (attached []*flow.Stream) {
	for _, s := range streams {
		n, ok := r.numbers[s]
		if !ok {
			continue
		}
		attached = append(attached, s)
		delete(r.numbers, s)
		if !r.ports[n].armed {
			r.free(n)
			continue
		}
		r.ports[n].ending = true
		r.ending++
		r.cancel(n)
	}
	for r.ending > 0 {
		r.enter(1, gather) // cancels complete at once; should one not, others must not wait for it
		r.complete()
	}
	for r.sends.mark(); r.sends.marked > 0; {
		r.enter(1, gather)
		r.complete()
	}
	return attached
}

func (r *ring) cancel(n uint32) {
	r.makeRoom()
	r.ring.Cancel(forReceive|uint64(n), forCancel|uint64(n))
}

func (r *ring) free(n uint32) {
	if r.ports[n].ending {
		r.ending--
	}
	r.ports[n] = port{}
	r.vacant = append(r.vacant, n)
}

func (r *ring) close() error { return errors.Join(r.ring.Close(), r.sends.release()) }

// makeRoom sees to it that a request can be queued.
func (r *ring) makeRoom() {
	for r.ring.Room() == 0 {
		r.enter(0, 0)
	}
}

func (r *ring) enter(wait int, timeout time.Duration) {
	if err := r.ring.Enter(wait, timeout); err != nil {
		panic("sockets: " + err.Error()) // only a fault of the program leads here
	}
}

// turn sends what is queued, waits and handles what has come. Sends complete at once: only what is more than they wakes a sleeper.
func (r *ring) turn(sleep bool) {
	r.rearm()
	wait, timeout := 0, time.Duration(0)
	switch {
	case !sleep || len(r.unarmed) > 0:
	case r.pace.Busy():
		wait, timeout = r.sends.underWay()+gatherMost, r.pace.Gather(gather)
	default:
		wait = r.sends.underWay() + 1
	}
	r.enter(wait, timeout)
	r.queue.Awake()
	r.complete()
}

// rearm starts receives that have ended. A port whose turn it is finds a buffer unless all are in use.
func (r *ring) rearm() {
	if len(r.unarmed) == 0 || r.sends.underWay() >= r.buffers.Count()/2 {
		return
	}
	for _, n := range r.unarmed {
		if p := &r.ports[n]; p.stream != nil && !p.armed {
			r.arm(n)
		}
	}
	r.unarmed = r.unarmed[:0]
}

// complete handles the completions that are there, not without end: what comes for it in the meantime may have to wait a turn.
func (r *ring) complete() {
	now := time.Now()
	packets := 0
	for range len(r.users) + len(r.sends.slots) {
		c, ok := r.ring.Next()
		if !ok {
			break
		}
		n := uint32(c.Data)
		switch c.Data &^ ofWhat {
		case forReceive:
			packets++
			r.received(n, c, now)
		case forSend:
			if b, held := r.sends.done(n, c); held {
				r.drop(b)
			}
		case forQueue:
			r.makeRoom()
			r.ring.Read(r.queue.FD(), r.woken[:], forQueue)
		case forCancel:
			if c.Err() == unix.EALREADY && r.ports[n].ending {
				r.cancel(n)
			}
		}
	}
	r.pace.Note(packets, now)
}

// received handles a completion of a port's receive.
func (r *ring) received(n uint32, c uring.Completion, now time.Time) {
	p := &r.ports[n]
	if b, ok := r.buffers.Of(c); ok {
		r.users[b] = 1
		if m, ok := r.buffers.Message(c); ok && !p.stream.Retired() {
			r.handle(p.stream, &m, now)
		}
		r.drop(b)
	}
	if c.More() {
		return
	}
	p.armed = false
	switch err := c.Err(); {
	case p.ending:
		r.free(n)
	case err == unix.EBADF, err == unix.ENOTSOCK, err == unix.EINVAL, err == unix.EFAULT:
		r.fault(p.stream, err)
	default: // no buffer, an ICMP error of an earlier send, an empty datagram
		r.unarmed = append(r.unarmed, n)
	}
}

// fault tells that a socket cannot be read, which only a fault of the program leads to. Its stream stays deaf.
func (r *ring) fault(s *flow.Stream, err error) {
	defer r.out.survive(s)
	panic(fmt.Errorf("sockets: receive on %s: %w", s.LocalAddr(), err))
}

func (r *ring) handle(s *flow.Stream, m *uring.Message, now time.Time) {
	defer r.out.survive(s)
	if m.Truncated {
		s.CountRefused()
		return
	}
	s.Handle(m.Packet, m.Source, now, r.out.Batch)
	r.flush()
}

// drop takes a user away from a buffer, which goes back to the kernel after the last.
func (r *ring) drop(b uint16) {
	if r.users[b]--; r.users[b] == 0 {
		r.buffers.Give(b)
	}
}

// flush queues the batch to be sent with the next turn. When too many sends are under way, the rest is sent at once.
func (r *ring) flush() {
	for _, d := range r.out.Datagrams() {
		if r.ring.Room() == 0 || r.sends.full() {
			r.enter(0, 0) // what is queued goes first
		}
		if r.ring.Room() == 0 || r.sends.full() {
			r.sendNow(d)
			continue
		}
		b, held := r.buffers.Holding(d.Packet)
		if held {
			r.users[b]++
		}
		n, msg := r.sends.add(d, b, held)
		r.ring.SendMsg(socketOf(d.Stream).FD(), msg, forSend|uint64(n))
	}
	r.out.Reset()
}

func (r *ring) sendNow(d flow.Datagram) {
	if err := socketOf(d.Stream).WriteTo(d.Packet, d.To); err != nil {
		d.Stream.CountSent(0, 0, 1)
		return
	}
	d.Stream.CountSent(1, len(d.Packet), 0)
}
