package call

import (
	"net/netip"
	"slices"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// compile makes the routes of all parties anew. Forks that share ports are
// taken in the order of their last exchange: the ports belong to the latest.
func (c *Call) compile() {
	byTurn := slices.Clone(c.parties)
	slices.SortStableFunc(byTurn, func(p, q *party) int { return p.turn - q.turn })
	for _, p := range byTurn {
		c.compileRoutes(p)
	}
}

// compileRoutes makes the routes of all medias of p anew: packets from p go to
// those who hear it.
func (c *Call) compileRoutes(p *party) {
	for i, m := range p.present.medias {
		if m.pair == nil {
			continue
		}
		// An offered association gets the handshake packets already, since its
		// peer may be faster than the answer.
		handshakes := m.dtls
		if p.open != nil && i < len(p.open.medias) && p.open.medias[i].pair == m.pair && p.open.medias[i].dtls != nil {
			handshakes = p.open.medias[i].dtls
		}
		listeners := c.listeners(p, i)
		for component, s := range m.streams {
			r := m.route(component, handshakes)
			for _, l := range listeners {
				if !l.control {
					r.Media = append(r.Media, c.outputOf(l, m))
				}
				control := componentRTCP
				if l.media.side.Local.RTCPMux {
					control = componentRTP
				}
				r.ControlOut = append(r.ControlOut, l.media.output(control, nil))
			}
			r.Drop = len(listeners) == 0 || component == componentRTCP && m.side.Local.Raw
			c.observe(p, i, r)
			s.SetRoute(r)
			m.routeFurther(component, r, handshakes)
		}
	}
}

// listener is a media that gets the packets of another one.
type listener struct {
	media   *media
	filter  *flow.Filter
	control bool // RTCP only
}

// listeners are those that get media i of p: nobody if its traffic is dropped, p
// itself if it is its own mirror.
func (c *Call) listeners(p *party, i int) []listener {
	m := p.present.medias[i]
	switch {
	case c.dropped:
		return nil
	case p.echo:
		return []listener{{media: m}}
	case p.sunk:
		return nil
	}
	var out []listener
	for _, s := range p.subscribers {
		if !s.heard() {
			continue
		}
		for _, to := range s.receives(i) {
			onHold := to.side.Remote.Hold && to.ice == nil // with ICE the address in SDP means nothing
			if to.pair != nil && !onHold && len(out) < flow.MaxOutputs {
				out = append(out, listener{to, c.filter(s, m, to), s.control})
			}
		}
	}
	return out
}

// route is the decision for packets that arrive on one of the ports of m, but
// for where they go.
func (m *media) route(component int, handshakes *association) *flow.Route {
	side := m.side
	local, remote := &side.Local, &side.Remote
	security := side.Security()
	r := &flow.Route{
		Endpoint:   remote.RTP,
		Learning:   learningOf(local.Source.Learning),
		Strict:     local.Source.Strict,
		Handover:   local.Source.Handover,
		Asymmetric: local.Source.Asymmetric,
		Encrypted:  security != negotiate.SecurityNone,
		Opaque:     local.Raw,
		PassSTUN:   local.ICE.Passthrough,
		Control:    component == componentRTCP,
		Muxed:      component == componentRTP && (local.RTCPMux || local.RTCPMuxOffered),
	}
	if component == componentRTCP {
		r.Endpoint = m.endpoint(componentRTCP)
		if local.RTCPMux {
			r.Endpoint = netip.AddrPort{} // nothing is sent from this port
		}
	}
	r.Inbound, _ = m.contexts(security, component)
	if m.ice != nil && !local.ICE.Declined {
		if a := m.ice.agents[component]; a != nil {
			r.ICE = a.Agent
		}
	}
	if handshakes != nil {
		if h := handshakes.byComponent[component]; h != nil {
			r.DTLS = arrival{h, m.streams[component]}
		}
	}
	return r
}

// routeFurther makes the routes of the ports on other addresses after r, that of
// the port in the m= line.
func (m *media) routeFurther(component int, r *flow.Route, handshakes *association) {
	for i, at := range m.further {
		own := *r
		own.Endpoint = netip.AddrPort{}
		own.Learning, own.Strict = flow.Off, false
		if r.ICE != nil {
			own.ICE = m.ice.agents[component].At(i + 1)
		}
		if handshakes != nil && handshakes.byComponent[component] != nil {
			own.DTLS = arrival{handshakes.byComponent[component], at.streams[component]}
		}
		at.streams[component].SetRoute(&own)
	}
}

// output is the way to the party from one of the ports of m.
func (m *media) output(component int, f *flow.Filter) flow.Output {
	security := m.side.Security()
	_, out := m.contexts(security, component)
	o := flow.Output{Stream: m.streams[component], Encrypted: security != negotiate.SecurityNone, Outbound: out, Filter: f}
	if m.side.Local.Source.NATWait {
		o.Wait = m.streams[componentRTP]
	}
	return o
}

func learningOf(l ng.EndpointLearning) flow.Learning {
	switch l {
	case ng.LearningOff:
		return flow.Off
	case ng.LearningImmediate:
		return flow.Immediate
	case ng.LearningDelayed:
		return flow.Delayed
	default:
		return flow.Heuristic
	}
}
