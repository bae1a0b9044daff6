// Package loop brings work of other goroutines to the event loop of an engine's worker, where no packet runs beside it.
package loop

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
)

// Queue holds the work for one event loop and wakes it when it waits. Do and Stop may be called from any goroutine, the rest is the
// loop's. It holds as much as there are callers of Do, since each waits for its own.
//
// The loop goes round like this:
//
//	for {
//		if q.Sleep() { … wait for packets and for FD, without end; else only look what is there … }
//		q.Awake()
//		… packets; if FD was readable, q.Clear() …
//		if q.Run() { break }
//	}
type Queue struct {
	fd int

	pending atomic.Bool // there is work, or the end
	asleep  atomic.Bool // the loop waits or is about to: the next Do must write to fd

	mu      sync.Mutex // guards what follows
	work    []work
	stopped bool
}

type work struct {
	run  func() error
	done chan error
}

// NewQueue makes a queue with an eventfd.
func NewQueue() (*Queue, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &Queue{fd: fd}, nil
}

// FD is readable when the loop is to end its wait.
func (q *Queue) FD() int { return q.fd }

// Do runs a function on the loop and returns what it returns; engine.ErrClosed if the loop has ended or is about to.
func (q *Queue) Do(run func() error) error {
	w := work{run, make(chan error, 1)}
	q.mu.Lock()
	if q.stopped {
		q.mu.Unlock()
		return engine.ErrClosed
	}
	q.work = append(q.work, w)
	q.pending.Store(true)
	q.mu.Unlock()
	q.wake()
	return <-w.done
}

// Stop lets the loop end after the work that is queued.
func (q *Queue) Stop() {
	q.mu.Lock()
	q.stopped = true
	q.pending.Store(true)
	q.mu.Unlock()
	q.wake()
}

// wake writes to the eventfd if the loop waits and nobody has done so yet.
func (q *Queue) wake() {
	if q.asleep.CompareAndSwap(true, false) {
		one := [8]byte{0: 1}
		_, _ = unix.Write(q.fd, one[:]) // fails only when the counter is full, and then it is readable
	}
}

// Sleep tells that the loop is about to wait. False says that it must not, since there is work.
func (q *Queue) Sleep() bool {
	q.asleep.Store(true)
	return !q.pending.Load()
}

// Awake tells that the wait has ended: work that comes from now on is seen by Run without a system call.
func (q *Queue) Awake() { q.asleep.Store(false) }

// Clear makes FD unreadable again.
func (q *Queue) Clear() {
	var count [8]byte
	_, _ = unix.Read(q.fd, count[:]) // may be cleared already
}

// Run does the queued work and reports whether the loop is to end.
func (q *Queue) Run() (stopped bool) {
	if !q.pending.Load() {
		return false
	}
	q.mu.Lock()
	todo := q.work
	q.work, stopped = nil, q.stopped
	q.pending.Store(stopped) // a loop that is to end never sleeps again
	q.mu.Unlock()
	for _, w := range todo {
		w.done <- w.run()
	}
	return stopped
}

// Close gives the eventfd back, after the loop has ended and everybody who may call Stop.
func (q *Queue) Close() error { return unix.Close(q.fd) }
