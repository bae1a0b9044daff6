// Package registrar is the step that executes REGISTER (RFC 3261 §10.3, with
// Path of RFC 3327 and the instance rule of RFC 5626 §6). It runs after auth:
// a user may change his own address of record only.
//
// In front of another registrar it is a mid-registrar: bindings are kept here,
// and the other one, which knows the users' passwords, is told of them as far
// as midregistrar wants it.
package registrar

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/midregistrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Table is where bindings are kept.
type Table interface {
	Update(aor location.AoR, change func(current []location.Binding) ([]location.Binding, error)) error
	Lookup(aor location.AoR) []location.Binding
	ConnectionClosed(id string) int
	Previous(aor location.AoR, instance, regID string) string
}

// Domains tells which domains are the proxy's own.
type Domains interface {
	// Canonical returns the own domain that host stands for; ok is false if it
	// is a foreign one.
	Canonical(host string) (domain string, ok bool)
}

// Config is what the step needs.
type Config struct {
	Policy
	Table Table

	// Moved is told that a device has come back by another connection, so that
	// its calls can follow it; nil = nobody is.
	Moved func(from request.ConnectionID, to request.Connection)

	// Way is how a registrar behind this one is talked to.
	Way Way

	Now func() time.Time // nil = time.Now
}

// Policy is what may change while users are registered.
type Policy struct {
	Domains        Domains
	MinExpires     time.Duration // a shorter registration is answered 423
	MaxExpires     time.Duration // a longer one is shortened
	DefaultExpires time.Duration // if the client names none
	MaxContacts    int           // of one address of record

	// Upstream is the registrar behind this one; nil = this is the only one.
	Upstream *Upstream
}

// Step executes REGISTER.
type Step struct {
	table     Table
	moved     func(from request.ConnectionID, to request.Connection)
	way       Way
	now       func() time.Time
	current   atomic.Pointer[Policy]
	book      *midregistrar.Book
	turns     *midregistrar.Turns
	farewells *farewells
}

// New returns the step; Close ends it.
func New(c Config) *Step {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Way.Grace <= 0 {
		c.Way.Grace = 3 * time.Second
	}
	s := &Step{table: c.Table, moved: c.Moved, way: c.Way, now: c.Now, book: midregistrar.NewBook(), turns: midregistrar.NewTurns()}
	s.Configure(c.Policy)
	s.farewells = newFarewells(s)
	return s
}

// Configure changes the policy for what comes from now on. Bindings, and what an upstream registrar was told, stay.
func (s *Step) Configure(p Policy) {
	if p.Upstream != nil {
		s.book.Configure(p.Upstream.Mode, p.Upstream.Expires, p.MinExpires)
	}
	s.current.Store(&p)
}

// policy is the one in force.
func (s *Step) policy() *Policy { return s.current.Load() }

// Close ends the work in the background.
func (s *Step) Close() { s.farewells.close() }

// Reasons to refuse a REGISTER; they are logged as causes.
var (
	ErrOutOfOrder      = errors.New("CSeq is not above the last one of this Call-ID")
	ErrTooManyContacts = errors.New("too many contacts")
)

// supported are the option tags that a client may require (RFC 3261 §20.32).
func supported(tag string) bool {
	return strings.EqualFold(tag, "path") || strings.EqualFold(tag, "outbound")
}

// Handle executes a REGISTER and lets all else pass.
func (s *Step) Handle(ctx context.Context, r *request.Request) (request.Verdict, error) {
	if r.Msg.Method != sip.REGISTER {
		return request.Continue, nil
	}
	var unknown []string
	for _, h := range r.Msg.GetHeaders("Require") {
		for _, tag := range request.SplitList(h.Value()) {
			if !supported(tag) {
				unknown = append(unknown, tag)
			}
		}
	}
	if len(unknown) > 0 {
		return request.Done, r.Respond(420, "Bad Extension", sip.NewHeader("Unsupported", strings.Join(unknown, ", ")))
	}
	aor, err := s.addressOfRecord(r)
	if err != nil {
		return request.Done, err
	}
	change, err := s.parse(r, aor)
	if err != nil {
		return request.Done, err
	}
	if s.policy().Upstream != nil {
		return request.Done, s.relay(ctx, r, aor, change)
	}
	return request.Done, s.execute(r, aor, change)
}

