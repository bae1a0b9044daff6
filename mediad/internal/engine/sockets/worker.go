package sockets

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

const (
	// readBatch is the number of datagrams one call reads: more than that wait together on one socket only under attack.
	readBatch = 32
	// writeBatch is the number of datagrams one call sends.
	writeBatch = 64
	// maxEvents is the number of ready sockets one wait returns.
	maxEvents = 128
	// wakeToken stands for the eventfd among the tokens of streams, which count from 1.
	wakeToken = 0
)

// worker is one event loop. It owns the streams of its shards: nobody else reads them or uses their SRTP contexts.
type worker struct {
	epoll, wake int
	onPanic     func(value any, stack []byte)

	mu       sync.Mutex // guards what follows
	commands []command
	stopped  bool

	streams map[uint64]*flow.Stream // by token; owned by the loop
	tokens  map[*flow.Stream]uint64
	last    uint64

	reader *udp.Reader
	writer *udp.Writer
	batch  *flow.Batch
}

// command is work that must not run beside a packet.
type command struct {
	run  func() error
	done chan error
}

func newWorker(onPanic func(value any, stack []byte)) (*worker, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &worker{
		epoll: ep, wake: wake, onPanic: onPanic,
		streams: make(map[uint64]*flow.Stream), tokens: make(map[*flow.Stream]uint64),
		reader: udp.NewReader(readBatch, flow.PacketSize-secure.Overhead, secure.Overhead),
		writer: udp.NewWriter(writeBatch),
		batch:  flow.NewBatch(),
	}
	if err := w.watch(wake, wakeToken); err != nil {
		_ = w.release()
		return nil, err
	}
	return w, nil
}

func (w *worker) watch(fd int, token uint64) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(token), Pad: int32(token >> 32)} // the halves of the kernel's epoll_data
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll add: %w", err)
	}
	return nil
}

// do runs a function on the loop and waits for it.
func (w *worker) do(run func() error) error {
	c := command{run, make(chan error, 1)}
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return engine.ErrClosed
	}
	w.commands = append(w.commands, c)
	w.mu.Unlock()
	w.signal()
	return <-c.done
}

// socketOf is the socket of a stream, whose port this engine has opened.
func socketOf(s *flow.Stream) *udp.Conn { return s.Port().(*udp.Conn) }

func (w *worker) signal() {
	one := [8]byte{0: 1}
	_, _ = unix.Write(w.wake, one[:]) // fails only when the counter is full, and then the loop is awake
}

func (w *worker) attach(streams []*flow.Stream) error {
	return w.do(func() error {
		for _, s := range streams {
			if _, ok := w.tokens[s]; ok {
				continue
			}
			w.last++
			if err := w.watch(socketOf(s).FD(), w.last); err != nil {
				return err
			}
			w.streams[w.last], w.tokens[s] = s, w.last
		}
		return nil
	})
}

func (w *worker) detach(streams []*flow.Stream) {
	err := w.do(func() error {
		for _, s := range streams {
			w.forget(s)
		}
		return nil
	})
	if err != nil { // the loop has ended
		for _, s := range streams {
			s.Retire()
		}
	}
}

// each lets all streams that are attached do something, and sends what comes of it; nothing after the end of the loop.
func (w *worker) each(streams []*flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) {
	_ = w.do(func() error {
		for _, s := range streams {
			if _, ok := w.tokens[s]; ok {
				w.let(s, act)
			}
		}
		return nil
	})
}

func (w *worker) let(s *flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) {
	defer w.survive(s)
	act(s, time.Now(), w.batch)
	w.flush()
}

// forget takes a stream out of the loop for good.
func (w *worker) forget(s *flow.Stream) {
	s.Retire()
	w.remove(s)
}

// remove takes a stream out of the loop and reports whether it was there.
func (w *worker) remove(s *flow.Stream) bool {
	token, ok := w.tokens[s]
	if !ok {
		return false
	}
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, socketOf(s).FD(), nil)
	delete(w.streams, token)
	delete(w.tokens, s)
	return true
}

// stop makes the loop end after the commands that are queued.
func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.signal()
}

// release closes what the loop used, after it has ended.
func (w *worker) release() error {
	err := unix.Close(w.wake)
	if e := unix.Close(w.epoll); err == nil {
		err = e
	}
	return err
}

// run is the event loop.
func (w *worker) run() {
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			panic("sockets: epoll_wait: " + err.Error()) // only a programming error leads here
		}
		now := time.Now()
		woken := false
		for i := range max(n, 0) {
			token := uint64(uint32(events[i].Fd)) | uint64(uint32(events[i].Pad))<<32
			if token == wakeToken {
				woken = true
				continue
			}
			if s := w.streams[token]; s != nil {
				w.read(s, now)
			}
		}
		if woken && w.execute() {
			return
		}
	}
}

// execute runs the queued commands and reports whether the loop is to end.
func (w *worker) execute() bool {
	var count [8]byte
	_, _ = unix.Read(w.wake, count[:])
	w.mu.Lock()
	commands, stopped := w.commands, w.stopped
	w.commands = nil
	w.mu.Unlock()
	for _, c := range commands {
		c.done <- c.run()
	}
	if !stopped {
		return false
	}
	for s := range w.tokens {
		w.forget(s)
	}
	return true
}

// read handles one batch of a stream. What is left over makes epoll report the socket again, after the others had their turn.
func (w *worker) read(s *flow.Stream, now time.Time) {
	defer w.survive(s)
	n, err := w.reader.Read(socketOf(s))
	if err != nil {
		return // nothing there, or an ICMP error of an earlier send, which reading has cleared
	}
	for i := range n {
		if w.reader.Truncated(i) {
			s.CountRefused()
			continue
		}
		if !w.batch.Room() {
			w.flush()
		}
		s.Handle(w.reader.Packet(i), w.reader.Source(i), now, w.batch)
	}
	w.flush()
}

// survive keeps a packet that cannot be handled from ending the other calls.
func (w *worker) survive(s *flow.Stream) {
	if w.onPanic == nil {
		return
	}
	if v := recover(); v != nil {
		w.batch.Reset()
		s.CountRefused()
		w.onPanic(v, debug.Stack())
	}
}

// flush sends the batch, packets for the same socket together.
func (w *worker) flush() {
	items := w.batch.Datagrams()
	for len(items) > 0 {
		out, bytes, n := items[0].Stream, 0, 0
		for n < len(items) && items[n].Stream == out && !w.writer.Full() {
			w.writer.Add(items[n].Packet, items[n].To)
			bytes += len(items[n].Packet)
			n++
		}
		sent, _ := w.writer.Flush(socketOf(out)) // losses are counted
		if sent < n {
			bytes = bytes * sent / n
		}
		out.CountSent(sent, bytes, n-sent)
		items = items[n:]
	}
	w.batch.Reset()
}
