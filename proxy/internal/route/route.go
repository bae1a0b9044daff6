// Package route is the step that decides where a request goes that belongs to
// no dialog: to the contacts of a registered user, to a next hop, or nowhere.
package route

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Table is where bindings are looked up.
type Table interface {
	Lookup(aor location.AoR) []location.Binding
}

// Domains tells which domains are the proxy's own.
type Domains interface {
	// Canonical returns the own domain that host stands for; ok is false if it
	// is a foreign one.
	Canonical(host string) (domain string, ok bool)
}

// Users tells whether an account exists.
type Users interface {
	Exists(ctx context.Context, user, domain string) (bool, error)
}

// Trunks gives the targets of trunks; see trunk.Trunks.
type Trunks interface {
	// Targets returns where the trunk takes a call to user, in the order to try; none if there is no such trunk.
	Targets(trunk, user string) []request.Target
}

// Config is what the step needs.
type Config struct {
	Table       Table
	Domains     Domains
	Users       Users
	Connections request.Connections
	Trunks      Trunks
	Rules       []Rule // the first that matches is taken
	// Upstream gives the targets at the registrar behind the proxy, which routes what users ask for and no rule takes; nil
	// if there is none.
	Upstream func(uri sip.Uri) []request.Target
}

// Step finds targets.
type Step struct{ current atomic.Pointer[Config] }

// New returns the step.
func New(c Config) *Step {
	s := new(Step)
	s.Configure(c)
	return s
}

// Configure makes the step go by another configuration from the next request on.
func (s *Step) Configure(c Config) { s.current.Store(&c) }

// Reasons to refuse; they are logged as causes.
var (
	ErrNoRoute     = errors.New("no route for this domain")
	ErrRejected    = errors.New("rejected by a route")
	ErrUnreachable = errors.New("no contact can be reached")
)

// Handle sets the targets of a request that has none.
func (s *Step) Handle(ctx context.Context, r *request.Request) (request.Verdict, error) {
	if len(r.Targets) > 0 || r.Msg.Method == sip.REGISTER {
		return request.Continue, nil
	}
	r.Redirects = s
	return s.decide(ctx, r, nil)
}

// decide sets the targets, and says why if somebody asks.
func (s *Step) decide(ctx context.Context, r *request.Request, e *Explanation) (request.Verdict, error) {
	c := s.current.Load()
	uri := r.Msg.Recipient
	domain, own := c.Domains.Canonical(uri.Host)
	user := uri.User
	var ringing time.Duration
	q := &question{r: r, user: user, domain: domain, own: own}
	for i := range c.Rules {
		rule := &c.Rules[i]
		why := rule.refuses(q)
		e.considered(rule.Name, i, why)
		if why != "" {
			continue
		}
		r.Log.Debug("route", zap.String("route", rule.Name))
		user = rule.rewrite(user)
		switch rule.Action {
		case ActionReject:
			return request.Done, request.Fail(403, "Forbidden", ErrRejected)
		case ActionSend:
			e.because("a route leads to this next hop")
			r.Targets = []request.Target{rule.target(user)}
			return request.Continue, nil
		case ActionTrunks:
			e.because("a route leads to trunks")
			if r.Targets = rule.trunkTargets(c.Trunks, user); len(r.Targets) == 0 {
				return request.Done, request.Fail(480, "Temporarily Unavailable", ErrUnreachable)
			}
			return request.Continue, nil
		}
		ringing = rule.Timeout
		break
	}
	if !own {
		return request.Done, request.Fail(404, "Not Found", ErrNoRoute)
	}
	if user == "" {
		if r.Msg.Method == sip.OPTIONS { // RFC 3261 §11: the proxy itself is asked
			return request.Done, r.Respond(200, "OK", sip.NewHeader("Accept", "application/sdp"),
				sip.NewHeader("Supported", "path"))
		}
		return request.Done, request.Fail(484, "Address Incomplete", nil)
	}
	if c.Upstream != nil && r.Trunk == "" {
		uri.User = user
		e.because("no route takes it: the registrar behind the proxy decides")
		if r.Targets = c.Upstream(uri); len(r.Targets) == 0 {
			return request.Done, request.Fail(480, "Temporarily Unavailable", ErrUnreachable)
		}
		return request.Continue, nil
	}
	e.because("the contacts of the registered user")
	return s.registered(ctx, r, user, domain, ringing)
}

// registered sets the contacts of a user of an own domain as targets.
func (s *Step) registered(ctx context.Context, r *request.Request, user, domain string, ringing time.Duration) (request.Verdict, error) {
	aor := s.addressOfRecord(user, domain)
	bindings := s.current.Load().Table.Lookup(aor)
	if id, ok := request.Param(r.Msg.Recipient.UriParams, location.IDParam); ok {
		// The one contact that the upstream registrar knows by it.
		bindings = slices.DeleteFunc(slices.Clone(bindings), func(b location.Binding) bool { return b.ID() != id })
	}
	for i := range bindings {
		if t, ok := s.bound(&bindings[i]); ok {
			t.Timeout = ringing
			r.Targets = append(r.Targets, t)
		}
	}
	if len(r.Targets) > 0 {
		return request.Continue, nil
	}
	if len(bindings) == 0 && s.current.Load().Upstream == nil {
		exists, err := s.current.Load().Users.Exists(ctx, user, domain)
		if err != nil {
			return request.Done, request.Fail(500, "Server Internal Error", err)
		}
		if !exists {
			return request.Done, request.Fail(404, "Not Found", nil)
		}
	}
	return request.Done, request.Fail(480, "Temporarily Unavailable", ErrUnreachable)
}

// addressOfRecord is that of a user part, which may name the domain as well: user%40domain, as contacts at an upstream
// registrar do.
func (s *Step) addressOfRecord(user, domain string) location.AoR {
	if i := strings.LastIndex(user, "%40"); s.current.Load().Upstream != nil && i > 0 {
		if d, own := s.current.Load().Domains.Canonical(user[i+3:]); own {
			return location.NewAoR(user[:i], d)
		}
	}
	return location.NewAoR(user, domain)
}

// bound makes a target of a binding; ok is false if its connection is gone and
// its contact must not be dialled.
func (s *Step) bound(b *location.Binding) (request.Target, bool) {
	t := request.Target{Profile: b.Profile, AoR: string(b.AoR), Q: b.Q}
	if err := request.ParseURI(b.Contact, &t.URI); err != nil {
		return t, false
	}
	for _, p := range b.Path {
		var uri sip.Uri
		if err := request.ParseURI(p, &uri); err != nil {
			return t, false
		}
		t.Route = append(t.Route, uri)
	}
	if b.Connection == "" {
		return t, b.Direct
	}
	conn, ok := s.current.Load().Connections.Get(request.ConnectionID(b.Connection))
	if ok && request.Alive(conn) {
		t.Conn = conn
		return t, true
	}
	return t, b.Direct
}
