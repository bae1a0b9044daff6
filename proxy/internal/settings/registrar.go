package settings

import (
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

// Registrar is how users register (RFC 3261 §10.3).
type Registrar struct {
	MinExpires      conf.Duration `yaml:"min_expires"`      // shorter ones get 423
	MaxExpires      conf.Duration `yaml:"max_expires"`      // longer ones are shortened
	DefaultExpires  conf.Duration `yaml:"default_expires"`  // when the client names none
	MaxContacts     int           `yaml:"max_contacts"`     // per address of record
	Upstream        string        `yaml:"upstream"`         // name of the trunk that is the users' registrar
	Mode            string        `yaml:"mode"`             // mirror, contact or aor
	UpstreamExpires conf.Duration `yaml:"upstream_expires"` // asked for there, if the client's own time is shorter
}

// Values of Registrar.Mode.
const (
	ModeMirror  = "mirror"
	ModeContact = "contact"
	ModeAoR     = "aor"
)

func defaultRegistrar() Registrar {
	return Registrar{
		MinExpires:      conf.Duration(60 * time.Second),
		MaxExpires:      conf.Duration(time.Hour),
		DefaultExpires:  conf.Duration(10 * time.Minute),
		MaxContacts:     10,
		Mode:            ModeAoR,
		UpstreamExpires: conf.Duration(time.Hour),
	}
}

func (s *Settings) validateRegistrar(doc *conf.Document) {
	r := s.Registrar
	if time.Duration(r.MinExpires) < 10*time.Second {
		doc.Fault("registrar.min_expires", "must be at least 10s")
	}
	if time.Duration(r.MaxExpires) > 24*time.Hour || r.MaxExpires < r.MinExpires {
		doc.Fault("registrar.max_expires", "must be from min_expires (%s) to 24h", r.MinExpires)
	}
	if r.DefaultExpires < r.MinExpires || r.DefaultExpires > r.MaxExpires {
		doc.Fault("registrar.default_expires", "must be from min_expires (%s) to max_expires (%s)", r.MinExpires, r.MaxExpires)
	}
	within(doc, "registrar.max_contacts", r.MaxContacts, 1, 100)
	if !slices.Contains([]string{ModeMirror, ModeContact, ModeAoR}, r.Mode) {
		doc.Fault("registrar.mode", "%q is none of mirror, contact, aor", r.Mode)
	}
	withinTime(doc, "registrar.upstream_expires", r.UpstreamExpires, time.Minute, 24*time.Hour)
	if r.Upstream == "" {
		return
	}
	switch t := s.Trunk(r.Upstream); {
	case t == nil:
		doc.Fault("registrar.upstream", "no trunk is called %q", r.Upstream)
	case len(t.Targets) == 0:
		doc.Fault("registrar.upstream", "trunk %q has no targets", r.Upstream)
	case len(t.Sources)+len(t.TLSNames) == 0:
		doc.Fault("registrar.upstream", "trunk %q has no sources, so its calls to the users would be refused", r.Upstream)
	}
}
