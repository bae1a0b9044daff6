// Package trunk knows the trunks: which of their targets to call, what numbers and identities look like there, how fast
// calls may come, the answers to their challenges, and the registrations with them.
package trunk

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Config of one trunk.
type Config struct {
	Name    string
	Profile string // leg profile towards it
	Targets []Target
	// Silence limits the time to the first response of a target, Avoid is how long a failed one is tried last.
	Silence, Avoid time.Duration
	Failover       func(code int) bool
	Probe          Probe
	Credentials    Credentials
	Registrations  []Registration
	Identity       Identity
	Rewrite        Rewrite
	CallsPerSecond float64 // 0: any number
	// Knows reports whether messages that came by a connection are this trunk's.
	Knows func(conn request.Connection) bool
}

// Target is one place where a trunk takes calls.
type Target struct {
	URI              sip.Uri // without user part
	Weight, Priority int
}

// Probe is how targets are asked whether they are up; without interval they are not.
type Probe struct {
	Interval, Timeout  time.Duration
	DownAfter, UpAfter int // probes in a row
}

// Trunks are all trunks. It is a request.Step, a request.Observer and a request.Challenges.
type Trunks struct {
	log     *zap.Logger
	now     func() time.Time
	current atomic.Pointer[map[string]*trunk]

	mu         sync.Mutex // for what is below
	sender     Sender
	running    map[string]*worker
	registered map[string]RegistrationStatus // by trunk and address of record
	closed     bool
	wg         sync.WaitGroup
}

// trunk is one trunk with its state.
type trunk struct {
	Config
	targets []*target
	account *Account
	rate    *bucket
}

// target is a target with what is known of its health.
type target struct {
	Target
	uri string

	mu       sync.Mutex
	down     bool // by probes
	streak   int  // of probes that say otherwise
	avoid    time.Time
	failures uint64 // of calls
	reason   string // of the last failure
}

// New returns no trunks; see Configure. Nothing is sent before Start.
func New(log *zap.Logger) *Trunks {
	t := &Trunks{log: log, now: time.Now, running: map[string]*worker{}, registered: map[string]RegistrationStatus{}}
	t.current.Store(&map[string]*trunk{})
	return t
}

// Configure sets the trunks. What is known of targets, challenges and registrations that stay is kept.
func (t *Trunks) Configure(configs []Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := *t.current.Load()
	next := make(map[string]*trunk, len(configs))
	for _, c := range configs {
		if _, twice := next[c.Name]; twice || c.Name == "" {
			return fmt.Errorf("trunk %q: no name, or given twice", c.Name)
		}
		n := &trunk{Config: c, account: NewAccount(c.Credentials), rate: newBucket(c.CallsPerSecond)}
		old := before[c.Name]
		if old != nil && old.Credentials == c.Credentials {
			n.account = old.account
		}
		if old != nil && old.CallsPerSecond == c.CallsPerSecond {
			n.rate = old.rate
		}
		for _, to := range c.Targets {
			s := &target{Target: to, uri: to.URI.String()}
			if old != nil {
				if i := slices.IndexFunc(old.targets, func(o *target) bool { return o.uri == s.uri }); i >= 0 {
					s.take(old.targets[i])
				}
			}
			n.targets = append(n.targets, s)
		}
		next[c.Name] = n
	}
	t.current.Store(&next)
	t.restart()
	return nil
}

// take keeps what was known before a new configuration.
func (s *target) take(o *target) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.down, s.streak, s.avoid, s.failures, s.reason = o.down, o.streak, o.avoid, o.failures, o.reason
}

func (t *Trunks) trunk(name string) *trunk {
	if name == "" {
		return nil
	}
	return (*t.current.Load())[name]
}

// Targets returns where a trunk takes a call to user, in the order to try: lowest priority first, among equals drawn by
// weight, those that failed lately or are down last. Each stops the search as the trunk's failover says. Q is 0 in all.
func (t *Trunks) Targets(name, user string) []request.Target {
	k := t.trunk(name)
	if k == nil {
		return nil
	}
	user = apply(k.Rewrite.OutCalled, user)
	var out []request.Target
	for _, s := range k.order(t.now(), rand.IntN) {
		uri := *s.URI.Clone()
		uri.User = user
		out = append(out, request.Target{
			URI: uri, Profile: k.Profile, Trunk: name, Silence: k.Silence, Failover: k.Failover, Trusted: true,
		})
	}
	return out
}

// Through gives targets as Targets does, in the order in which to try them, but for requests whose URI stays as it is: the
// trunk's server knows the domain.
func (t *Trunks) Through(name string, uri sip.Uri) []request.Target {
	out := t.Targets(name, uri.User)
	for i := range out {
		out[i].NextHop, out[i].Q = out[i].URI, max(1000-i, 0)
		out[i].NextHop.User = ""
		user := out[i].URI.User
		out[i].URI = *uri.Clone()
		out[i].URI.User = user
	}
	return out
}

// order draws an order of targets.
func (k *trunk) order(now time.Time, draw func(n int) int) []*target {
	left := slices.Clone(k.targets)
	slices.SortStableFunc(left, func(a, b *target) int { return cmp.Compare(a.Priority, b.Priority) })
	var good, bad []*target
	for len(left) > 0 {
		same, sum := 0, 0
		for same < len(left) && left[same].Priority == left[0].Priority {
			sum += left[same].Weight
			same++
		}
		pick := 0
		if sum > 0 {
			for n := draw(sum); n >= left[pick].Weight; pick++ {
				n -= left[pick].Weight
			}
		}
		if s := left[pick]; s.usable(now) {
			good = append(good, s)
		} else {
			bad = append(bad, s)
		}
		left = slices.Delete(left, pick, pick+1)
	}
	return append(good, bad...)
}

