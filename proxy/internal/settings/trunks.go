package settings

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Trunk is a peer beyond the own users: a carrier, a telephone exchange, a registrar. Calls from it are known by their
// source address; calls to it go to its targets.
type Trunk struct {
	Name           string         `yaml:"name"`
	Sources        []conf.Network `yaml:"sources"`
	TLSNames       []string       `yaml:"tls_names"` // names in its client certificate
	TLS            TrunkTLS       `yaml:"tls"`       // how it is dialled
	Profile        string         `yaml:"profile"`   // leg profile; default: the listener's, towards it sip
	Targets        []Target       `yaml:"targets"`
	Timeout        conf.Duration  `yaml:"timeout"`  // for the first response of a target
	Failover       conf.List      `yaml:"failover"` // status codes, also like 5xx
	Avoid          conf.Duration  `yaml:"avoid"`    // a failed target is tried last for so long
	Probe          Probe          `yaml:"probe"`
	Credentials    Credentials    `yaml:"credentials"`
	Register       []Register     `yaml:"register"`
	Identity       Identity       `yaml:"identity"`
	Codecs         []string       `yaml:"codecs"` // towards the trunk, in this order
	Rewrite        []Rewrite      `yaml:"rewrite"`
	MaxCalls       int            `yaml:"max_calls"`        // in both directions; 0: any number
	CallsPerSecond float64        `yaml:"calls_per_second"` // begun in both directions; 0: any number
}

// Target is one place where a trunk takes calls.
type Target struct {
	URI      string `yaml:"uri"`
	Weight   int    `yaml:"weight"`   // share among those of the same priority; default: 1
	Priority int    `yaml:"priority"` // lowest first
}

// Probe asks targets by OPTIONS whether they are up.
type Probe struct {
	Interval  conf.Duration `yaml:"interval"` // 0: no probes
	Timeout   conf.Duration `yaml:"timeout"`
	DownAfter int           `yaml:"down_after"` // probes failed in a row
	UpAfter   int           `yaml:"up_after"`   // probes answered in a row
}

// Credentials answer the challenges of a trunk.
type Credentials struct {
	User     string      `yaml:"user"`
	Password conf.Secret `yaml:"password"`
	Realm    string      `yaml:"realm"` // default: any that the trunk asks for
}

// Register is one registration at a trunk.
type Register struct {
	AoR         string        `yaml:"aor"`       // sip:user@domain
	Registrar   string        `yaml:"registrar"` // URI; default: the trunk's targets
	Contact     string        `yaml:"contact"`   // user part; default: that of aor
	Expires     conf.Duration `yaml:"expires"`
	Credentials Credentials   `yaml:"credentials"` // default: the trunk's
}

// Identity is how callers are presented to a trunk.
type Identity struct {
	Headers conf.List `yaml:"headers"` // which ones say who calls
	Number  string    `yaml:"number"`  // presented for every caller
	Domain  string    `yaml:"domain"`  // host of identities; default: as the caller's
	From    bool      `yaml:"from"`    // put number and domain into From as well
	Trusted *bool     `yaml:"trusted"` // may know who wants to stay anonymous
}

// Rewrite changes the numbers it matches; for each direction and number the first that matches is taken.
type Rewrite struct {
	Direction string `yaml:"direction"` // in: calls from the trunk, out: calls to it; default: out
	Number    string `yaml:"number"`    // called or calling; default: called
	Match     string `yaml:"match"`     // regular expression; default: every number
	Strip     int    `yaml:"strip"`     // characters taken off
	Add       string `yaml:"add"`       // put in front
	Replace   string `yaml:"replace"`   // instead of the number; $1 is the first group of match
}

