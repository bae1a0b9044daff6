package auth

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Domains tells which domains are the proxy's own.
type Domains interface {
	// Canonical returns the own domain that host stands for; ok is false if it
	// is a foreign one.
	Canonical(host string) (domain string, ok bool)
}

// Trunk is a peer known by its source address, or by the names in its verified client certificate.
type Trunk struct {
	Name    string
	Profile string // leg profile; empty: that of the listener
	Trusts  func(netip.Addr) bool
	Names   []string
}

// Knows reports whether a message that came by conn from source is this trunk's.
func (t *Trunk) Knows(conn request.Connection, source netip.Addr) bool {
	return t.Trusts(source) || conn != nil && request.PeerNamed(conn, t.Names)
}

// Config is what the step needs.
type Config struct {
	Accounts Accounts
	Domains  Domains
	Trunks   []Trunk
	Key      []byte // for nonces; 32 random bytes
	// Tokens verifies bearer tokens and Ephemeral time-limited passwords; nil: there are none.
	Tokens    Tokens
	Ephemeral Ephemeral
	// Failed is told of a login that failed, and whose source is no forgery; nil: nobody is.
	Failed func(request.Connection)
	Nonces int // how many used nonces are remembered; more are stale earlier
	// Algorithms are offered in this order; nil = SHA-256, then MD5. Some old
	// phones look at the first challenge only.
	Algorithms []string
	// Registered reports a user whom an upstream registrar has accepted over this connection; nil if there is no such
	// registrar. Users without an account here are then known by it alone.
	Registered func(conn request.Connection, user, domain string) bool
}

// Step authenticates requests.
type Step struct{ current atomic.Pointer[rules] }

// rules are one configuration at work; the nonces outlive it.
type rules struct {
	Config
	nonces *nonces
}

// New returns the step.
func New(c Config) *Step {
	s := new(Step)
	s.use(c, newNonces(c.Key, c.Nonces))
	return s
}

// Configure makes the step go by another configuration from the next request on, but for Key and Nonces: what was handed out stays good.
func (s *Step) Configure(c Config) { s.use(c, s.current.Load().nonces) }

func (s *Step) use(c Config, n *nonces) {
	if c.Algorithms == nil {
		c.Algorithms = []string{SHA256, MD5}
	}
	s.current.Store(&rules{Config: c, nonces: n})
}

// realmKind is how one kind of server challenges (RFC 3261 §22.1).
type realmKind struct {
	code                  int
	reason                string
	challenge, credential string
}

// Errors of authentication; they are logged as causes.
var (
	ErrBadCredentials = errors.New("wrong user or password")
	ErrNotYours       = errors.New("the identity belongs to somebody else")
	ErrNotRegistered  = errors.New("the user is not registered over this connection")
)

// Handle lets through requests of trunks and of users who prove who they are.
// In-dialog requests that have their targets already belong to a call that was
// let through when it began.
func (s *Step) Handle(ctx context.Context, r *request.Request) (request.Verdict, error) {
	return s.current.Load().handle(ctx, r)
}

func (s *rules) handle(ctx context.Context, r *request.Request) (request.Verdict, error) {
	if r.InDialog && len(r.Targets) > 0 {
		return request.Continue, nil
	}
	if r.Msg.Method == sip.ACK { // cannot be answered, and belongs to no call known here
		return request.Done, nil
	}
	for i := range s.Trunks {
		if t := &s.Trunks[i]; r.Msg.Method != sip.REGISTER && t.Knows(r.Conn, r.Source.Addr()) {
			r.Trunk = t.Name
			if t.Profile != "" {
				r.Profile = t.Profile
			}
			return request.Continue, nil
		}
	}
	// Only a trunk may vouch for an identity (RFC 3325 §6).
	removeAll(r.Msg, "P-Asserted-Identity")
	return s.user(ctx, r)
}

