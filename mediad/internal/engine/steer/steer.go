// Package steer is the engine without a socket per port: an sk_lookup program hands the packets of all attached ports to one socket of
// each worker, and one raw socket sends from all of them. A batch serves many streams; opening, attaching and closing ports costs no
// system call.
package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// errClosed is engine.ErrClosed.
var errClosed = fmt.Errorf("steer: %w", engine.ErrClosed)

const (
	// defaultAddresses is the number of local addresses that are provided for; each takes 64 KiB of the kernel's memory.
	defaultAddresses = 32
	// lookEvery is how often the host's other sockets are looked up, when ports are opened.
	lookEvery = time.Second
	// maxWorkers is what the program can tell apart.
	maxWorkers = 255
)

// Config of the engine. The zero value is good.
type Config struct {
	// Workers is the number of event loops, at most 255; zero means one for every two processors Go may use.
	Workers int
	// Addresses is the number of local addresses that may have open ports at the same time; zero means 32.
	Addresses int
	// TOS is the DSCP/ECN byte of the packets of ports that are opened, until udp.Port.SetTOS.
	TOS uint8
	// OnPanic is called, on a worker, when handling a packet has panicked; stack says where. The packet is dropped and the engine
	// goes on: a fault that one call's packets can reach must not end the others. It is to be logged as an error. Nil lets the panic
	// end the process.
	OnPanic func(value any, stack []byte)
}

// Engine is an engine.Engine over an sk_lookup program.
type Engine struct {
	program  *program
	workers  []*worker
	capacity int // of addresses
	tos      uint8
	running  sync.WaitGroup

	moving    sync.RWMutex               // held for reading by what looks workers up
	addresses atomic.Pointer[[]*address] // replaced under mu

	mu     sync.Mutex // guards what follows, and that ports come and go
	closed bool
	err    error // of Close
	host   *udp.HostPorts
	looked time.Time // when host was read
}

var (
	_ engine.Engine   = (*Engine)(nil)
	_ engine.Steering = (*Engine)(nil)
)

