package call

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/report"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/mediad/internal/teardown"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// Config holds what calls are made of and what bounds them.
type Config struct {
	Ports        *ports.Registry
	Engine       engine.Engine
	Certificate  *secure.Certificate
	Negotiate    negotiate.Options
	Limits       *limits.Live
	Admit        func(calls int) error // whether there is room for another call; an ng.Reason
	Log          *zap.Logger
	MOS          quality.Model
	RTCPInterval time.Duration         // between RTCP reports of our own
	Report       *report.Reporter      // what the outside is told; nil = nothing
	Teardown     *teardown.Caller      // asks the SIP server to end calls that time out; nil = nobody asks
	SSRCs        SSRCReporting         // what query and delete tell of synchronization sources
	DTLSMTU      int                   // of handshakes, in bytes; 0 = that of package secure
	Pion         logging.LoggerFactory // for the libraries; nil = silence
}

// SSRCReporting is where replies tell of synchronization sources (ssrc-reporting).
type SSRCReporting struct {
	Table bool // in one table of the call
	Lists bool // beside each stream
}

// tick is how often timers are looked at.
const tick = time.Second

// Registry is all calls, by Call-ID. Its methods are safe for concurrent use.
type Registry struct {
	cfg       Config
	negotiate atomic.Pointer[negotiate.Options] // in force; at first those of cfg
	seed      maphash.Seed

	mu     sync.RWMutex // guards calls and closed
	calls  map[string]*Call
	closed bool

	tables tables
	early  fragments
	sample sample
	totals totals
	stop   chan struct{}
	ticker sync.WaitGroup
}

// totals are counters since the start.
type totals struct {
	started                                 time.Time
	managed, rejected                       atomic.Uint64
	timeout, silent, final, offer           atomic.Uint64
	regular, forced                         atomic.Uint64
	packets, bytes, errors, zeroWay, oneWay atomic.Uint64
	kernelPackets, kernelBytes              atomic.Uint64
	duration                                atomic.Uint64 // of ended calls, in µs
	quality                                 qualityTotals
	squares                                 atomic.Uint64 // of their durations, in s²/10⁶
}

// NewRegistry returns a registry without calls. It does nothing by itself
// until Start.
func NewRegistry(cfg Config) *Registry {
	r := &Registry{cfg: cfg, seed: maphash.MakeSeed(), calls: make(map[string]*Call), stop: make(chan struct{})}
	r.negotiate.Store(&cfg.Negotiate)
	r.totals.started = time.Now()
	return r
}

// SetNegotiate changes the settings that the next commands are negotiated by.
func (r *Registry) SetNegotiate(o negotiate.Options) { r.negotiate.Store(&o) }

// Start runs the timers of all calls, until Close.
func (r *Registry) Start() {
	r.ticker.Add(1)
	go r.watch()
}

// watch is the one goroutine behind the timers of all calls.
func (r *Registry) watch() {
	defer r.ticker.Done()
	t := time.NewTicker(tick)
	defer t.Stop()
	var all []*Call
	for {
		select {
		case <-r.stop:
			return
		case now := <-t.C:
			all = r.appendCalls(all[:0])
			for _, c := range all {
				r.expire(c, now)
			}
			clear(all) // it keeps no call that has ended
		}
	}
}

// Close ends all calls and waits for everything they started. Later offers are
// refused.
func (r *Registry) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	r.ticker.Wait()
	for _, c := range r.snapshot() {
		r.end(c, endShutdown)
	}
}

func (r *Registry) snapshot() []*Call { return r.appendCalls(nil) }

// appendCalls is snapshot for who asks every second and has room from the last
// time.
func (r *Registry) appendCalls(all []*Call) []*Call {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all = slices.Grow(all, len(r.calls))
	for id, c := range r.calls {
		if id == c.id { // and not again by the ids of merged ones
			all = append(all, c)
		}
	}
	return all
}

// List returns the ids of at most limit calls, sorted.
func (r *Registry) List(limit int) []string {
	r.mu.RLock()
	ids := make([]string, 0, min(max(limit, 0), len(r.calls)))
	for id := range r.calls {
		if len(ids) >= limit {
			break
		}
		ids = append(ids, id)
	}
	r.mu.RUnlock()
	slices.Sort(ids)
	return ids
}

// find returns the call with the id, locked, or nil.
func (r *Registry) find(id string) *Call {
	for {
		r.mu.RLock()
		c := r.calls[id]
		r.mu.RUnlock()
		if c == nil {
			return nil
		}
		c.mu.Lock()
		if !c.ended {
			return c
		}
		c.mu.Unlock()
		r.forget(c)
	}
}

// findOrMake returns the call with the id, locked; fresh tells that it is new.
// The error is a Reason that refuses it.
func (r *Registry) findOrMake(id string) (c *Call, fresh bool, err error) {
	for {
		if c := r.find(id); c != nil {
			return c, false, nil
		}
		r.mu.Lock()
		if r.calls[id] != nil {
			r.mu.Unlock()
			continue
		}
		err := r.cfg.Admit(len(r.calls))
		if r.closed {
			err = ng.ReasonSessionLimit
		}
		if err != nil {
			r.mu.Unlock()
			r.totals.rejected.Add(1)
			return nil, false, err
		}
		c = newCall(r, id, time.Now())
		c.mu.Lock() // before anybody else can see it
		r.calls[id] = c
		r.mu.Unlock()
		return c, true, nil
	}
}

// forget takes c out of the map, if it is still there.
func (r *Registry) forget(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range append([]string{c.id}, c.others...) {
		if r.calls[id] == c {
			delete(r.calls, id)
		}
	}
}
