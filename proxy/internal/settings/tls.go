package settings

import (
	"fmt"
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

func defaultTLS() TLS { return TLS{LocalCA: "var/ca"} }

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
