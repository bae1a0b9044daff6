package call

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/connect"
	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// provision gets what a command needs and remembers how to give it back, in
// case the command fails. Nothing that is in use is touched.
type provision struct {
	call  *Call
	offer bool // what is in use stays until the answer
	reset bool // what is in use is not taken over
	tos   *int
	undo  []func()
}

// rollback gives back everything that was got.
func (p *provision) rollback() {
	for i := len(p.undo) - 1; i >= 0; i-- {
		p.undo[i]()
	}
}

// party returns the medias for the sides of a party, made from those it has.
func (p *provision) party(q *party, sides []negotiate.Side) ([]*media, error) {
	next := make([]*media, len(sides))
	for i := range sides {
		var old *media
		if i < len(q.medias) && !p.reset {
			old = q.medias[i]
		}
		m, err := p.media(old, &sides[i], logger{p.call.log, q, []zap.Field{zap.Int("media", i+1)}})
		if err != nil {
			return nil, err
		}
		next[i] = m
	}
	return next, nil
}

func (p *provision) media(old *media, side *negotiate.Side, log logger) (*media, error) {
	m := &media{}
	if old != nil {
		*m = *old
	}
	inUse := p.offer && m.settled
	if !side.Local.Active {
		if inUse {
			return m, nil
		}
		return &media{applied: *side}, nil
	}
	if err := p.ports(m, &side.Local); err != nil {
		return nil, err
	}
	if err := p.ice(m, &side.Local, inUse, log); err != nil {
		return nil, err
	}
	p.dtls(m, &side.Local, inUse, log)
	if err := p.sdes(m, &side.Local, inUse); err != nil {
		return nil, err
	}
	if !inUse {
		m.applied = *side
	}
	return m, nil
}

// ports gets a pair of ports if there is none or if it is on another interface
// or of another family. Everything that is tied to the old ports goes.
func (p *provision) ports(m *media, l *negotiate.Local) error {
	family := familyOf(l.Family)
	if m.pair != nil && m.pair.Interface == l.Interface &&
		(family == ports.AnyFamily || family == ports.FamilyOf(m.pair.Address.Local)) {
		return nil
	}
	cfg := &p.call.registry.cfg
	pair, err := cfg.Ports.Allocate(l.Interface, family)
	switch {
	case errors.Is(err, ports.ErrNoPorts):
		return fmt.Errorf("%w: %w", ng.ReasonOutOfPorts, err)
	case err != nil:
		p.call.log.Error("no ports", zap.String("interface", l.Interface), zap.Error(err))
		return fmt.Errorf("%w: %w", ng.ReasonOutOfPorts, err)
	}
	p.undo = append(p.undo, pair.Release)
	*m = media{pair: pair, applied: m.applied, sdes: m.sdes}
	now := time.Now()
	m.streams = [components]*flow.Stream{
		flow.NewStream(pair.RTP, p.call.shard, now), flow.NewStream(pair.RTCP, p.call.shard, now),
	}
	for _, s := range m.streams {
		if p.tos != nil {
			if err := s.Conn().SetTOS(uint8(*p.tos)); err != nil {
				p.call.log.Warn("cannot set TOS", zap.Int("tos", *p.tos), zap.Error(err))
			}
		}
		if err := cfg.Engine.Attach(s); err != nil {
			return fmt.Errorf("%w: attach: %w", ng.ReasonOutOfPorts, err)
		}
		p.undo = append(p.undo, func() { cfg.Engine.Detach(s) })
	}
	return nil
}

func familyOf(f ng.AddressFamily) ports.Family {
	switch f {
	case ng.FamilyIP4:
		return ports.IPv4
	case ng.FamilyIP6:
		return ports.IPv6
	default:
		return ports.AnyFamily
	}
}

// ice gets credentials for a new ICE session and agents for the components in
// use. Agents of the session before are kept; they restart when the session is
// agreed.
func (p *provision) ice(m *media, l *negotiate.Local, inUse bool, log logger) error {
	if l.ICE.Mode == negotiate.ICENone {
		if !inUse {
			m.ice = nil
		}
		return nil
	}
	next := &iceSession{generation: l.ICE.Generation, mode: l.ICE.Mode}
	if old := m.ice; old != nil && old.mode == next.mode {
		next.agents = old.agents
		if old.generation == next.generation {
			next.credentials = old.credentials
		}
	}
	if next.credentials == (connect.Credentials{}) {
		next.credentials = connect.NewCredentials()
	}
	for i := range next.agents {
		wanted := i == componentRTP || l.RTCPPort
		switch {
		case wanted && next.agents[i] == nil:
			agent, err := p.agent(m, i, next, log)
			if err != nil {
				return err
			}
			next.agents[i] = agent
		case !wanted && !inUse:
			next.agents[i] = nil
		}
	}
	m.ice = next
	return nil
}

