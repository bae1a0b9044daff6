package settings

import (
	"net/netip"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Admin is the HTTP interface for operators.
type Admin struct {
	Address conf.Endpoint `yaml:"address"` // IP:port; none: there is no interface
	Token   conf.Secret   `yaml:"token"`   // that clients show as Bearer; needed unless the address is a loopback one
}

// minToken is how short a token may be, in bytes.
const minToken = 16

func (s *Settings) validateAdmin(doc *conf.Document) {
	a := s.Admin
	if a.Address.IsZero() {
		if a.Token != "" {
			doc.Fault("admin.token", "without admin.address there is nothing to protect")
		}
		return
	}
	host, err := netip.ParseAddr(a.Address.Host)
	switch {
	case err != nil:
		doc.Fault("admin.address", "%q is not an IP address", a.Address.Host)
	case !host.IsLoopback() && a.Token == "":
		doc.Fault("admin.token", "missing; only a loopback address may do without")
	}
	if a.Token != "" && len(a.Token.Reveal()) < minToken {
		doc.Fault("admin.token", "shorter than %d characters", minToken)
	}
}