// Route sends requests somewhere; the first route that matches is taken.
type Route struct {
	Name    string        `yaml:"name"`
	From    []string      `yaml:"from"`    // users, names of trunks; default: users
	Domain  string        `yaml:"domain"`  // host of the request URI; default: any own domain; *: any
	Prefix  string        `yaml:"prefix"`  // of the user part
	Pattern string        `yaml:"pattern"` // regular expression for the whole user part
	When    string        `yaml:"when"`    // expression that must be true as well
	Strip   int           `yaml:"strip"`   // characters taken off the user part
	Add     string        `yaml:"add"`     // put in front of it
	To      conf.List     `yaml:"to"`      // registered, reject, a SIP URI without user, or trunks
	Profile string        `yaml:"profile"` // leg profile towards the next hop; default: the trunk's, else sip
	Timeout conf.Duration `yaml:"timeout"` // of ringing; default: Timer C alone
}

// Values of Route.To and Route.From that are not names.
const (
	ToRegistered = "registered"
	ToReject     = "reject"
	FromUsers    = "users"
	DomainAny    = "*"
)

// Resolver asks the DNS.
type Resolver struct {
	Servers []string      `yaml:"servers"` // address[:port]; default: those of /etc/resolv.conf
	Timeout conf.Duration `yaml:"timeout"` // of one question to one server
	MaxTTL  conf.Duration `yaml:"max_ttl"` // answers are kept no longer
	Avoid   conf.Duration `yaml:"avoid"`   // an address that failed is tried last for so long
}

func defaultResolver() Resolver {
	return Resolver{
		Timeout: conf.Duration(2 * time.Second), MaxTTL: conf.Duration(time.Hour), Avoid: conf.Duration(30 * time.Second),
	}
}

// Values of Rewrite.
const (
	DirectionIn   = "in"
	DirectionOut  = "out"
	NumberCalled  = "called"
	NumberCalling = "calling"
)

// Headers of Identity.Headers.
const (
	HeaderPAI  = "P-Asserted-Identity"
	HeaderRPID = "Remote-Party-ID"
)

// completeTrunks fills in defaults of trunks and routes.
func (s *Settings) completeTrunks() {
	for i := range s.Trunks {
		t := &s.Trunks[i]
		setDuration(&t.Timeout, 5*time.Second)
		setDuration(&t.Avoid, 30*time.Second)
		setDuration(&t.Probe.Timeout, 4*time.Second)
		if t.Failover == nil {
			t.Failover = conf.List{"408", "500", "502", "503", "504"}
		}
		if t.Probe.DownAfter == 0 {
			t.Probe.DownAfter = 3
		}
		if t.Probe.UpAfter == 0 {
			t.Probe.UpAfter = 1
		}
		if t.Identity.Headers == nil {
			t.Identity.Headers = conf.List{HeaderPAI}
		}
		if t.Identity.Trusted == nil {
			trusted := true
			t.Identity.Trusted = &trusted
		}
		for j := range t.Targets {
			t.Targets[j].Weight = max(t.Targets[j].Weight, 1)
		}
		for j := range t.Rewrite {
			t.Rewrite[j].Direction = cmp.Or(t.Rewrite[j].Direction, DirectionOut)
			t.Rewrite[j].Number = cmp.Or(t.Rewrite[j].Number, NumberCalled)
		}
		for j := range t.Register {
			r := &t.Register[j]
			setDuration(&r.Expires, time.Hour)
			if r.Credentials.User == "" {
				r.Credentials = t.Credentials
			}
		}
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		if len(r.From) == 0 {
			r.From = []string{FromUsers}
		}
		if r.Profile == "" && !s.leadsToTrunks(r) {
			r.Profile = ProfileSIP
		}
	}
}

func setDuration(d *conf.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = conf.Duration(otherwise)
	}
}

// OutwardProfile is the leg profile of calls to the trunk.
func (t *Trunk) OutwardProfile() string {
	base := cmp.Or(t.Profile, ProfileSIP)
	if len(t.Codecs) == 0 {
		return base
	}
	return base + " to " + t.Name
}

