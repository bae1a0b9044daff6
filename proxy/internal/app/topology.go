package app

import (
	"context"

	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/topology"
)

// newHiding makes the steps that hide one side from the other, where a profile asks for it.
func (a *App) newHiding(ctx context.Context) (*topology.Hiding, error) {
	key, err := a.db.Key(ctx, "topology")
	if err != nil {
		return nil, err
	}
	h := topology.New(a.edge)
	return h, h.Configure(hidingOf(a.settings, key))
}

func hidingOf(s *settings.Settings, key []byte) topology.Config {
	c := topology.Config{Key: key, Profiles: map[string]bool{}}
	for name, p := range s.Profiles {
		if p.TopologyHiding {
			c.Profiles[name] = true
		}
	}
	return c
}