// New loads the program, attaches it in the network namespace of the process and starts the workers. Errors wrap the errno and say which
// capability is missing: unix.EPERM without CAP_BPF, CAP_NET_ADMIN or CAP_NET_RAW.
func New(cfg Config) (*Engine, error) {
	n := cfg.Workers
	if n <= 0 {
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	n = min(n, maxWorkers)
	e := &Engine{tos: cfg.TOS, capacity: cfg.Addresses}
	if e.capacity <= 0 {
		e.capacity = defaultAddresses
	}
	e.addresses.Store(new([]*address))
	if err := e.open(n, cfg.OnPanic); err != nil {
		return nil, errors.Join(fmt.Errorf("steer: %w", err), e.Close())
	}
	for _, w := range e.workers {
		e.running.Add(1)
		go func() {
			defer e.running.Done()
			w.run()
		}()
	}
	return e, nil
}

func (e *Engine) open(workers int, onPanic func(any, []byte)) error {
	var err error
	if e.host, err = udp.ReadHostPorts(); err != nil {
		return err
	}
	e.looked = time.Now()
	if e.program, err = loadProgram(workers, e.capacity); err != nil {
		return err
	}
	for i := range workers {
		w, err := newWorker(e, i+1, onPanic)
		if err != nil {
			return err
		}
		e.workers = append(e.workers, w)
		for family, c := range w.intakes {
			if c == nil {
				continue
			}
			if err := e.program.setSocket(i, family, c); err != nil {
				return err
			}
		}
	}
	return e.program.attach()
}

// Name is "steer".
func (e *Engine) Name() string { return "steer" }

// Detail tells the number of workers.
func (e *Engine) Detail() string { return fmt.Sprintf("sk_lookup, workers: %d", len(e.workers)) }

// Carrier is this engine for all streams.
func (e *Engine) Carrier(*flow.Stream) (name, reason string) { return e.Name(), "" }

// Dropped is how many packets the kernel has thrown away because a worker did not keep up; 0 after Close.
func (e *Engine) Dropped() (packets uint64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var sum uint64
	if e.closed {
		return 0, true
	}
	for _, w := range e.workers {
		for _, c := range w.intakes {
			if c == nil {
				continue
			}
			if n, err := c.Dropped(); err == nil {
				sum += uint64(n)
			}
		}
	}
	return sum, true
}

// Attach starts reading streams.
func (e *Engine) Attach(streams ...*flow.Stream) error {
	return e.visit(streams, (*worker).attach)
}

// Detach ends it and waits until no packet of them is in flight.
func (e *Engine) Detach(streams ...*flow.Stream) {
	_ = e.visit(streams, (*worker).detach)
}

// Report lets streams make the RTCP that is due.
func (e *Engine) Report(streams ...*flow.Stream) { e.let(streams, (*flow.Stream).Report) }

// CatchUp handles the packets that have come before their keys.
func (e *Engine) CatchUp(streams ...*flow.Stream) { e.let(streams, (*flow.Stream).CatchUp) }

func (e *Engine) let(streams []*flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) {
	_ = e.visit(streams, func(w *worker, some []*flow.Stream) error { return w.each(some, act) })
}

// visit lets something be done to streams while no packet of theirs is handled, until it returns an error.
func (e *Engine) visit(streams []*flow.Stream, do func(*worker, []*flow.Stream) error) error {
	e.moving.RLock()
	defer e.moving.RUnlock()
	for len(streams) > 0 {
		n, w := sameShard(streams), e.workerOf(streams[0])
		w.mu.Lock()
		err := do(w, streams[:n])
		w.mu.Unlock()
		if err != nil {
			return err
		}
		streams = streams[n:]
	}
	return nil
}

// Move lets the worker of another shard serve streams. What the former has in its queue it still handles, in the other's name.
func (e *Engine) Move(shard uint64, streams ...*flow.Stream) error {
	e.moving.Lock()
	defer e.moving.Unlock()
	if len(streams) == 0 {
		return nil
	}
	from, to := e.workerOf(streams[0]), e.workers[shard%uint64(len(e.workers))]
	if from != to {
		for _, w := range e.workers { // in this order always
			if w == from || w == to {
				w.mu.Lock()
				defer w.mu.Unlock()
			}
		}
		if from.stopped || to.stopped {
			return errClosed
		}
	}
	for _, s := range streams {
		s.SetShard(shard)
		if p, ok := s.Port().(*port); ok && p.stream.Load() == s && from != to {
			e.program.own(p.address.slot, p.number, to.number)
		}
	}
	return nil
}

// sameShard counts the streams at the head of the list that one worker serves: one visit to it does for all.
func sameShard(streams []*flow.Stream) int {
	n := 1
	for n < len(streams) && streams[n].Shard() == streams[0].Shard() {
		n++
	}
	return n
}

func (e *Engine) workerOf(s *flow.Stream) *worker {
	if len(e.workers) == 1 {
		return e.workers[0]
	}
	return e.workers[s.Shard()%uint64(len(e.workers))]
}

// aside is what sends past the workers.
func (e *Engine) aside(local netip.Addr) *udp.RawConn { return e.workers[0].raws[family(local)] }

// Close takes the program away, retires all streams and waits for the workers.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		defer e.mu.Unlock()
		return e.err
	}
	e.closed = true
	e.mu.Unlock()
	for _, w := range e.workers {
		w.stop()
	}
	e.running.Wait()
	for _, a := range *e.addresses.Load() {
		for i := range a.pages {
			retire(a.pages[i].Load())
		}
	}
	var errs []error
	if e.program != nil {
		errs = append(errs, e.program.close())
	}
	for _, w := range e.workers {
		errs = append(errs, w.release())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = errors.Join(errs...)
	return e.err
}

func retire(p *page) {
	if p == nil {
		return
	}
	for i := range p {
		if open := p[i].Load(); open != nil {
			if s := open.stream.Swap(nil); s != nil {
				s.Retire()
			}
		}
	}
}

// missing reports whether a socket's error says that the host does without a family.
func missing(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}