// completeProfiles adds the profiles of calls to trunks that take certain codecs.
func (s *Settings) completeProfiles() {
	for i := range s.Trunks {
		t := &s.Trunks[i]
		p, ok := s.Profiles[cmp.Or(t.Profile, ProfileSIP)]
		if !ok || len(t.Codecs) == 0 {
			continue
		}
		p.Flags += " codec-strip-all"
		for _, c := range t.Codecs {
			p.Flags += " codec-offer-" + c
		}
		s.Profiles[t.OutwardProfile()] = p
	}
}

// Trunk finds a trunk by its name; nil if there is none.
func (s *Settings) Trunk(name string) *Trunk {
	for i := range s.Trunks {
		if s.Trunks[i].Name == name {
			return &s.Trunks[i]
		}
	}
	return nil
}

func (s *Settings) leadsToTrunks(r *Route) bool {
	return len(r.To) > 0 && s.Trunk(r.To[0]) != nil
}

func (s *Settings) validateTrunks(doc *conf.Document) {
	names := map[string]bool{FromUsers: true, ToRegistered: true, ToReject: true}
	for i := range s.Trunks {
		t, key := &s.Trunks[i], fmt.Sprintf("trunks[%d]", i)
		switch {
		case t.Name == "":
			doc.Fault(key+".name", "missing")
		case names[t.Name]:
			doc.Fault(key+".name", "%q is taken", t.Name)
		case strings.Contains(t.Name, ":"):
			doc.Fault(key+".name", "%q must not contain a colon", t.Name)
		}
		names[t.Name] = true
		if len(t.Sources) == 0 && len(t.TLSNames) == 0 && len(t.Targets) == 0 {
			doc.Fault(key+".sources", "at least one address is needed, or a name in tls_names, or targets")
		}
		for j, n := range t.Sources {
			if netip.Prefix(n).Bits() == 0 && netip.Prefix(n).IsValid() {
				doc.Fault(fmt.Sprintf("%s.sources[%d]", key, j), "%s would trust everybody", n)
			}
		}
		s.validateProfileName(doc, key+".profile", t.Profile)
		t.validateTargets(doc, key)
		t.validateIdentity(doc, key)
		for j, c := range t.Codecs {
			if !regexp.MustCompile(`^[A-Za-z0-9.-]+(/[0-9/]+)?$`).MatchString(c) {
				doc.Fault(fmt.Sprintf("%s.codecs[%d]", key, j), "%q is not like PCMA or opus/48000/2", c)
			}
		}
		validateRewrite(doc, key, t.Rewrite)
		within(doc, key+".max_calls", t.MaxCalls, 0, 1_000_000)
		if t.CallsPerSecond < 0 {
			doc.Fault(key+".calls_per_second", "must not be negative")
		}
	}
}

func (t *Trunk) validateTargets(doc *conf.Document, key string) {
	for j, target := range t.Targets {
		k := fmt.Sprintf("%s.targets[%d]", key, j)
		if reason := badHop(target.URI); reason != "" {
			doc.Fault(k+".uri", "%s", reason)
		}
		within(doc, k+".weight", target.Weight, 1, 1000)
		within(doc, k+".priority", target.Priority, 0, 1000)
	}
	withinTime(doc, key+".timeout", t.Timeout, 100*time.Millisecond, time.Minute)
	withinTime(doc, key+".avoid", t.Avoid, time.Second, time.Hour)
	for j, f := range t.Failover {
		if !regexp.MustCompile(`^([3-5]xx|[3-5][0-9][0-9])$`).MatchString(f) {
			doc.Fault(fmt.Sprintf("%s.failover[%d]", key, j), "%q is not a code from 300 to 599, or like 5xx", f)
		}
	}
	p := t.Probe
	if p.Interval != 0 {
		withinTime(doc, key+".probe.interval", p.Interval, time.Second, time.Hour)
	}
	withinTime(doc, key+".probe.timeout", p.Timeout, 100*time.Millisecond, 32*time.Second)
	within(doc, key+".probe.down_after", p.DownAfter, 1, 100)
	within(doc, key+".probe.up_after", p.UpAfter, 1, 100)
	t.Credentials.validate(doc, key+".credentials")
	for j, r := range t.Register {
		k := fmt.Sprintf("%s.register[%d]", key, j)
		var uri sip.Uri
		if err := sip.ParseUri(r.AoR, &uri); err != nil || (uri.Scheme != "sip" && uri.Scheme != "sips") || uri.User == "" || uri.Host == "" {
			doc.Fault(k+".aor", "%q is not like sip:user@domain", r.AoR)
		}
		if r.Registrar == "" && len(t.Targets) == 0 {
			doc.Fault(k+".registrar", "missing: the trunk has no targets")
		} else if reason := badHop(r.Registrar); r.Registrar != "" && reason != "" {
			doc.Fault(k+".registrar", "%s", reason)
		}
		if !inUserPart(r.Contact) {
			doc.Fault(k+".contact", "%q cannot stand in the user part of a URI", r.Contact)
		}
		withinTime(doc, k+".expires", r.Expires, 10*time.Second, 24*time.Hour)
		r.Credentials.validate(doc, k+".credentials")
	}
}

