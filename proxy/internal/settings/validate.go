package settings

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
)

// validate adds a fault to doc for everything that the types cannot say.
func (s *Settings) validate(doc *conf.Document) {
	s.validateListeners(doc)
	s.validateDomains(doc)
	s.validateUsers(doc)
	s.validateAuth(doc)
	s.validateRegistrar(doc)
	s.validateTrunks(doc)
	s.validateRoutes(doc)
	s.validateResolver(doc)
	s.validateMedia(doc)
	s.validateDialogs(doc)
	s.validateRest(doc)
	s.validateAdmin(doc)
	s.validateTLS(doc)
	s.validateGuard(doc)
	s.validateTokens(doc)
}

func (s *Settings) validateListeners(doc *conf.Document) {
	if len(s.Listeners) == 0 {
		doc.Fault("listeners", "at least one listener is needed")
	}
	names := make(map[string]bool)
	for i, l := range s.Listeners {
		key := fmt.Sprintf("listeners[%d]", i)
		switch {
		case l.Name == "":
			doc.Fault(key+".name", "missing")
		case names[l.Name]:
			doc.Fault(key+".name", "%q is taken by another listener", l.Name)
		}
		names[l.Name] = true
		if !slices.Contains([]string{"udp", "tcp", "tls", "ws", "wss"}, l.Transport) {
			doc.Fault(key+".transport", "%q is none of udp, tcp, tls, ws, wss", l.Transport)
		}
		if l.Address.IsZero() {
			doc.Fault(key+".address", "missing")
		} else if _, err := netip.ParseAddr(l.Address.Host); err != nil {
			doc.Fault(key+".address", "%q is not an IP address; for all addresses write 0.0.0.0 or [::]", l.Address.Host)
		}
		s.validateProfileName(doc, key+".profile", l.Profile)
		websocket := l.Transport == "ws" || l.Transport == "wss"
		if l.Path != "" && !websocket {
			doc.Fault(key+".path", "only ws and wss listeners have a path")
		} else if l.Path != "" && !strings.HasPrefix(l.Path, "/") {
			doc.Fault(key+".path", "must begin with /")
		}
		if len(l.Origins) > 0 && !websocket {
			doc.Fault(key+".origins", "only ws and wss listeners look at origins")
		}
		for j, origin := range l.Origins {
			if origin != "*" && !strings.HasPrefix(origin, "http://") && !strings.HasPrefix(origin, "https://") {
				doc.Fault(fmt.Sprintf("%s.origins[%d]", key, j), "%q is neither * nor like https://host[:port]", origin)
			}
		}
	}
}

func (s *Settings) validateProfileName(doc *conf.Document, key, name string) {
	if _, ok := s.Profiles[name]; !ok && name != "" {
		doc.Fault(key, "no profile is called %q", name)
	}
}

func (s *Settings) validateDomains(doc *conf.Document) {
	if len(s.Domains) == 0 {
		doc.Fault("domains", "at least one own domain is needed")
	}
	for i, d := range s.Domains {
		if !validHost(d) {
			doc.Fault(fmt.Sprintf("domains[%d]", i), "%q is not a host name or address", d)
		}
	}
}

// validHost reports whether h may stand as the host of a SIP URI.
func validHost(h string) bool {
	if _, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
		return true
	}
	return regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`).MatchString(h)
}

func (s *Settings) validateUsers(doc *conf.Document) {
	userName := regexp.MustCompile(`^[A-Za-z0-9._+~!*'-]+$`)
	seen := make(map[string]bool)
	for i, u := range s.Users {
		key := fmt.Sprintf("users[%d]", i)
		if !userName.MatchString(u.Name) {
			doc.Fault(key+".name", "%q may hold only letters, digits and ._+~!*'-", u.Name)
		}
		if !slices.ContainsFunc(s.Domains, func(d string) bool { return strings.EqualFold(d, u.Domain) }) {
			doc.Fault(key+".domain", "%q is not one of domains", u.Domain)
		}
		if id := u.Name + "@" + strings.ToLower(u.Domain); seen[id] {
			doc.Fault(key+".name", "%s is given twice", id)
		} else {
			seen[id] = true
		}
		byHash := u.HA1.MD5 != "" || u.HA1.SHA256 != ""
		switch {
		case u.Password == "" && !byHash:
			doc.Fault(key+".password", "missing (or ha1)")
		case u.Password != "" && byHash:
			doc.Fault(key+".ha1", "password and ha1 cannot be given together")
		}
		validateHash(doc, key+".ha1.md5", u.HA1.MD5, 16)
		validateHash(doc, key+".ha1.sha256", u.HA1.SHA256, 32)
	}
}

func (s *Settings) validateAuth(doc *conf.Document) {
	if len(s.Auth.Algorithms) == 0 {
		doc.Fault("auth.algorithms", "at least one is needed")
	}
	for i, a := range s.Auth.Algorithms {
		if a != "SHA-256" && a != "MD5" || slices.Index(s.Auth.Algorithms, a) != i {
			doc.Fault(fmt.Sprintf("auth.algorithms[%d]", i), "%q is neither SHA-256 nor MD5, or given twice", a)
		}
	}
}

func validateHash(doc *conf.Document, key string, value conf.Secret, size int) {
	if value == "" {
		return
	}
	if raw, err := hex.DecodeString(value.Reveal()); err != nil || len(raw) != size {
		doc.Fault(key, "must be %d hex digits", 2*size)
	}
}

func within(doc *conf.Document, key string, value, low, high int) {
	if value < low || value > high {
		doc.Fault(key, "%d is not from %d to %d", value, low, high)
	}
}

func (s *Settings) validateRest(doc *conf.Document) {
	if s.Storage.Path == "" {
		doc.Fault("storage.path", "missing")
	}
	if s.Web.Demo && len(s.Web.DemoUsers) == 0 {
		doc.Fault("web.demo_users", "demo needs at least one")
	}
	for i, name := range s.Web.DemoUsers {
		if !slices.ContainsFunc(s.Users, func(u User) bool { return u.Name == name && u.Password != "" }) {
			doc.Fault(fmt.Sprintf("web.demo_users[%d]", i), "%q is no user with a password", name)
		}
	}
	l := s.Limits
	within(doc, "limits.connections", l.Connections, 1, 1_000_000)
	within(doc, "limits.connections_per_source", l.ConnectionsPerSource, 1, 1_000_000)
	within(doc, "limits.header", int(l.Header), 2048, 1<<20)
	within(doc, "limits.body", int(l.Body), 1024, 1<<20)
	within(doc, "limits.transactions", l.Transactions, 100, 10_000_000)
	within(doc, "limits.calls", l.Calls, 1, 1_000_000)
	within(doc, "limits.burst", l.Burst, 1, 1_000_000)
	if l.RequestsPerSecond <= 0 {
		doc.Fault("limits.requests_per_second", "must be positive")
	}
	for key, d := range map[string]conf.Duration{"limits.handshake": l.Handshake, "limits.idle": l.Idle, "limits.ping": l.Ping} {
		if time.Duration(d) < time.Second {
			doc.Fault(key, "must be at least 1s")
		}
	}
	if _, err := telemetry.ParseLevel(s.Log.Level); err != nil {
		doc.Fault("log.level", "%q is none of debug, info, warn, error", s.Log.Level)
	}
	if s.Log.Format != "console" && s.Log.Format != "json" {
		doc.Fault("log.format", "%q is neither console nor json", s.Log.Format)
	}
}
