package sockets

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/engine/loop"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// gather is how long a busy worker lets packets gather at most.
const gather = 200 * time.Microsecond

// mover moves packets between sockets and the streams of one worker. It is used on the worker's thread only.
type mover interface {
	// attach starts reading a stream, once.
	attach(*flow.Stream) error
	// attached reports whether a stream is being read.
	attached(*flow.Stream) bool
	// detach ends it and returns when no packet of the streams is in flight, and those that were attached. What has come for them until
	// then is lost only where the stream is retired.
	detach([]*flow.Stream) (attached []*flow.Stream)
	// all streams that are attached.
	all() []*flow.Stream
	// flush sends, or queues to be sent, what has been handled; the outbox is empty then.
	flush()
	// turn takes packets to their streams. With sleep it waits until there are some, or for the queue of commands.
	turn(sleep bool)
	// close gives back what the mover used. No stream is attached any more.
	close() error
}

// worker is one event loop. It owns the streams of its shards: nobody else reads them or uses their SRTP contexts.
type worker struct {
	queue *loop.Queue
	out   *outbox
	mover mover
}

// outbox collects what handling packets has brought, and keeps a fault in it from spreading.
type outbox struct {
	*flow.Batch
	onPanic func(value any, stack []byte)
}

// survive keeps a packet that cannot be handled from ending the other calls. To be deferred.
func (o *outbox) survive(s *flow.Stream) {
	if o.onPanic == nil {
		return
	}
	if v := recover(); v != nil {
		o.Reset()
		s.CountRefused()
		o.onPanic(v, debug.Stack())
	}
}

// socketOf is the socket of a stream, whose port this engine has opened.
func socketOf(s *flow.Stream) *udp.Conn { return s.Port().(*udp.Conn) }

// run is the event loop, on a thread of its own from the making of its mover on, which some depend on. opened is told what came of that;
// after an error there is no loop.
func (w *worker) run(open func(*outbox, *loop.Queue) (mover, error), opened chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	w.mover, err = open(w.out, w.queue)
	opened <- err
	if err != nil {
		return nil
	}
	for {
		w.mover.turn(w.queue.Sleep())
		if w.queue.Run() {
			break
		}
	}
	w.forget(w.mover.all())
	return w.mover.close()
}

func (w *worker) attach(streams []*flow.Stream) error {
	return w.queue.Do(func() error {
		for _, s := range streams {
			if w.mover.attached(s) {
				continue
			}
			if err := w.mover.attach(s); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *worker) detach(streams []*flow.Stream) {
	err := w.queue.Do(func() error {
		w.forget(streams)
		return nil
	})
	if err != nil { // the loop has ended
		retire(streams)
	}
}

// forget takes streams out of the loop.
func (w *worker) forget(streams []*flow.Stream) {
	retire(streams)
	w.mover.detach(streams)
}

func retire(streams []*flow.Stream) {
	for _, s := range streams {
		s.Retire()
	}
}

// each lets all streams that are attached do something, and sends what comes of it; nothing after the end of the loop.
func (w *worker) each(streams []*flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) {
	_ = w.queue.Do(func() error {
		now := time.Now()
		for _, s := range streams {
			if w.mover.attached(s) {
				w.let(s, act, now)
			}
		}
		return nil
	})
}

func (w *worker) let(s *flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch), now time.Time) {
	defer w.out.survive(s)
	act(s, now, w.out.Batch)
	w.mover.flush()
}