func (c Credentials) validate(doc *conf.Document, key string) {
	if (c.User == "") != (c.Password == "") {
		doc.Fault(key, "user and password must be given together")
	}
	if strings.ContainsAny(c.User+c.Realm, "\r\n\"") {
		doc.Fault(key, "user and realm must not contain quotation marks or line ends")
	}
}

func (t *Trunk) validateIdentity(doc *conf.Document, key string) {
	for j, h := range t.Identity.Headers {
		if h != HeaderPAI && h != HeaderRPID {
			doc.Fault(fmt.Sprintf("%s.identity.headers[%d]", key, j), "%q is neither %s nor %s", h, HeaderPAI, HeaderRPID)
		}
	}
	if !inUserPart(t.Identity.Number) {
		doc.Fault(key+".identity.number", "%q cannot stand in the user part of a URI", t.Identity.Number)
	}
	if d := t.Identity.Domain; d != "" && !validHost(d) {
		doc.Fault(key+".identity.domain", "%q is not a host name or address", d)
	}
}

func validateRewrite(doc *conf.Document, key string, rules []Rewrite) {
	for i, r := range rules {
		k := fmt.Sprintf("%s.rewrite[%d]", key, i)
		if r.Direction != DirectionIn && r.Direction != DirectionOut {
			doc.Fault(k+".direction", "%q is neither in nor out", r.Direction)
		}
		if r.Number != NumberCalled && r.Number != NumberCalling {
			doc.Fault(k+".number", "%q is neither called nor calling", r.Number)
		}
		if _, err := regexp.Compile(r.Match); err != nil {
			doc.Fault(k+".match", "%v", err)
		}
		within(doc, k+".strip", r.Strip, 0, 64)
		if !inUserPart(r.Add) {
			doc.Fault(k+".add", "%q cannot stand in the user part of a URI", r.Add)
		}
		switch {
		case r.Replace != "" && r.Match == "":
			doc.Fault(k+".replace", "needs match")
		case r.Replace != "" && (r.Strip != 0 || r.Add != ""):
			doc.Fault(k+".replace", "cannot stand beside strip and add")
		case !inUserPart(strings.NewReplacer("${", "", "}", "").Replace(r.Replace)):
			doc.Fault(k+".replace", "%q cannot stand in the user part of a URI", r.Replace)
		}
	}
}

// inUserPart reports whether text may stand in the user part of a URI as it is.
func inUserPart(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`@:;<>"?\^{}|`, c) })
}

func withinTime(doc *conf.Document, key string, d conf.Duration, low, high time.Duration) {
	if t := time.Duration(d); t < low || t > high {
		doc.Fault(key, "must be from %s to %s", low, high)
	}
}

