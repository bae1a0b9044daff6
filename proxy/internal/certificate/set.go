package certificate

import (
	"crypto/tls"
	"errors"
	"strings"
)

// alpnChallenge is the protocol by which an ACME server asks for proof (RFC 8737 §3).
const alpnChallenge = "acme-tls/1"

// ErrNone means that there is nothing to serve yet: neither a file nor an issued certificate.
var ErrNone = errors.New("no certificate for this name yet")

// set is what is served, immutable.
type set struct {
	byName    map[string][]*tls.Certificate // server name in lower case, or "*.rest"
	all       []*tls.Certificate            // in the order of the configuration; the first serves who names nobody
	issued    func(*tls.ClientHelloInfo) *tls.Certificate
	challenge func(*tls.ClientHelloInfo) *tls.Certificate
}

func (s *set) add(c *tls.Certificate, names []string) {
	if len(names) == 0 {
		names = c.Leaf.DNSNames
	}
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		s.byName[n] = append(s.byName[n], c)
	}
	s.all = append(s.all, c)
}

// find chooses a certificate for a handshake: of those for the name the first that the client understands (a site may have
// one with RSA and one with ECDSA), then one issued by ACME, then the first of all.
func (s *set) find(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name != "" {
		if c := understood(hello, s.byName[name]); c != nil {
			return c, nil
		}
		if _, rest, ok := strings.Cut(name, "."); ok {
			if c := understood(hello, s.byName["*."+rest]); c != nil {
				return c, nil
			}
		}
	}
	if s.issued != nil {
		if c := s.issued(hello); c != nil {
			return c, nil
		}
	}
	if c := understood(hello, s.all); c != nil {
		return c, nil
	}
	return nil, ErrNone
}

func understood(hello *tls.ClientHelloInfo, list []*tls.Certificate) *tls.Certificate {
	for _, c := range list {
		if hello.SupportsCertificate(c) == nil {
			return c
		}
	}
	// The client may accept what it does not announce, as those without SNI do.
	if len(list) > 0 {
		return list[0]
	}
	return nil
}
