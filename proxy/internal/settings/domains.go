package settings

import (
	"net"
	"net/netip"
	"os"
	"strings"
)

// Domains tells which hosts of SIP URIs are the proxy's own.
type Domains struct {
	own map[string]string // host → domain
}

// NewDomains makes the set of own domains; the first is the default one, for
// which also this host's name and addresses and the given aliases stand.
func NewDomains(domains []string, aliases ...string) *Domains {
	d := &Domains{own: make(map[string]string)}
	first := Realm(domains[0])
	aliases = append(aliases, "localhost", "127.0.0.1", "::1")
	if name, err := os.Hostname(); err == nil {
		aliases = append(aliases, name)
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				aliases = append(aliases, n.IP.String())
			}
		}
	}
	for _, a := range aliases {
		if a != "" {
			d.own[plainHost(a)] = first
		}
	}
	for _, name := range domains {
		d.own[plainHost(name)] = Realm(name)
	}
	return d
}

// Canonical returns the own domain that host stands for; ok is false if it is a
// foreign one.
func (d *Domains) Canonical(host string) (domain string, ok bool) {
	domain, ok = d.own[plainHost(host)]
	return domain, ok
}

// Realm is the domain as it stands in challenges and in the hashes of
// passwords.
func Realm(domain string) string { return strings.ToLower(domain) }

// plainHost is the form in which hosts are compared.
func plainHost(host string) string {
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}
