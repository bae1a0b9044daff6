package ngserver

import (
	"sync"
	"time"
)

// dispatcher runs jobs: those of one key in the order of submission, those of
// different keys in parallel and in turn. A fixed number of goroutines does it,
// with the help of those that read commands from sockets.
type dispatcher struct {
	mu      sync.Mutex
	wake    sync.Cond
	ready   []*lane          // lanes with a job and no worker
	lanes   map[string]*lane // lanes of keys that have jobs
	waking  bool             // a worker is on its way
	helping int              // helpers that will look for jobs at once
	passed  int              // helpers whose job takes long, so that somebody else reads
	pending int              // jobs waiting or running
	bytes   int              // what they hold
	limit   int              // of pending
	most    int              // of bytes
	workers int
	closed  bool
	running sync.WaitGroup
}

// lane holds the jobs of one key; its first job is the running or next one.
type lane struct {
	key  string
	jobs []job
}

// job is what a worker runs, and how many bytes it holds.
type job struct {
	run  func()
	size int
}

func newDispatcher(workers, limit, most int) *dispatcher {
	d := &dispatcher{lanes: make(map[string]*lane), workers: workers, limit: limit, most: most}
	d.wake.L = &d.mu
	return d
}

func (d *dispatcher) start() {
	for range d.workers {
		d.running.Go(d.work)
	}
}

// submit queues a job that holds size bytes; false if there is no room. Jobs
// with an empty key are not ordered.
func (d *dispatcher) submit(key string, size int, run func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.pending >= d.limit || d.bytes+size > d.most {
		return false
	}
	d.pending++
	d.bytes += size
	if l := d.lanes[key]; l != nil {
		l.jobs = append(l.jobs, job{run, size})
		return true
	}
	l := &lane{key: key, jobs: []job{{run, size}}}
	if key != "" {
		d.lanes[key] = l
	}
	d.ready = append(d.ready, l)
	if d.helping == 0 {
		d.rouse(0)
	}
	return true
}

// rouse wakes a worker if more than some lanes are ready.
func (d *dispatcher) rouse(some int) {
	if len(d.ready) > some && !d.waking {
		d.waking = true
		d.wake.Signal()
	}
}

// work takes lanes and runs one job of each, until the dispatcher closes.
func (d *dispatcher) work() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for len(d.ready) == 0 && !d.closed {
			d.waking = false // what it was woken for has been done by another
			d.wake.Wait()
		}
		d.waking = false
		if d.closed {
			return
		}
		d.runNext(0)
	}
}

// runNext runs the first job of the first lane that is ready. A worker gets up
// for the others, if there are more than some. It is called with the lock held,
// and frees it for the time of the job.
func (d *dispatcher) runNext(some int) {
	l := d.ready[0]
	d.ready[0] = nil
	d.ready = d.ready[1:]
	next := l.jobs[0] // it stays in the lane, so that submit queues behind it
	d.rouse(some)

	d.mu.Unlock()
	next.run()
	d.mu.Lock()

	d.pending--
	d.bytes -= next.size
	l.jobs[0] = job{}
	l.jobs = l.jobs[1:]
	if len(l.jobs) == 0 {
		delete(d.lanes, l.key)
		return
	}
	d.ready = append(d.ready, l)
	d.rouse(some)
}

// close drops waiting jobs and waits for running ones.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.wake.Broadcast()
	d.mu.Unlock()
	d.running.Wait()
}

const (
	// patience is how long the job of a helper may take before somebody else
	// takes its place.
	patience = 2 * time.Millisecond
	// leave is how many jobs wait for a helper before a worker is woken, which
	// takes as long as a usual job.
	leave = 1
)

// helper is a goroutine that submits jobs and then runs those that are ready:
// most often it is the only one at hand, and need not wake another.
type helper struct {
	d       *dispatcher
	replace func() // starts another goroutine in its place
	watch   *time.Timer

	// guarded by d.mu
	watched bool
	busy    bool
	passed  bool // it has been replaced
	jobs    int  // so far
	seen    int  // of them, at the last look
}

// helper returns the helper of a goroutine that replace can start anew.
func (d *dispatcher) helper(replace func()) *helper {
	h := &helper{d: d, replace: replace}
	h.watch = time.AfterFunc(time.Hour, h.look)
	h.watch.Stop()
	return h
}

// stop is to be called when the goroutine ends.
func (h *helper) stop() { h.watch.Stop() }

// announce says that the helper will submit jobs and then help, at once.
func (h *helper) announce() {
	h.d.mu.Lock()
	h.d.helping++
	h.d.mu.Unlock()
}

// help runs jobs until none is ready. False means that the helper has been
// replaced and is to end.
func (h *helper) help() bool {
	d := h.d
	d.mu.Lock()
	defer d.mu.Unlock()
	d.helping--
	for len(d.ready) > 0 && !d.closed && !h.passed {
		if !h.watched {
			h.watched = true
			h.watch.Reset(patience)
		}
		h.busy = true
		h.jobs++
		d.runNext(leave)
		h.busy = false
	}
	if h.passed {
		d.passed--
		d.rouse(0)
	}
	return !h.passed
}

// look is the watch: it replaces the helper if its job takes too long. There
// are at most twice as many goroutines as workers for that.
func (h *helper) look() {
	d := h.d
	d.mu.Lock()
	defer d.mu.Unlock()
	stuck, idle := h.busy && h.jobs == h.seen, !h.busy && h.jobs == h.seen
	h.seen = h.jobs
	switch {
	case d.closed || idle:
		h.watched = false
		return
	case stuck:
		d.rouse(0)
		if d.passed < d.workers {
			d.passed++
			h.passed = true
			h.replace()
			return
		}
	}
	h.watch.Reset(patience)
}