func (p *provision) agent(m *media, component int, session *iceSession, log logger) (*iceAgent, error) {
	stream := m.streams[component]
	a := &iceAgent{generation: session.generation, given: make(map[string]bool)}
	log = log.with(zap.Int("component", component+1))
	agent, err := connect.NewAgent(connect.Config{
		Local: stream.LocalAddr(), Advertised: m.pair.Address.Public(), Component: uint16(component + 1),
		Credentials: session.credentials, Lite: session.mode == negotiate.ICELite, Sender: stream,
		OnSelected: func(remote netip.AddrPort) {
			stream.Select(remote)
			log.now().Info("ICE pair selected", zap.Stringer("remote", remote))
			if h := a.handshake.Load(); h != nil {
				if err := h.reach(); err != nil {
					log.now().Warn("DTLS not started", zap.Error(err))
				}
			}
		},
		OnState: func(s connect.State) { log.now().Debug("ICE state", zap.Stringer("state", s)) },
		Logger:  p.call.registry.cfg.Pion,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ng.ReasonInternal, err)
	}
	a.Agent = agent
	p.undo = append(p.undo, agent.Close)
	return a, nil
}

// dtls gets endpoints for a new association. They wait until it is agreed.
func (p *provision) dtls(m *media, l *negotiate.Local, inUse bool, log logger) {
	has := func(a *association) bool { return a != nil && a.generation == l.DTLS.Generation }
	next := m.dtls
	switch {
	case l.DTLS.Role == negotiate.DTLSNone:
		next = nil
	case has(m.dtls):
	case has(m.pending):
		next = m.pending
	default:
		next = &association{generation: l.DTLS.Generation}
	}
	switch {
	case next == nil && inUse:
		return
	case next == nil:
		m.dtls, m.pending = nil, nil
		return
	case next != m.dtls && inUse:
		m.pending = p.components(next, m, l, inUse, log)
		return
	}
	m.dtls, m.pending = p.components(next, m, l, inUse, log), nil
}

// components returns the association with the handshakes that l asks for.
func (p *provision) components(a *association, m *media, l *negotiate.Local, inUse bool, log logger) *association {
	next := *a
	for i := range next.byComponent {
		wanted := i == componentRTP || l.RTCPPort
		switch {
		case wanted && next.byComponent[i] == nil:
			next.byComponent[i] = p.handshake(m, i, log.with(zap.Int("component", i+1)))
		case !wanted && !inUse:
			next.byComponent[i] = nil
		}
	}
	return &next
}

func (p *provision) handshake(m *media, component int, log logger) *handshake {
	stream, c := m.streams[component], p.call
	h := &handshake{}
	h.endpoint = secure.NewEndpoint(secure.EndpointConfig{
		Certificate: c.registry.cfg.Certificate,
		Sender:      stream,
		Remote:      stream.Destination,
		Verified:    m.ice != nil,
		OnKeys:      func(k secure.Keys) { c.keysDerived(h, k, log) },
		OnFailed:    func(err error) { c.handshakeFailed(h, err, log) },
		OnClosed:    func() { log.now().Info("DTLS association closed by the peer") },
		Logger:      c.registry.cfg.Pion,
	})
	p.undo = append(p.undo, h.endpoint.Close)
	return h
}

// sdes makes a key for each line that is offered and has none yet. Contexts in
// use stay.
func (p *provision) sdes(m *media, l *negotiate.Local, inUse bool) error {
	if len(l.SDES.Lines) == 0 {
		if !inUse {
			m.sdes = nil
		}
		return nil
	}
	next := &sdesKeys{}
	if m.sdes != nil {
		*next = *m.sdes
		next.lines = nil
	}
	for _, line := range l.SDES.Lines {
		suite, err := secure.ParseSuite(line.Suite)
		if err != nil {
			return fmt.Errorf("%w: %w", ng.ReasonInternal, err)
		}
		key, known := m.sdes.key(line.Tag, suite)
		if !known && line.Tag == l.SDES.Chosen && m.sdes != nil && m.sdes.own.Suite == suite {
			key, known = m.sdes.own, true // the same key under the number that a re-offer gave it
		}
		if !known {
			if key, err = secure.NewKey(suite); err != nil {
				return fmt.Errorf("%w: %w", ng.ReasonInternal, err)
			}
		}
		key.UnencryptedSRTP, key.UnencryptedSRTCP = line.UnencryptedSRTP, line.UnencryptedSRTCP
		next.lines = append(next.lines, sdesKey{tag: line.Tag, key: key})
	}
	m.sdes = next
	return nil
}
