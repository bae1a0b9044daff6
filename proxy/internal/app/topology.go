package app

import (
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/topology"
)

// hidingOf compiles whom the profiles hide from.
func hidingOf(s *settings.Settings, key []byte) topology.Config {
	c := topology.Config{Key: key, Profiles: map[string]bool{}}
	for name, p := range s.Profiles {
		if p.TopologyHiding {
			c.Profiles[name] = true
		}
	}
	return c
}
