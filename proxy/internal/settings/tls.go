package settings

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// TLS is what the tls and wss listeners serve and believe.
type TLS struct {
	Certificate  string        `yaml:"certificate"` // PEM file with the chain; short for one entry of certificates
	Key          string        `yaml:"key"`         // PEM file
	Certificates []Certificate `yaml:"certificates"`
	LocalCA      string        `yaml:"local_ca" env:"TANDEM_LOCAL_CA"`
	ClientCA     string        `yaml:"client_ca"` // authorities of client certificates on tls listeners
	ACME         ACME          `yaml:"acme"`
}

// ACME is where a certificate is obtained (RFC 8555).
type ACME struct {
	Directory string        `yaml:"directory"` // URL
	Names     []string      `yaml:"names"`     // default: the domains
	Contact   []string      `yaml:"contact"`   // e-mail addresses
	Agree     bool          `yaml:"agree_terms"`
	Challenge string        `yaml:"challenge"` // tls-alpn-01 or http-01
	HTTP      conf.Endpoint `yaml:"http"`      // where http-01 is answered
	Storage   string        `yaml:"storage"`
	CA        string        `yaml:"ca"` // authorities of the server itself; default: those of the system
	EAB       EAB           `yaml:"eab"`
}

// EAB binds the account to one that the server's operator knows.
type EAB struct {
	ID  string      `yaml:"id"`
	Key conf.Secret `yaml:"key"` // base64url
}

// Values of ACME.Challenge.
const (
	ChallengeTLS  = "tls-alpn-01"
	ChallengeHTTP = "http-01"
)

// Bytes is the key itself.
func (e EAB) Bytes() ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(e.Key.Reveal(), "="))
}

// Certificate is one of several, chosen by server name.
type Certificate struct {
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"`
	Names       []string `yaml:"names"` // default: those in the certificate
}

// TrunkTLS is how a trunk is dialled by TLS.
type TrunkTLS struct {
	Certificate string `yaml:"certificate"` // own certificate towards it
	Key         string `yaml:"key"`
	CA          string `yaml:"ca"`          // authorities of its certificate; default: those of the system
	ServerName  string `yaml:"server_name"` // default: the host that is dialled
}

// Values of Listener.ClientCertificate.
const (
	ClientRequest = "request"
	ClientRequire = "require"
)

func defaultTLS() TLS {
	return TLS{
		LocalCA: "var/ca", ACME: ACME{Challenge: ChallengeTLS, HTTP: conf.Endpoint{Host: "0.0.0.0", Port: 80}, Storage: "var/acme"},
	}
}

// completeACME gives the certificate the names of the domains.
func (s *Settings) completeACME() {
	if a := &s.TLS.ACME; a.Directory != "" && len(a.Names) == 0 {
		a.Names = s.Domains
	}
}

func (s *Settings) validateACME(doc *conf.Document) {
	a := s.TLS.ACME
	if a.Directory == "" {
		if doc.Has("tls.acme") {
			doc.Fault("tls.acme.directory", "missing")
		}
		return
	}
	if !strings.HasPrefix(a.Directory, "https://") {
		doc.Fault("tls.acme.directory", "%q is not like https://acme.example/directory", a.Directory)
	}
	if !a.Agree {
		doc.Fault("tls.acme.agree_terms", "must be true: you agree to the terms of the server's operator")
	}
	if a.Challenge != ChallengeTLS && a.Challenge != ChallengeHTTP {
		doc.Fault("tls.acme.challenge", "%q is neither tls-alpn-01 nor http-01", a.Challenge)
	}
	for i, n := range a.Names {
		_, err := netip.ParseAddr(n)
		switch key := fmt.Sprintf("tls.acme.names[%d]", i); {
		case !validHost(n):
			doc.Fault(key, "%q is not a host name", n)
		case err == nil && a.Challenge == ChallengeTLS:
			doc.Fault(key, "an address is proved by http-01 only")
		}
	}
	if a.Storage == "" {
		doc.Fault("tls.acme.storage", "missing")
	}
	if _, err := a.EAB.Bytes(); err != nil || (a.EAB.ID == "") != (a.EAB.Key == "") {
		doc.Fault("tls.acme.eab", "id and a key in base64url must be given together")
	}
	for i, l := range s.Listeners {
		if a.Challenge == ChallengeTLS && (l.Transport == "tls" || l.Transport == "wss") && l.ClientCertificate == ClientRequire {
			doc.Fault(fmt.Sprintf("listeners[%d].client_certificate", i), "the ACME server has none to show; use challenge http-01")
		}
	}
}

// Pairs are all configured certificates, the single one first.
func (t TLS) Pairs() []Certificate {
	if t.Certificate == "" {
		return t.Certificates
	}
	return append([]Certificate{{Certificate: t.Certificate, Key: t.Key}}, t.Certificates...)
}

// completeClients gives a listener the authorities for all. Not to wss: a browser would ask its user for a certificate.
func (s *Settings) completeClients(l *Listener) {
	if l.Transport == "tls" && l.ClientCA == "" {
		l.ClientCA = s.TLS.ClientCA
	}
	if l.ClientCA != "" && l.ClientCertificate == "" {
		l.ClientCertificate = ClientRequest
	}
}

func (s *Settings) validateTLS(doc *conf.Document) {
	if (s.TLS.Certificate == "") != (s.TLS.Key == "") {
		doc.Fault("tls", "certificate and key must be given together")
	}
	if len(s.TLS.Pairs()) == 0 && s.TLS.LocalCA == "" {
		doc.Fault("tls.local_ca", "missing")
	}
	s.validateACME(doc)
	for i, c := range s.TLS.Certificates {
		key := fmt.Sprintf("tls.certificates[%d]", i)
		if c.Certificate == "" || c.Key == "" {
			doc.Fault(key, "certificate and key are both needed")
		}
		for j, name := range c.Names {
			if !validHost(strings.TrimPrefix(name, "*.")) {
				doc.Fault(fmt.Sprintf("%s.names[%d]", key, j), "%q is neither a host name nor like *.example.org", name)
			}
		}
	}
	for i, l := range s.Listeners {
		key := fmt.Sprintf("listeners[%d].", i)
		secure := l.Transport == "tls" || l.Transport == "wss"
		if l.ClientCA != "" && !secure {
			doc.Fault(key+"client_ca", "only tls and wss listeners see certificates")
		}
		switch l.ClientCertificate {
		case "":
		case ClientRequest, ClientRequire:
			if l.ClientCA == "" {
				doc.Fault(key+"client_certificate", "needs client_ca")
			}
		default:
			doc.Fault(key+"client_certificate", "%q is neither request nor require", l.ClientCertificate)
		}
	}
	for i, t := range s.Trunks {
		key := fmt.Sprintf("trunks[%d].", i)
		if (t.TLS.Certificate == "") != (t.TLS.Key == "") {
			doc.Fault(key+"tls", "certificate and key must be given together")
		}
		if len(t.TLSNames) > 0 && !s.verifiesClients() {
			doc.Fault(key+"tls_names", "no listener verifies client certificates; give one client_ca")
		}
	}
}

func (s *Settings) verifiesClients() bool {
	for _, l := range s.Listeners {
		if l.ClientCA != "" {
			return true
		}
	}
	return false
}