func (s *rules) user(ctx context.Context, r *request.Request) (request.Verdict, error) {
	kind := realmKind{407, "Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"}
	header := "From"
	if r.Msg.Method == sip.REGISTER {
		kind = realmKind{401, "Unauthorized", "WWW-Authenticate", "Authorization"}
		header = "To"
	}
	identity, err := request.ParseAddress(request.Header(r.Msg, header))
	if err != nil {
		return request.Done, request.Fail(400, "Bad "+header, err)
	}
	if header == "From" && strings.EqualFold(identity.URI.Host, "anonymous.invalid") {
		// Who hides himself from the callee tells the proxy who he is (RFC 3325 §9.2, RFC 3323 §4.1.1.3).
		if preferred, err := request.Addresses(r.Msg, "P-Preferred-Identity"); err == nil && len(preferred) > 0 {
			identity = preferred[0]
		}
	}
	realm, own := s.Domains.Canonical(identity.URI.Host)
	if !own {
		// Strangers reach nobody here except through a trunk.
		return request.Done, request.Fail(403, "Forbidden", ErrNotYours)
	}
	if user, proved, err := s.byToken(r, kind, realm); err != nil || proved {
		return s.proved(r, user, identity.URI.User, realm, err)
	}
	if s.Registered != nil {
		if _, known, err := s.Accounts.Account(ctx, identity.URI.User, realm); err == nil && !known {
			return s.foreign(r, identity.URI.User, realm)
		}
	}
	c, consumed, err := s.find(r.Msg, kind.credential, realm)
	if err != nil {
		return request.Done, request.Fail(400, "Bad Authorization", err)
	}
	if consumed == nil {
		return request.Done, s.challenge(r, kind, realm, false)
	}
	judged, issued := s.nonces.check(c.nonce, realm)
	if judged == nonceForged || !c.supported(s.Algorithms) {
		return request.Done, s.challenge(r, kind, realm, false)
	}
	nc, err := c.count()
	if err != nil {
		return request.Done, request.Fail(400, "Bad Authorization", err)
	}
	user, expired, matched, err := s.match(ctx, &c, realm, string(r.Msg.Method))
	if err != nil {
		return request.Done, request.Fail(500, "Server Internal Error", err)
	}
	if !matched {
		s.failed(r, c.username, c.nonce, ErrBadCredentials)
		return request.Done, s.challenge(r, kind, realm, false)
	}
	if expired {
		return request.Done, request.Fail(403, "Credentials Expired", ErrExpired)
	}
	if judged == nonceStale || !s.nonces.use(c.nonce, issued, nc) {
		return request.Done, s.challenge(r, kind, realm, true)
	}
	if identity.URI.User != user {
		return request.Done, request.Fail(403, "Forbidden", ErrNotYours)
	}
	r.User = user + "@" + realm
	// These credentials are consumed here (RFC 3261 §22.3); those for other
	// realms travel on.
	for _, h := range removeAll(r.Msg, kind.credential) {
		if h != consumed {
			r.Msg.AppendHeader(h)
		}
	}
	return request.Continue, nil
}

// foreign is for users of an upstream registrar, which asks for their passwords itself: REGISTER goes to it, and who has
// registered is known by the connection. Credentials travel on to it.
func (s *rules) foreign(r *request.Request, user, domain string) (request.Verdict, error) {
	if r.Msg.Method == sip.REGISTER {
		return request.Continue, nil
	}
	if !s.Registered(r.Conn, user, domain) {
		return request.Done, request.Fail(403, "Forbidden", ErrNotRegistered)
	}
	r.User = user + "@" + domain
	return request.Continue, nil
}

// removeAll takes out all headers of that name in any case, and returns them.
func removeAll(msg *sip.Request, name string) []sip.Header {
	all := msg.GetHeaders(name)
	for _, h := range all {
		msg.RemoveHeader(h.Name())
	}
	return all
}

// find returns the credentials for realm and the header that holds them.
func (s *rules) find(msg *sip.Request, name, realm string) (credentials, sip.Header, error) {
	for _, h := range msg.GetHeaders(name) {
		c, digest, err := parseCredentials(h.Value())
		if err != nil {
			return c, nil, err
		}
		if digest && strings.EqualFold(c.realm, realm) {
			return c, h, nil
		}
	}
	return credentials{}, nil, nil
}

// challenge answers with a challenge by each algorithm.
func (s *rules) challenge(r *request.Request, kind realmKind, realm string, stale bool) error {
	nonce := s.nonces.issue(realm, r.Source.Addr())
	headers := make([]sip.Header, 0, len(s.Algorithms)+1)
	for _, algorithm := range s.Algorithms {
		headers = append(headers, sip.NewHeader(kind.challenge, challenge(realm, nonce, algorithm, stale)))
	}
	return r.Respond(kind.code, kind.reason, s.bearer(kind, headers)...)
}
