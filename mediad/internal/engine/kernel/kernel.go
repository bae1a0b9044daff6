// Package kernel is the engine that lets Linux forward media: an eBPF program at the ingress side of all devices sends on the RTP of streams
// that have a flow.Shortcut. All else goes up to another engine, below this one, which handles it as if it were alone.
package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/pkg/udp"
)

// name of the engine.
const name = engine.Kernel

const (
	// defaultCapacity is the number of streams that the kernel takes.
	defaultCapacity = 65536
	// gather is how long work is gathered before the kernel is told: signalling changes several streams in a row.
	gather = 5 * time.Millisecond
	// settling is the time after a change of devices or routes before they are looked at, and calm the least time between two looks:
	// such changes come in swarms.
	settling, calm = 50 * time.Millisecond, time.Second
	// interval is how often the RTP source that a stream lets through may change: sources that alternate stay in user space but for one.
	interval = time.Second
)

// Config of the engine. The zero value is good.
type Config struct {
	// Capacity is the number of streams that the kernel takes at a time; others stay in user space. Zero means 65,536. Each takes
	// 64 bytes from the start.
	Capacity int
	// TOS is the DSCP/ECN byte that ports have unless a stream sets its own.
	TOS uint8
	// OnError is told, on a goroutine of the engine, what could not be done after the start: a device that the program could not be
	// attached to, for example. Media goes through user space then. Nil for nobody.
	OnError func(error)
	// filters makes use of tc filters where there are tcx links.
	filters bool
}

// Engine is an engine.Engine.
type Engine struct {
	below   engine.Engine
	cfg     Config
	epoch   epoch
	program *program

	changed chan struct{} // devices or routes have
	work    chan struct{} // there are dirty records
	done    chan struct{}
	running sync.WaitGroup
	once    sync.Once
	err     error

	mu      sync.Mutex // guards what follows, and the fields of records
	network *network
	records map[*flow.Stream]*record
	dirty   []*record
	free    []uint32 // slots that were used, the one of longest ago first
	unused  uint32   // slots from here on never were
	entries int
	waiting []*record // for a slot
	past    Numbers   // of streams that are gone
}

var (
	_ engine.Engine   = (*Engine)(nil)
	_ engine.Steering = (*Engine)(nil)
)

// Dropped is what the engine below has lost, if its ports are no sockets.
func (e *Engine) Dropped() (packets uint64, ok bool) {
	if below, steers := e.below.(engine.Steering); steers {
		return below.Dropped()
	}
	return 0, false
}

// Numbers for metrics.
type Numbers struct {
	// Entries is the number of streams in the kernel now.
	Entries int
	// Packets and Bytes (of UDP payload) that it has moved.
	Packets, Bytes uint64
}

// New loads the program, attaches it to all devices of the network namespace, and takes over the engine below: Close closes it. The error
// says what is missing in the kernel or in the privileges; the engine below can be used by itself then.
func New(below engine.Engine, cfg Config) (*Engine, error) {
	if cfg.Capacity <= 0 {
		cfg.Capacity = defaultCapacity
	}
	e := &Engine{
		below: below, cfg: cfg, records: make(map[*flow.Stream]*record),
		changed: make(chan struct{}, 1), work: make(chan struct{}, 1), done: make(chan struct{}),
	}
	var err error
	if e.epoch, err = newEpoch(); err != nil {
		return nil, err
	}
	if e.program, err = load(cfg.Capacity); err != nil {
		return nil, err
	}
	if e.network, err = newNetwork(e.program.objects.Forward, cfg.filters, e.changed); err != nil {
		return nil, errors.Join(err, e.program.close())
	}
	e.running.Add(1)
	go func() {
		defer e.running.Done()
		e.run()
	}()
	return e, nil
}

// Name is "kernel".
func (e *Engine) Name() string { return name }

// Detail names what moves the packets that the kernel does not.
func (e *Engine) Detail() string {
	e.mu.Lock()
	filters := e.network.filters
	e.mu.Unlock()
	how := "tcx"
	if filters {
		how = "tc filter"
	}
	detail := how + " over " + e.below.Name()
	if d := e.below.Detail(); d != "" {
		detail += " (" + d + ")"
	}
	return detail
}

// OpenPair opens ports of the engine below.
func (e *Engine) OpenPair(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error) {
	return e.below.OpenPair(addr, even)
}

// Carrier names who moves the packets of a stream, and says why it is not the kernel.
func (e *Engine) Carrier(s *flow.Stream) (carrier, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.records[s]; r == nil {
		_, reason, _ = s.Shortcut()
	} else if reason = r.reason; r.installed() {
		return name, ""
	}
	carrier, _ = e.below.Carrier(s)
	return carrier, reason
}

// Attach starts reading streams by the engine below. They go to the kernel when they can.
func (e *Engine) Attach(streams ...*flow.Stream) error {
	e.mu.Lock()
	for _, s := range streams {
		if e.records[s] == nil {
			e.records[s] = &record{stream: s, reason: whySoon}
			s.Watch(e)
		}
	}
	e.mu.Unlock()
	if err := e.below.Attach(streams...); err != nil {
		return err
	}
	for _, s := range streams {
		e.Ripened(s)
	}
	return nil
}

// Detach takes streams out of the kernel and out of the engine below.
func (e *Engine) Detach(streams ...*flow.Stream) {
	for _, s := range streams {
		e.Changed(s)
	}
	e.below.Detach(streams...) // retires the streams, whereupon Changed is called again
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range streams {
		if r := e.records[s]; r != nil {
			e.drop(r)
		}
	}
}

// Move is the engine's below: which worker serves a stream does not matter to the kernel, which goes on meanwhile.
func (e *Engine) Move(shard uint64, streams ...*flow.Stream) error {
	return e.below.Move(shard, streams...)
}

// CatchUp is the engine's below.
func (e *Engine) CatchUp(streams ...*flow.Stream) { e.below.CatchUp(streams...) }

// Report is the engine's below.
func (e *Engine) Report(streams ...*flow.Stream) { e.below.Report(streams...) }

// Numbers for metrics.
func (e *Engine) Numbers() Numbers {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.past
	n.Entries = e.entries
	for _, r := range e.records {
		if r.entry != nil {
			m := r.entry.Moved()
			n.Packets += m.Packets
			n.Bytes += m.Bytes
		}
	}
	return n
}

// Close takes the program off the devices and closes the engine below.
func (e *Engine) Close() error {
	e.once.Do(func() {
		close(e.done)
		e.running.Wait()
		e.mu.Lock()
		left := make([]*flow.Stream, 0, len(e.records))
		for s := range e.records {
			left = append(left, s)
		}
		e.mu.Unlock()
		for _, s := range left {
			e.Changed(s)
		}
		failed := []error{e.below.Close()}
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, s := range left {
			if r := e.records[s]; r != nil {
				e.drop(r)
			}
		}
		e.err = errors.Join(append(failed, e.network.close(), e.program.close())...)
	})
	return e.err
}

// epoch turns the kernel's monotonic time into the time of day.
type epoch struct {
	wall      time.Time
	monotonic int64
}

func newEpoch() (epoch, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return epoch{}, fmt.Errorf("kernel: clock: %w", err)
	}
	return epoch{time.Now(), ts.Nano()}, nil
}

func (e epoch) time(monotonic uint64) time.Time {
	if monotonic == 0 {
		return time.Time{}
	}
	now := time.Now()
	return now.Add(time.Duration(int64(monotonic) - e.monotonic - int64(now.Sub(e.wall))))
}
