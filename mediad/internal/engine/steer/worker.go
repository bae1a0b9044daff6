package steer

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine/loop"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

const (
	// readBatch is the number of datagrams one call reads: as many as a flow.Batch surely has room for.
	readBatch = 48
	// writeBatch is the number of datagrams one call sends.
	writeBatch = 64
	// readBuffer is the room in bytes for packets of all streams that wait for a worker. The kernel doubles it and counts some 800 bytes
	// for a small one, so that 40,000 can wait.
	readBuffer = 16 << 20
	// writeBuffer is the room for packets that leave.
	writeBuffer = 4 << 20
	// quietTurns is after how many turns without a packet a busy worker waits for a family's packets instead of looking for them.
	quietTurns = 4
	// gather is how long a busy worker lets packets gather at most.
	gather = 300 * time.Microsecond
	// turns is how many batches are read from one socket before the other family and the end of the loop are looked at.
	turns = 16
	// wakeToken stands for the eventfd in the poll; 0 and 1 are the sockets of the families.
	wakeToken = 2
)

// worker is an event loop with the sockets of its ports. It owns the streams of its shards: who holds mu uses their SRTP contexts.
type worker struct {
	engine      *Engine
	number      uint8 // counted from 1, as the program does
	epoll, wake int
	intakes     [2]*udp.Conn // IPv4 and IPv6, nil where the host does without
	raws        [2]*udp.RawConn
	onPanic     func(value any, stack []byte)
	reader      *udp.IntakeReader       // the loop's
	ports       [readBatch]*port        // of the packets in it, nil for none of ours
	streams     [readBatch]*flow.Stream // attached to them, or nil
	strays      []int                   // packets that are for other workers
	pace        loop.Pace
	empty       [2]int // turns since a family had a packet, while the worker is busy

	mu      sync.Mutex // held for each batch, and by other goroutines' work that must not run beside packets
	stopped bool
	writers [2]*udp.RawWriter
	batch   *flow.Batch
	current *flow.Stream // whose packet is being handled
	sending bool
	lost    [writeBatch]bool // by place in the batch
	lose    func(place int, err error)
}

func newWorker(e *Engine, number int, onPanic func(value any, stack []byte)) (*worker, error) {
	w := &worker{
		engine: e, number: uint8(number), epoll: -1, wake: -1, onPanic: onPanic,
		reader: udp.NewIntakeReader(readBatch, flow.PacketSize-secure.Overhead, secure.Overhead),
		batch:  flow.NewBatch(), strays: make([]int, 0, readBatch),
	}
	w.lose = func(place int, _ error) { w.lost[place] = true }
	if err := w.open(); err != nil {
		return nil, errors.Join(err, w.release())
	}
	return w, nil
}

func (w *worker) open() (err error) {
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if err = w.watch(w.wake, wakeToken); err != nil {
		return err
	}
	for family := range w.intakes {
		if err = w.openFamily(family); err != nil && !(missing(err) && family == 1) {
			return err
		}
	}
	return nil
}

func (w *worker) openFamily(family int) (err error) {
	raw, err := udp.OpenRaw(family == 1, writeBuffer)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("sending from any port needs CAP_NET_RAW: %w", err)
	}
	if err != nil {
		return err
	}
	intake, err := udp.ListenIntake(family == 1, readBuffer)
	if err != nil {
		return errors.Join(err, raw.Close())
	}
	w.intakes[family], w.raws[family], w.writers[family] = intake, raw, udp.NewRawWriter(raw, writeBatch)
	return w.watch(intake.FD(), family)
}

func (w *worker) watch(fd, token int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(token)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll add: %w", err)
	}
	return nil
}

// attach puts streams under the worker's care. mu is held, here and below.
func (w *worker) attach(streams []*flow.Stream) error {
	if w.stopped {
		return errClosed
	}
	for _, s := range streams {
		p, ok := s.Port().(*port)
		if !ok || p.engine != w.engine {
			return fmt.Errorf("%w: %s", errNotOurs, s.LocalAddr())
		}
		if !p.stream.CompareAndSwap(nil, s) {
			if p.stream.Load() == s {
				continue
			}
			return fmt.Errorf("steer: another stream has %s: %w", s.LocalAddr(), unix.EADDRINUSE)
		}
		w.engine.program.own(p.address.slot, p.number, w.number)
	}
	return nil
}

