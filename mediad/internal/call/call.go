package call

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"go.uber.org/zap"
)

// Bounds of one call. Real calls stay far below; who goes above is refused.
const (
	maxParties = 64
)

// Call is everything under one Call-ID.
type Call struct {
	registry *Registry
	id       string
	others   []string  // ids of the calls that were merged into it; guarded by mu, and by that of the registry
	shard    uint64    // all streams of a call are served by one worker of the engine; guarded by mu
	created  time.Time // guarded by mu
	operated operated  // guarded by mu
	log      *zap.Logger
	quality  *quality.Table

	mu         sync.Mutex // guards what follows, with everything that hangs on it
	parties    []*party   // in order of appearance
	lastSignal time.Time
	answered   bool
	ended      bool
	into       *Call          // the call that it was merged into, once it has ended so
	deleteAt   time.Time      // when a deleted call ends; zero = not deleted
	quietAt    time.Time      // the silence timers need no look before,
	quietBy    *limits.Values // as long as these are in force
	metadata   string
	appeared   int    // parties so far
	turns      int    // exchanges so far
	blocks     blocks // of all parties
	dropped    bool   // no media goes on (ng: drop-traffic)
	cname      string // of RTCP reports of our own; empty = none are made
}

// party is one side of a call.
type party struct {
	number    int    // in order of appearance, from 0
	tag       string // empty for the receiver of an offer that nobody has answered
	viaBranch string
	label     string
	created   time.Time
	answered  bool      // has given any answer
	deleteAt  time.Time // when a deleted party goes; zero = not deleted

	name atomic.Pointer[string] // tag, for the log lines of callbacks, which hold no lock
	peer *party                 // whom it talks to: the party of the last exchange
	turn int                    // number of the last exchange that it took part in

	subscriptions []*subscription // whom it hears
	subscribers   []*subscription // by whom it is heard
	blocks        blocks          // what others are kept from hearing of it
	spares        []spare         // ports of it that may be of use again
	echo          bool            // hears itself (ng: media echo)
	sunk          bool            // is heard by nobody else
	said          string          // the body that it has sent last
	saidAnswer    bool            // which was an answer
	source        negotiate.Party // what a subscriber was offered, as if a party had

	present terms  // in force
	open    *terms // of an offer during the call that is not answered; it may be refused
}

// terms are what a party and mediad hold of each other.
type terms struct {
	snapshot negotiate.Party
	medias   []*media // one for each of snapshot.Sides
	agreed   bool     // by an answer; else this is the first offer
}

// forOffer returns the terms that an offer changes. One that was refused has
// left nothing but the version number of the body that it was sent in.
func (p *party) forOffer() terms {
	t := p.present
	if p.open != nil {
		t.snapshot.Session.Sent = p.open.snapshot.Session.Sent
	}
	return t
}

// latest returns the terms that an answer or a candidate belongs to: those of
// the open offer, if there is one.
func (p *party) latest() terms {
	if p.open != nil {
		return *p.open
	}
	return p.present
}

// put makes t the terms of the party, at once or when they are answered.
func (p *party) put(t terms, answered bool) {
	if p.present.agreed && !answered {
		open := t
		p.open = &open
		return
	}
	t.agreed = answered
	p.present, p.open = t, nil
}

// all returns the medias in force, those on offer and the spare ones.
func (p *party) all() []*media {
	if p.open == nil && len(p.spares) == 0 {
		return p.present.medias
	}
	all := slices.Clone(p.present.medias)
	if p.open != nil {
		all = append(all, p.open.medias...)
	}
	for _, s := range p.spares {
		all = append(all, s.media)
	}
	return all
}

func newCall(r *Registry, id string, now time.Time) *Call {
	return &Call{
		registry: r, id: id, shard: maphash.String(r.seed, id), created: now, lastSignal: now,
		log: r.cfg.Log.WithLazy(zap.String("call-id", id)), quality: quality.NewTable(r.cfg.MOS),
	}
}

func newParty(tag string, now time.Time) *party {
	p := &party{created: now}
	p.rename(tag)
	return p
}

// add makes the party part of the call.
func (c *Call) add(p *party) {
	if !slices.Contains(c.parties, p) {
		p.number = c.appeared
		c.appeared++
		c.parties = append(c.parties, p)
	}
}

// rename gives the party its tag.
func (p *party) rename(tag string) {
	p.tag, p.present.snapshot.Tag = tag, tag
	p.name.Store(&tag)
}

// logger makes loggers for events of one media of a party. It is worth nothing
// until there is an event: most calls have none. The tag is looked up then,
// since an answerer gets it late.
type logger struct {
	base      *zap.Logger
	party     *party
	media     int // from 1
	component int // from 1; 0 = of the media as a whole
}

func (c *Call) logger(p *party, media int) logger { return logger{c.log, p, media + 1, 0} }

// of is the logger for one component of the media.
func (l logger) of(component int) logger {
	l.component = component + 1
	return l
}

func (l logger) now() *zap.Logger {
	fields := []zap.Field{zap.String("tag", *l.party.name.Load()), zap.Int("media", l.media)}
	if l.component > 0 {
		fields = append(fields, zap.Int("component", l.component))
	}
	return l.base.With(fields...)
}

// partyByTag returns the party with the tag, nil if there is none.
func (c *Call) partyByTag(tag string) *party {
	for _, p := range c.parties {
		if tag != "" && p.tag == tag {
			return p
		}
	}
	return nil
}

func (c *Call) partyByBranch(branch string) *party {
	if branch == "" {
		return nil
	}
	for _, p := range c.parties {
		if p.viaBranch == branch {
			return p
		}
	}
	return nil
}

// partners returns the parties that p is associated with.
func (c *Call) partners(p *party) []*party {
	var out []*party
	for _, q := range c.parties {
		if q != p && (q.peer == p || p.peer == q) {
			out = append(out, q)
		}
	}
	return out
}
