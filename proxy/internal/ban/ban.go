// Package ban shuts out for a time the sources that fail to log in again and again, that scan, or that send nonsense.
package ban

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Offence is what a source did.
type Offence string

// The offences. They stand in the log and in lists of bans.
const (
	LoginFailed Offence = "login failed"
	Malformed   Offence = "malformed messages"
	Refused     Offence = "refused requests"
	Scanner     Offence = "scanner" // banned at once
	ByHand      Offence = "by hand"
)

// Config bounds what is borne; zero values take the defaults named.
type Config struct {
	// Failures within Within lead to a ban of Time (20, 1 min, 10 min); negative: nobody is banned by the table itself.
	Failures     int
	Within, Time time.Duration
	// Sources bounds the sources remembered (65536).
	Sources int
	// Never tells sources that are not banned whatever they do, as trunks; nil: none.
	Never func(netip.Addr) bool
}

func (c Config) withDefaults() Config {
	if c.Failures == 0 {
		c.Failures = 20
	}
	if c.Within <= 0 {
		c.Within = time.Minute
	}
	if c.Time <= 0 {
		c.Time = 10 * time.Minute
	}
	if c.Sources <= 0 {
		c.Sources = 65536
	}
	return c
}

// Ban is a source that is shut out. An IPv6 /64 is one source.
type Ban struct {
	Source netip.Prefix
	Reason Offence
	Until  time.Time
}

// Table remembers offences and bans. Its methods are safe for concurrent use.
type Table struct {
	log    *zap.Logger
	now    func() time.Time
	banned atomic.Int64 // entries with a ban, so that the common question costs nothing

	mu      sync.Mutex
	config  Config
	sources map[netip.Prefix]*entry
}

type entry struct {
	since time.Time // of the first failure counted
	count int
	until time.Time // of the ban; zero: none
	why   Offence
}

// New makes a table.
func New(c Config, log *zap.Logger) *Table {
	return &Table{config: c.withDefaults(), log: log, now: time.Now, sources: map[netip.Prefix]*entry{}}
}

// Configure changes the bounds; bans stay.
func (t *Table) Configure(c Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.config = c.withDefaults()
}

// SourceOf is the unit of banning: an address, or an IPv6 /64.
func SourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the number of bits is right
	return p
}

// Banned reports whether a source is shut out.
func (t *Table) Banned(a netip.Addr) bool {
	if t.banned.Load() == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.sources[SourceOf(a)]
	return e != nil && t.now().Before(e.until)
}

// Note counts an offence and reports whether the source is banned now.
func (t *Table) Note(a netip.Addr, what Offence) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.config
	if c.Failures < 0 || c.Never != nil && c.Never(a) {
		return false
	}
	source, now := SourceOf(a), t.now()
	e := t.enter(source, now)
	if now.Before(e.until) {
		return true
	}
	if now.Sub(e.since) > c.Within {
		e.since, e.count = now, 0
	}
	if e.count++; e.count < c.Failures && what != Scanner {
		return false
	}
	t.ban(source, e, what, now.Add(c.Time))
	return true
}

// ban begins a ban; the lock is held.
func (t *Table) ban(source netip.Prefix, e *entry, why Offence, until time.Time) {
	if e.until.IsZero() {
		t.banned.Add(1)
	}
	t.log.Warn("source banned", zap.Stringer("source", source), zap.String("reason", string(why)), zap.Int("failures", e.count),
		zap.Time("until", until))
	e.until, e.why, e.count = until, why, 0
}

// Ban shuts a source out by hand, for a time; trunks as well.
func (t *Table) Ban(a netip.Addr, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	source, now := SourceOf(a), t.now()
	t.ban(source, t.enter(source, now), ByHand, now.Add(d))
}

// Lift ends a ban and forgets what led to it; false if there was none.
func (t *Table) Lift(a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	source := SourceOf(a)
	e := t.sources[source]
	if e == nil || !t.now().Before(e.until) {
		return false
	}
	t.log.Info("ban lifted", zap.Stringer("source", source))
	t.drop(source, e)
	return true
}

// Bans lists those in force, those that end first first.
func (t *Table) Bans() []Ban {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Ban
	for source, e := range t.sources {
		if t.now().Before(e.until) {
			out = append(out, Ban{source, e.why, e.until})
		}
	}
	slices.SortFunc(out, func(a, b Ban) int { return cmp.Or(a.Until.Compare(b.Until), a.Source.Addr().Compare(b.Source.Addr())) })
	return out
}

// enter finds or makes the entry of a source; the lock is held.
func (t *Table) enter(source netip.Prefix, now time.Time) *entry {
	e := t.sources[source]
	if e == nil {
		if len(t.sources) >= t.config.Sources {
			t.forget(now)
		}
		e = &entry{since: now}
		t.sources[source] = e
	}
	return e
}

// forget makes room for an eighth more at a time, so that a flood of sources costs each of them little: first what is over,
// then those not banned, then any. The lock is held.
func (t *Table) forget(now time.Time) {
	want := t.config.Sources - t.config.Sources/8 - 1
	for _, may := range []func(*entry) bool{
		func(e *entry) bool { return !now.Before(e.until) && now.Sub(e.since) > t.config.Within },
		func(e *entry) bool { return !now.Before(e.until) },
		func(*entry) bool { return true },
	} {
		for source, e := range t.sources {
			if len(t.sources) <= want {
				return
			}
			if may(e) {
				t.drop(source, e)
			}
		}
	}
}

func (t *Table) drop(source netip.Prefix, e *entry) {
	if !e.until.IsZero() {
		t.banned.Add(-1)
	}
	delete(t.sources, source)
}