// execute changes the bindings and answers.
func (s *Step) execute(r *request.Request, aor location.AoR, change *change) error {
	previous := s.previous(r, aor, change)
	var bindings []location.Binding
	refresh := false
	err := s.table.Update(aor, func(current []location.Binding) ([]location.Binding, error) {
		next, err := change.apply(current)
		if err != nil {
			return nil, err
		}
		if len(next) > s.policy().MaxContacts {
			return nil, request.Fail(503, "Too Many Contacts", ErrTooManyContacts)
		}
		bindings, refresh = next, len(next) == len(current)
		if change.query() {
			return nil, location.ErrUnchanged
		}
		return next, nil
	})
	if err != nil {
		return err
	}
	s.changed(r, previous)
	if !change.query() {
		s.tell(r, aor, len(bindings), refresh)
	}
	return r.Respond(200, "OK", s.headers(r, bindings)...)
}

// changed does what follows from new bindings.
func (s *Step) changed(r *request.Request, previous request.ConnectionID) {
	if r.Conn != nil && !request.Alive(r.Conn) {
		// It closed before the binding was there to be taken out with it.
		s.table.ConnectionClosed(string(r.Conn.ID()))
	}
	if previous != "" {
		s.moved(previous, r.Conn)
	}
}

func (s *Step) tell(r *request.Request, aor location.AoR, bindings int, refresh bool) {
	log := r.Log.Info
	if refresh {
		log = r.Log.Debug // by far the most frequent message
	}
	log("registered", zap.String("aor", string(aor)), zap.Int("bindings", bindings), zap.Stringer("source", r.Source))
}

// previous is the connection that the registering device had before, if it has
// another one now.
func (s *Step) previous(r *request.Request, aor location.AoR, c *change) request.ConnectionID {
	if s.moved == nil || r.Conn == nil {
		return ""
	}
	for i := range c.put {
		id := request.ConnectionID(s.table.Previous(aor, c.put[i].Instance, c.put[i].RegID))
		if id != "" && id != r.Conn.ID() {
			return id
		}
	}
	return ""
}

func (s *Step) addressOfRecord(r *request.Request) (location.AoR, error) {
	to, err := request.ParseAddress(request.Header(r.Msg, "To"))
	if err != nil || to.URI.User == "" {
		return "", request.Fail(400, "Bad To", err)
	}
	domain, own := s.policy().Domains.Canonical(to.URI.Host)
	if !own {
		return "", request.Fail(404, "Not Found", nil)
	}
	if proxyKnows := s.policy().Upstream == nil || r.User != ""; proxyKnows && r.User != to.URI.User+"@"+domain {
		return "", request.Fail(403, "Forbidden", nil)
	}
	return location.NewAoR(to.URI.User, domain), nil
}

// headers are those of the 200: all bindings that now exist, and the Path that
// was taken in.
func (s *Step) headers(r *request.Request, bindings []location.Binding) []sip.Header {
	now := s.now()
	out := make([]sip.Header, 0, len(bindings)+2)
	for i := range bindings {
		b := &bindings[i]
		left := int((b.Expires.Sub(now) + time.Second - 1) / time.Second)
		value := "<" + b.Contact + ">;expires=" + strconv.Itoa(left)
		if b.Q != 1000 {
			value += ";q=" + strconv.FormatFloat(float64(b.Q)/1000, 'g', 3, 64)
		}
		out = append(out, sip.NewHeader("Contact", value+b.Params))
	}
	for _, h := range r.Original.GetHeaders("Path") {
		out = append(out, sip.NewHeader("Path", h.Value()))
	}
	return append(out, sip.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")))
}