func (s *Settings) validateRoutes(doc *conf.Document) {
	for i := range s.Routes {
		r, key := &s.Routes[i], fmt.Sprintf("routes[%d]", i)
		for j, from := range r.From {
			if from != FromUsers && s.Trunk(from) == nil {
				doc.Fault(fmt.Sprintf("%s.from[%d]", key, j), "%q is neither users nor a trunk", from)
			}
		}
		if r.Domain != "" && r.Domain != DomainAny && !validHost(r.Domain) {
			doc.Fault(key+".domain", "%q is not a host name or address", r.Domain)
		}
		if r.Prefix != "" && r.Pattern != "" {
			doc.Fault(key+".pattern", "prefix and pattern cannot be given together")
		}
		if _, err := regexp.Compile(r.Pattern); err != nil {
			doc.Fault(key+".pattern", "%v", err)
		}
		within(doc, key+".strip", r.Strip, 0, 64)
		if !inUserPart(r.Add) {
			doc.Fault(key+".add", "%q cannot stand in the user part of a URI", r.Add)
		}
		s.validateTo(doc, key+".to", r.To)
		s.validateProfileName(doc, key+".profile", r.Profile)
	}
}

// validateTo checks where a route leads: one word or URI, or trunks with targets.
func (s *Settings) validateTo(doc *conf.Document, key string, to []string) {
	if len(to) == 1 && s.Trunk(to[0]) == nil {
		if to[0] == ToRegistered || to[0] == ToReject {
			return
		}
		if reason := badHop(to[0]); reason != "" {
			doc.Fault(key, "%s; or write registered, reject, or names of trunks", reason)
		}
		return
	}
	if len(to) == 0 {
		doc.Fault(key, "missing: registered, reject, a URI like sip:host:port;transport=tcp, or names of trunks")
	}
	for j, name := range to {
		k := key
		if len(to) > 1 {
			k = fmt.Sprintf("%s[%d]", key, j)
		}
		switch t := s.Trunk(name); {
		case t == nil:
			doc.Fault(k, "no trunk is called %q; only trunks may stand in a list", name)
		case len(t.Targets) == 0:
			doc.Fault(k, "trunk %q has no targets", name)
		case slices.Index(to, name) != j:
			doc.Fault(k, "%q is given twice", name)
		}
	}
}

// badHop tells what is wrong with the URI of a next hop; "" if nothing.
func badHop(text string) string {
	var uri sip.Uri
	if err := sip.ParseUri(text, &uri); err != nil || (uri.Scheme != "sip" && uri.Scheme != "sips") || uri.Host == "" {
		return fmt.Sprintf("%q is not a URI like sip:host:port;transport=tcp", text)
	}
	if uri.User != "" {
		return "the URI must have no user part; it is taken from the request"
	}
	return ""
}

func (s *Settings) validateResolver(doc *conf.Document) {
	for i, server := range s.Resolver.Servers {
		if _, ok := ServerAddress(server); !ok {
			doc.Fault(fmt.Sprintf("resolver.servers[%d]", i), "%q is not like 192.0.2.53 or 192.0.2.53:53", server)
		}
	}
	withinTime(doc, "resolver.timeout", s.Resolver.Timeout, 10*time.Millisecond, 30*time.Second)
	withinTime(doc, "resolver.max_ttl", s.Resolver.MaxTTL, time.Second, 24*time.Hour)
	withinTime(doc, "resolver.avoid", s.Resolver.Avoid, time.Second, time.Hour)
}

// ServerAddress reads address[:port] of a name server; the port is 53 if it is not given.
func ServerAddress(text string) (string, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 53).String(), true
	}
	a, err := netip.ParseAddrPort(text)
	return a.String(), err == nil && a.Port() != 0
}

// Codes tells whether a status code stands in a list like 408, 5xx.
func Codes(list []string) func(code int) bool {
	var low, high []int
	for _, f := range list {
		if class, ok := strings.CutSuffix(f, "xx"); ok {
			n, _ := strconv.Atoi(class)
			low, high = append(low, n*100), append(high, n*100+99)
			continue
		}
		n, _ := strconv.Atoi(f)
		low, high = append(low, n), append(high, n)
	}
	return func(code int) bool {
		for i := range low {
			if code >= low[i] && code <= high[i] {
				return true
			}
		}
		return false
	}
}