// detach gives the ports back to the host: what comes from now on is answered as it pleases.
func (w *worker) detach(streams []*flow.Stream) error {
	for _, s := range streams {
		if p, ok := s.Port().(*port); ok && !w.stopped && p.stream.CompareAndSwap(s, nil) {
			w.engine.program.own(p.address.slot, p.number, 0)
		}
		s.Retire()
	}
	return nil
}

// each lets all streams that are attached do something, and sends what comes of it; nothing after the end of the loop.
func (w *worker) each(streams []*flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) error {
	for _, s := range streams {
		if p, ok := s.Port().(*port); ok && !w.stopped && p.stream.Load() == s {
			w.let(s, act)
		}
	}
	return nil
}

func (w *worker) let(s *flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) {
	w.current = s
	defer w.batch.Reset() // of what a panic has left
	defer w.survive()
	act(s, time.Now(), w.batch)
	w.flush()
}

// stop makes the loop end.
func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	one := [8]byte{0: 1}
	_, _ = unix.Write(w.wake, one[:])
}

// release closes what the loop used, after it has ended.
func (w *worker) release() error {
	var errs []error
	for family := range w.intakes {
		if w.intakes[family] != nil {
			errs = append(errs, w.intakes[family].Close(), w.raws[family].Close())
		}
	}
	for _, fd := range []int{w.wake, w.epoll} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// run is the event loop.
func (w *worker) run() {
	events := make([]unix.EpollEvent, wakeToken+1)
	for {
		packets, end := 0, false
		if w.pace.Busy() {
			packets, end = w.gather()
		} else {
			packets, end = w.wait(events)
		}
		if end {
			return
		}
		w.pace.Note(packets, time.Now())
	}
}

// wait waits for packets and handles them; end says that the loop is to end.
func (w *worker) wait(events []unix.EpollEvent) (packets int, end bool) {
	n, err := unix.EpollWait(w.epoll, events, -1)
	if err != nil && err != unix.EINTR {
		panic("steer: epoll_wait: " + err.Error()) // only a programming error leads here
	}
	for i := range max(n, 0) {
		if events[i].Fd == wakeToken {
			return 0, true
		}
		packets += w.read(int(events[i].Fd))
	}
	return packets, false
}

// gather lets packets come for a while and handles them then. What comes for a family that had none for some time ends it early: such a
// packet has no others to wait for.
func (w *worker) gather() (packets int, end bool) {
	fds, ready := [1 + len(w.intakes)]unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}}, unix.NsecToTimespec(int64(w.pace.Gather(gather)))
	for family, intake := range w.intakes {
		fds[1+family].Fd = -1 // not looked at
		if intake != nil && w.empty[family] >= quietTurns {
			fds[1+family] = unix.PollFd{Fd: int32(intake.FD()), Events: unix.POLLIN}
		}
	}
	_, _ = unix.Ppoll(fds[:], &ready, nil) // a signal is as good as the time's end
	if fds[0].Revents != 0 {
		return 0, true
	}
	for family := range w.intakes {
		if watched := fds[1+family].Fd >= 0; watched && fds[1+family].Revents == 0 {
			continue
		}
		n := w.read(family)
		if w.empty[family]++; n > 0 {
			w.empty[family] = 0
		}
		packets += n
	}
	return packets, false
}

// read handles what has come for one family, until little is left, and returns the number of packets.
func (w *worker) read(family int) (packets int) {
	if w.intakes[family] == nil {
		return 0
	}
	for range turns {
		n, err := w.reader.Read(w.intakes[family])
		if err != nil {
			break // nothing there
		}
		w.handle(n)
		packets += n
		if n < readBatch {
			break
		}
	}
	return packets
}

