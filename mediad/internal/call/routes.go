package call

import (
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// compileRoutes makes the routes of all medias of p anew: packets from p go to
// its peer.
func (c *Call) compileRoutes(p *party) {
	for i, m := range p.present.medias {
		if m.pair == nil {
			continue
		}
		var out *media
		if c.listens(p.peer, p) && i < len(p.peer.present.medias) && p.peer.present.medias[i].pair != nil {
			out = p.peer.present.medias[i]
		}
		// An offered association gets the handshake packets already, since its
		// peer may be faster than the answer.
		handshakes := m.dtls
		if p.open != nil && i < len(p.open.medias) && p.open.medias[i].pair == m.pair && p.open.medias[i].dtls != nil {
			handshakes = p.open.medias[i].dtls
		}
		for component, s := range m.streams {
			r := m.route(component, handshakes, out)
			s.SetRoute(r)
			m.routeFurther(component, r, handshakes)
		}
	}
}

// listens reports whether q is to hear p. Besides its peer that is, until one
// of them has answered, every branch that it has called: early media.
func (c *Call) listens(q, p *party) bool {
	return q != nil && (q.peer == p || q.peer == nil || !q.peer.answered)
}

// route is the decision for packets that arrive on one of the ports of m, out
// being the media of the other party, nil if there is none.
func (m *media) route(component int, handshakes *association, out *media) *flow.Route {
	side := &m.side
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
		r.Endpoint = remote.RTCP
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
	if out == nil || out.side.Remote.Hold {
		r.Drop = true // nobody there, or on hold by the address 0.0.0.0
		return r
	}
	r.Media = []flow.Output{out.output(componentRTP)}
	control := componentRTCP
	if out.side.Local.RTCPMux {
		control = componentRTP
	}
	r.ControlOut = []flow.Output{out.output(control)}
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
func (m *media) output(component int) flow.Output {
	security := m.side.Security()
	_, out := m.contexts(security, component)
	return flow.Output{Stream: m.streams[component], Encrypted: security != negotiate.SecurityNone, Outbound: out}
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
