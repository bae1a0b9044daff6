// Package screen keeps out what is not worth handling: a gate before any state is made, and the checks of RFC 3261 §16.3 as
// the first step of the chain.
package screen

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Config of gate and step; zero values take the defaults named.
type Config struct {
	// Denied sources get no answer; nil: none.
	Denied func(netip.Addr) bool
	// Trusted peers are not limited in rate; nil: none.
	Trusted func(request.Connection) bool
	// Rate is the requests a second a source may send in the long run (1000), Burst at once (2·Rate). An IPv6 /64 is one source.
	Rate, Burst float64
	// Sources bounds the sources remembered (65536).
	Sources int
	// Agents lists parts of User-Agent values that get no answer, in lower case; Scanner is told of who has one, may be nil.
	Agents  []string
	Scanner func(request.Connection)
	// Owns tells the proxy's own addresses, for OPTIONS sent to the proxy itself; nil: none.
	Owns func(host string, port int) bool
}

// Gate implements transaction.Gate.
type Gate struct {
	current atomic.Pointer[Config]
	log     *zap.Logger

	mu      sync.Mutex
	sources map[netip.Addr]*bucket
	now     func() time.Time
}

// bucket is a token bucket.
type bucket struct {
	tokens  float64
	at      time.Time
	refused uint64
}

// NewGate makes a gate.
func NewGate(cfg Config, log *zap.Logger) *Gate {
	g := &Gate{log: log, sources: map[netip.Addr]*bucket{}, now: time.Now}
	g.Configure(cfg)
	return g
}

// Configure makes the gate go by another configuration from the next message on; what sources have used up stays.
func (g *Gate) Configure(cfg Config) {
	if cfg.Rate <= 0 {
		cfg.Rate = 1000
	}
	if cfg.Burst <= 0 {
		cfg.Burst = 2 * cfg.Rate
	}
	if cfg.Sources <= 0 {
		cfg.Sources = 65536
	}
	g.current.Store(&cfg)
}

// Admit implements transaction.Gate: denied sources, scanners and floods are dropped without an answer. Responses are not
// counted: those that belong to no transaction are dropped anyway.
func (g *Gate) Admit(conn request.Connection, msg sip.Message) bool {
	cfg := g.current.Load()
	addr := conn.Remote().Addr()
	if cfg.Denied != nil && cfg.Denied(addr) {
		return false
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		return true
	}
	if g.Trusts(conn) {
		return true
	}
	if len(cfg.Agents) > 0 && g.scanner(req) {
		if cfg.Scanner != nil {
			cfg.Scanner(conn)
		}
		return false
	}
	return g.take(source(addr))
}

// Trusts reports a trusted peer.
func (g *Gate) Trusts(conn request.Connection) bool {
	trusted := g.current.Load().Trusted
	return trusted != nil && trusted(conn)
}

func (g *Gate) scanner(req *sip.Request) bool {
	cfg := g.current.Load()
	agent := strings.ToLower(request.Header(req, "User-Agent"))
	for _, a := range cfg.Agents {
		if a != "" && strings.Contains(agent, a) {
			return true
		}
	}
	return false
}

// take takes one token of a source's bucket.
func (g *Gate) take(addr netip.Addr) bool {
	cfg := g.current.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	b := g.sources[addr]
	if b == nil {
		if len(g.sources) >= cfg.Sources {
			g.forget(now)
		}
		b = &bucket{tokens: cfg.Burst, at: now}
		g.sources[addr] = b
	}
	b.tokens = min(cfg.Burst, b.tokens+now.Sub(b.at).Seconds()*cfg.Rate)
	b.at = now
	if b.tokens < 1 {
		if b.refused++; b.refused&(b.refused-1) == 0 {
			g.log.Warn("requests dropped, rate limit", zap.Stringer("source", addr), zap.Uint64("dropped", b.refused))
		}
		return false
	}
	b.tokens--
	return true
}

// forget makes room, for many at a time, so that a flood of forged sources does not cost a walk over all of them each: first
// sources whose bucket is full again, which lose nothing by it, else some at random.
func (g *Gate) forget(now time.Time) {
	cfg := g.current.Load()
	for addr, b := range g.sources {
		if b.tokens+now.Sub(b.at).Seconds()*cfg.Rate >= cfg.Burst {
			delete(g.sources, addr)
		}
	}
	want := cfg.Sources - cfg.Sources/8 - 1
	for addr := range g.sources {
		if len(g.sources) <= want {
			return
		}
		delete(g.sources, addr)
	}
}

// source is the unit of limiting.
func source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
