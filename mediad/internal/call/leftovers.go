package call

import "github.com/tandem-sbc/tandem/mediad/internal/flow"

// leftovers are what nothing of a call refers to any more.
type leftovers struct {
	places     []place // whose ports go
	agents     []*iceAgent
	handshakes []*handshake
}

// unused returns what the old medias hold and the parties do not.
func unused(old []*media, parties []*party) leftovers {
	agents, handshakes, held := map[*iceAgent]bool{}, map[*handshake]bool{}, map[any]bool{}
	for _, p := range parties {
		for _, m := range p.all() {
			m.visit(func(a *iceAgent) { agents[a] = true }, func(h *handshake) { handshakes[h] = true })
			for _, at := range m.places() {
				held[at.pair] = true
			}
		}
	}
	var l leftovers
	for _, m := range old {
		m.visit(func(a *iceAgent) {
			if !agents[a] {
				agents[a] = true
				l.agents = append(l.agents, a)
			}
		}, func(h *handshake) {
			if !handshakes[h] {
				handshakes[h] = true
				l.handshakes = append(l.handshakes, h)
			}
		})
		for _, at := range m.places() {
			if !held[at.pair] {
				held[at.pair] = true
				l.places = append(l.places, at)
			}
		}
	}
	return l
}

// visit calls the functions with each agent and each handshake of the media.
func (m *media) visit(agent func(*iceAgent), shake func(*handshake)) {
	if m.ice != nil {
		for _, a := range m.ice.agents {
			if a != nil {
				agent(a)
			}
		}
	}
	if m.dtls != nil {
		for _, h := range m.dtls.byComponent {
			if h != nil {
				shake(h)
			}
		}
	}
}

// close ends everything and gives the ports back. The lock of the call must
// not be held: handshakes under way wait for it.
func (l leftovers) close(r *Registry) {
	for _, h := range l.handshakes {
		h.endpoint.Close()
	}
	for _, a := range l.agents {
		a.Close()
	}
	var streams []*flow.Stream
	for _, at := range l.places {
		streams = append(streams, at.streams[:]...)
	}
	if len(streams) > 0 {
		r.cfg.Engine.Detach(streams...)
	}
	for _, at := range l.places {
		if at.main {
			for _, s := range at.streams {
				r.totals.add(s.Totals())
			}
		}
		at.pair.Release()
	}
}