// handle takes a batch through its routes.
func (w *worker) handle(n int) {
	now := time.Now()
	for i := range n {
		w.ports[i] = w.engine.find(w.reader.Destination(i))
	}
	w.mu.Lock()
	w.sort(n)
	for next, done := 0, w.stopped; !done; {
		next, done = w.handleFrom(next, n, now)
	}
	w.mu.Unlock()
	clear(w.streams[:n])
	clear(w.ports[:n])
	for _, i := range w.strays {
		w.pass(i, now)
	}
}

// sort looks the streams of all packets up before the first is handled: with many calls it is memory that takes the time, and so it is waited
// for once. None of them comes or goes while mu is held.
func (w *worker) sort(n int) {
	w.strays = w.strays[:0]
	var ours [readBatch]*flow.Stream
	count := 0
	for i, p := range w.ports[:n] {
		w.streams[i] = nil
		if p == nil {
			continue
		}
		s := p.stream.Load()
		switch {
		case s == nil: // detached while the packet was in the queue
		case w.engine.workerOf(s) != w:
			w.strays = append(w.strays, i)
		default:
			w.streams[i], ours[count] = s, s
			count++
		}
	}
	flow.Warm(ours[:count])
}

// handleFrom handles the packets first to n-1 and sends what comes of them. It ends early at a packet that cannot be handled; next is the
// one behind it.
func (w *worker) handleFrom(first, n int, now time.Time) (next int, done bool) {
	defer w.survive()
	for next = first; next < n; {
		i := next
		next++
		if s := w.streams[i]; s != nil {
			w.serve(s, w.reader, i, now)
		}
	}
	w.flush()
	return next, true
}

// serve takes a packet of one of the worker's streams, in a reader, through its route.
func (w *worker) serve(s *flow.Stream, r *udp.IntakeReader, i int, now time.Time) {
	w.current = s
	if r.Truncated(i) {
		s.CountRefused()
		return
	}
	if !w.batch.Room() {
		w.flush()
	}
	s.Handle(r.Packet(i), r.Source(i), now, w.batch)
}

// pass lets another worker handle a packet of a stream that has moved to it while the packet was in this one's queue.
func (w *worker) pass(i int, now time.Time) {
	for {
		var s *flow.Stream
		if p := w.engine.find(w.reader.Destination(i)); p != nil {
			s = p.stream.Load()
		}
		if s == nil {
			return
		}
		owner := w.engine.workerOf(s)
		if owner.take(s, w.reader, i, now) {
			return
		}
	}
}

// take handles a packet that another worker has read. It reports false if the stream has moved on.
func (w *worker) take(s *flow.Stream, r *udp.IntakeReader, i int, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engine.workerOf(s) != w {
		return false
	}
	if p := s.Port().(*port); w.stopped || p.stream.Load() != s {
		return true
	}
	defer w.batch.Reset() // of what a panic has left
	defer w.survive()
	w.serve(s, r, i, now)
	w.flush()
	return true
}

// survive keeps a packet that cannot be handled from ending the other calls. What others are to be sent stays in the batch.
func (w *worker) survive() {
	if w.onPanic == nil {
		return
	}
	if v := recover(); v != nil {
		if w.sending {
			w.sending = false
			w.batch.Reset()
		}
		w.current.CountRefused()
		w.onPanic(v, debug.Stack())
	}
}

// flush sends the batch, the packets of all streams together.
func (w *worker) flush() {
	items := w.batch.Datagrams()
	if len(items) == 0 {
		return
	}
	w.sending = true
	var tos [writeBatch]uint8
	for i := range items { // read for all at once, see sort
		tos[i] = uint8(items[i].Stream.Port().(*port).tos.Load())
	}
	for i := range items {
		d := &items[i]
		p := d.Stream.Port().(*port)
		writer := w.writers[family(p.address.local)]
		if writer.Full() {
			writer.Flush(w.lose)
		}
		w.lost[i] = !writer.Add(d.Packet, p.LocalAddr(), d.To, tos[i], i)
	}
	for _, writer := range w.writers {
		if writer != nil {
			writer.Flush(w.lose)
		}
	}
	for i := range items {
		if w.lost[i] {
			items[i].Stream.CountSent(0, 0, 1)
		} else {
			items[i].Stream.CountSent(1, len(items[i].Packet), 0)
		}
	}
	w.batch.Reset()
	w.sending = false
}
