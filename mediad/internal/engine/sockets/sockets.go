// Package sockets is the engine that every machine can run: workers that wait for their streams' sockets with epoll and move packets in
// batches.
package sockets

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// Config of the engine. The zero value is good.
type Config struct {
	// Workers is the number of event loops; zero means one for each processor Go may use.
	Workers int
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
	workers []*worker
	running sync.WaitGroup
	once    sync.Once
	err     error
}

var _ engine.Engine = (*Engine)(nil)

// New starts the workers.
func New(cfg Config) (*Engine, error) {
	n := cfg.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	e := &Engine{socket: cfg.Socket}
	for range n {
		w, err := newWorker(cfg.OnPanic)
		if err != nil {
			_ = e.Close()
			return nil, fmt.Errorf("sockets: %w", err)
		}
		e.workers = append(e.workers, w)
		e.running.Add(1)
		go func() {
			defer e.running.Done()
			w.run()
		}()
	}
	return e, nil
}

// Name is "sockets".
func (e *Engine) Name() string { return "sockets" }

// Detail is "epoll".
func (e *Engine) Detail() string { return "epoll" }

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
	e.once.Do(func() {
		for _, w := range e.workers {
			w.stop()
		}
		e.running.Wait()
		for _, w := range e.workers {
			if err := w.release(); err != nil && e.err == nil {
				e.err = err
			}
		}
	})
	return e.err
}
