// Package sockets is the engine that every machine can run: a bound socket a port, and workers that move packets in batches, with io_uring
// where the kernel allows it, else with epoll.
package sockets

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/loop"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// Ring says whether io_uring is used.
type Ring uint8

const (
	// Auto uses it where it works.
	Auto Ring = iota
	// On uses nothing else: New fails where it does not work.
	On
	// Off never uses it.
	Off
)

// Config of the engine. The zero value is good.
type Config struct {
	// Workers is the number of event loops; zero or less means one for each two processors Go may use, which batches better than more.
	Workers int
	Ring    Ring
	// Socket options of the ports.
	Socket udp.Options
	// OnPanic is called, on a worker, when handling a packet has panicked; stack says where. The packet is dropped and the engine
	// goes on: a fault that one call's packets can reach must not end the others. It is to be logged as an error. Nil lets the panic
	// end the process.
	OnPanic func(value any, stack []byte)
}

// Engine is an engine.Engine over sockets.
type Engine struct {
	socket  udp.Options
	moving  sync.RWMutex // held for reading by what looks workers up
	detail  string
	workers []*worker
	running sync.WaitGroup
	once    sync.Once
	mu      sync.Mutex // guards err
	err     error
}

var _ engine.Engine = (*Engine)(nil)

// New starts the workers. The error wraps uring.ErrUnsupported if io_uring is asked for and not available.
func New(cfg Config) (*Engine, error) {
	e := &Engine{socket: cfg.Socket}
	var err error
	if cfg.Ring != Off {
		usual := ringSize{requests: 1024, completions: 4096, buffers: 1024}
		e.detail = "io_uring"
		if err = e.start(&cfg, usual.opener); err == nil {
			return e, nil
		}
		e.stop()
		if cfg.Ring == On {
			return nil, err
		}
		e.workers = nil
	}
	e.detail = "epoll"
	if err != nil {
		e.detail = fmt.Sprintf("epoll (%v)", err)
	}
	if err := e.start(&cfg, newPoller); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// start makes the workers with one kind of mover. After an error those that run are to be stopped.
func (e *Engine) start(cfg *Config, open func(*outbox, *loop.Queue) (mover, error)) error {
	n := cfg.Workers
	if n <= 0 {
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	for range n {
		queue, err := loop.NewQueue()
		if err != nil {
			return fmt.Errorf("sockets: %w", err)
		}
		w := &worker{queue: queue, out: &outbox{flow.NewBatch(), cfg.OnPanic}}
		opened := make(chan error)
		e.running.Go(func() { e.note(w.run(open, opened)) })
		if err := <-opened; err != nil {
			return errors.Join(fmt.Errorf("sockets: %w", err), queue.Close())
		}
		e.workers = append(e.workers, w)
	}
	return nil
}

func (e *Engine) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = errors.Join(e.err, err)
}

// Name is "sockets".
func (e *Engine) Name() string { return "sockets" }

// Detail is "io_uring" or "epoll", the latter with a reason where the former was wanted and is not available.
func (e *Engine) Detail() string { return e.detail }

// Carrier is this engine, for all streams.
func (e *Engine) Carrier(*flow.Stream) (name, reason string) { return e.Name(), "" }

// OpenPair binds a socket a port.
func (e *Engine) OpenPair(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error) {
	return udp.ListenPair(addr, even, e.socket)
}

// Attach starts reading streams.
func (e *Engine) Attach(streams ...*flow.Stream) error {
	return e.visit(streams, (*worker).attach)
}

// Detach ends it and waits until no packet of them is in flight.
func (e *Engine) Detach(streams ...*flow.Stream) {
	_ = e.visit(streams, func(w *worker, some []*flow.Stream) error {
		w.detach(some)
		return nil
	})
}

// Report lets streams make the RTCP that is due.
func (e *Engine) Report(streams ...*flow.Stream) { e.let(streams, (*flow.Stream).Report) }

// CatchUp handles the packets that have come before their keys.
func (e *Engine) CatchUp(streams ...*flow.Stream) { e.let(streams, (*flow.Stream).CatchUp) }

func (e *Engine) let(streams []*flow.Stream, act func(*flow.Stream, time.Time, *flow.Batch)) {
	_ = e.visit(streams, func(w *worker, some []*flow.Stream) error {
		w.each(some, act)
		return nil
	})
}

// visit brings streams to their workers, until one of those returns an error.
func (e *Engine) visit(streams []*flow.Stream, do func(*worker, []*flow.Stream) error) error {
	e.moving.RLock()
	defer e.moving.RUnlock()
	for len(streams) > 0 {
		n := sameShard(streams)
		if err := do(e.workerOf(streams[0].Shard()), streams[:n]); err != nil {
			return err
		}
		streams = streams[n:]
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

func (e *Engine) workerOf(shard uint64) *worker {
	return e.workers[shard%uint64(len(e.workers))]
}

// Close retires all streams and waits for the workers.
func (e *Engine) Close() error {
	e.once.Do(e.stop)
	return e.err
}

func (e *Engine) stop() {
	for _, w := range e.workers {
		w.queue.Stop()
	}
	e.running.Wait()
	for _, w := range e.workers {
		e.note(w.queue.Close())
	}
}
