package ngserver

import "sync"

// dispatcher runs jobs on a fixed number of goroutines: those of one key in the
// order of submission, those of different keys in parallel and in turn.
type dispatcher struct {
	mu      sync.Mutex
	wake    sync.Cond
	ready   []*lane          // lanes with a job and no worker
	lanes   map[string]*lane // lanes of keys that have jobs
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
	d.wake.Signal()
	return true
}

// work takes lanes and runs one job of each, until the dispatcher closes.
func (d *dispatcher) work() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for len(d.ready) == 0 && !d.closed {
			d.wake.Wait()
		}
		if d.closed {
			return
		}
		l := d.ready[0]
		d.ready[0] = nil
		d.ready = d.ready[1:]
		next := l.jobs[0] // it stays in the lane, so that submit queues behind it

		d.mu.Unlock()
		next.run()
		d.mu.Lock()

		d.pending--
		d.bytes -= next.size
		l.jobs[0] = job{}
		l.jobs = l.jobs[1:]
		if len(l.jobs) == 0 {
			delete(d.lanes, l.key)
			continue
		}
		d.ready = append(d.ready, l)
		d.wake.Signal()
	}
}

// close drops waiting jobs and waits for running ones.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.wake.Broadcast()
	d.mu.Unlock()
	d.running.Wait()
}