func (s *target) usable(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down && !now.Before(s.avoid)
}

// Handle implements request.Step, between auth and route. In requests of trunks it writes numbers as they are here; of
// others it takes out what only a trunk may say.
func (t *Trunks) Handle(_ context.Context, r *request.Request) (request.Verdict, error) {
	from := t.trunk(r.Trunk)
	if r.InDialog {
		from = t.from(r.Conn)
	}
	if from == nil {
		stripIdentity(r.Msg)
		if r.User != "" { // has heard who he is, and the callee need not (RFC 3325 §9.2)
			removeAll(r.Msg, headerPreferred)
		}
	} else if !r.InDialog {
		if r.Msg.Method == sip.INVITE && !from.rate.take(t.now()) {
			return request.Done, tooFast(from.Name)
		}
		from.inward(r.Msg)
	}
	if r.Msg.Method != sip.ACK {
		r.Observers = append(r.Observers, t)
	}
	return request.Continue, nil
}

// from is the trunk that a connection leads to; nil if it is none's.
func (t *Trunks) from(conn request.Connection) *trunk {
	if conn == nil {
		return nil
	}
	for _, k := range *t.current.Load() {
		if k.Knows != nil && k.Knows(conn) {
			return k
		}
	}
	return nil
}

// tooFast refuses a call that comes before its time.
func tooFast(name string) error {
	e := request.Fail(sip.StatusServiceUnavailable, "Too Many Calls", fmt.Errorf("trunk %s: calls_per_second", name))
	e.Headers = []sip.Header{sip.NewHeader("Retry-After", "1")}
	return e
}

// Outgoing implements request.Observer.
func (t *Trunks) Outgoing(_ context.Context, r *request.Request, b *request.Branch) error {
	to := t.trunk(b.Target.Trunk)
	if to == nil {
		if b.Target.Trunk == "" {
			concealFromStrangers(b.Msg)
		}
		return nil
	}
	if r.InDialog {
		return nil
	}
	if r.Msg.Method == sip.INVITE && !to.rate.take(t.now()) {
		return tooFast(to.Name)
	}
	if r.Trunk != "" || r.User != "" {
		to.outward(b.Msg, r.User)
	}
	return nil
}

// Incoming implements request.Observer: the caller gets back the From that he sent, and identities from trunks alone.
func (t *Trunks) Incoming(_ context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	if want := request.Header(r.Original, "From"); want != "" && request.Header(res, "From") != want {
		res.ReplaceHeader(sip.NewHeader("From", want))
	}
	if b.Target.Trunk == "" {
		stripIdentity(res)
	} else if r.Trunk == "" {
		concealFromStrangers(res)
	}
	return nil
}

// Finished implements request.Observer: it learns which targets work.
func (t *Trunks) Finished(_ context.Context, r *request.Request, b *request.Branch, o request.Outcome) {
	k := t.trunk(b.Target.Trunk)
	if k == nil || r.InDialog || o.Cancelled {
		return
	}
	uri := *b.Target.URI.Clone()
	if b.Target.NextHop.Host != "" {
		uri = *b.Target.NextHop.Clone()
	}
	uri.User = ""
	i := slices.IndexFunc(k.targets, func(s *target) bool { return s.uri == uri.String() })
	if i < 0 {
		return
	}
	s := k.targets[i]
	// What a callee's phone may have said, as 500 or 408, is no fault of the target.
	failed := o.Unreachable || o.Code == sip.StatusServiceUnavailable && !o.Local
	s.mu.Lock()
	defer s.mu.Unlock()
	if !failed {
		if !o.Local {
			s.avoid = time.Time{}
		}
		return
	}
	until := t.now().Add(k.Avoid)
	if o.RetryAfter > 0 {
		until = t.now().Add(min(o.RetryAfter, time.Hour))
	}
	s.avoid, s.reason = until, strconv.Itoa(o.Code)
	s.failures++
	t.log.Warn("target of trunk failed", zap.String("trunk", k.Name), zap.String("target", s.uri), zap.Int("code", o.Code),
		zap.Duration("avoided", until.Sub(t.now()).Round(time.Second)))
}

// Authorize implements request.Challenges.
func (t *Trunks) Authorize(name string, req *sip.Request) {
	if k := t.trunk(name); k != nil && k.account != nil {
		k.account.Authorize(req)
	}
}

// Answer implements request.Challenges.
func (t *Trunks) Answer(name string, req *sip.Request, res *sip.Response) (bool, error) {
	k := t.trunk(name)
	if k == nil || k.account == nil {
		return false, nil
	}
	return k.account.Answer(req, res)
}

// bucket is a token bucket for calls; nil lets everything through.
type bucket struct {
	perSecond, size float64
	mu              sync.Mutex
	tokens          float64
	last            time.Time
}

func newBucket(perSecond float64) *bucket {
	if perSecond <= 0 {
		return nil
	}
	size := max(1, perSecond)
	return &bucket{perSecond: perSecond, size: size, tokens: size}
}

func (b *bucket) take(now time.Time) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() {
		b.tokens = min(b.size, b.tokens+now.Sub(b.last).Seconds()*b.perSecond)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
