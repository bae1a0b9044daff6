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
	call *Call
	tos  *int
	new  []*flow.Stream // to be attached, all at once
	undo []func()
}

// rollback gives back everything that was got and is not kept. It is to be
// deferred, so that a command that panics takes no ports along.
func (p *provision) rollback() {
	if len(p.new) > 0 {
		p.call.registry.cfg.Engine.Detach(p.new...) // before their ports go
	}
	for i := len(p.undo) - 1; i >= 0; i-- {
		p.undo[i]()
	}
}

// keep says that what was got belongs to the call now.
func (p *provision) keep() { p.new, p.undo = nil, nil }

// party returns the medias for the sides of a party, made from those it has.
func (p *provision) party(q *party, old []*media, sides []negotiate.Side) ([]*media, error) {
	next := make([]*media, len(sides))
	for i := range sides {
		var before *media
		if i < len(old) {
			before = old[i]
		}
		m, err := p.media(before, &sides[i], p.call.logger(q, i))
		if err != nil {
			return nil, err
		}
		next[i] = m
	}
	return next, nil
}

func (p *provision) media(old *media, side *negotiate.Side, log logger) (*media, error) {
	m := &media{side: side}
	l := &side.Local
	if !l.Active {
		return m, nil
	}
	if old != nil {
		*m = *old
		m.side = side
	}
	if err := p.ports(m, l); err != nil {
		return nil, err
	}
	if err := p.further(m, l); err != nil {
		return nil, err
	}
	if err := p.ice(m, l, log); err != nil {
		return nil, err
	}
	p.dtls(m, l, log)
	return m, p.sdes(m, l)
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
	if err != nil {
		return p.noPorts(l, err)
	}
	p.undo = append(p.undo, pair.Release)
	*m = media{side: m.side, wild: l.ICE.Mode != negotiate.ICENone || l.ICE.Passthrough, pair: pair, sdes: m.sdes}
	now := time.Now()
	m.streams = [components]*flow.Stream{
		flow.NewStream(pair.RTP, p.call.shard, now), flow.NewStream(pair.RTCP, p.call.shard, now),
	}
	p.open(m.streams)
	return nil
}

// further gets pairs of ports on the other addresses of the interface while ICE
// offers them as candidates.
func (p *provision) further(m *media, l *negotiate.Local) error {
	if l.ICE.Mode == negotiate.ICENone && !l.ICE.Passthrough {
		m.further = nil
		return nil
	}
	if m.further != nil {
		return nil
	}
	pairs, err := p.call.registry.cfg.Ports.AllocateOthers(m.pair)
	if err != nil {
		return p.noPorts(l, err)
	}
	m.further = make([]place, 0, len(pairs))
	for _, pair := range pairs {
		p.undo = append(p.undo, pair.Release)
	}
	now := time.Now()
	for _, pair := range pairs {
		at := place{pair: pair, streams: [components]*flow.Stream{
			m.streams[componentRTP].NewFurther(pair.RTP, now), m.streams[componentRTCP].NewFurther(pair.RTCP, now),
		}}
		p.open(at.streams)
		m.further = append(m.further, at)
	}
	return nil
}

func (p *provision) noPorts(l *negotiate.Local, err error) error {
	if !errors.Is(err, ports.ErrNoPorts) {
		p.call.log.Error("no ports", zap.String("interface", l.Interface), zap.Error(err))
	}
	return fmt.Errorf("%w: %w", ng.ReasonOutOfPorts, err)
}

// open notes new streams, for attach.
func (p *provision) open(streams [components]*flow.Stream) {
	for _, s := range streams {
		if p.tos != nil {
			if err := s.SetTOS(uint8(*p.tos)); err != nil {
				p.call.log.Warn("cannot set TOS", zap.Int("tos", *p.tos), zap.Error(err))
			}
		}
	}
	p.new = append(p.new, streams[:]...)
}

// attach gives the new streams of all parties to the engine.
func (p *provision) attach() error {
	if len(p.new) == 0 {
		return nil // so that no worker is asked
	}
	if err := p.call.registry.cfg.Engine.Attach(p.new...); err != nil {
		return fmt.Errorf("%w: attach: %w", ng.ReasonOutOfPorts, err)
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
func (p *provision) ice(m *media, l *negotiate.Local, log logger) error {
	if l.ICE.Mode == negotiate.ICENone {
		m.ice = nil
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
		switch wanted := i == componentRTP || l.RTCPPort; {
		case !wanted:
			next.agents[i] = nil
		case next.agents[i] == nil:
			agent, err := p.agent(m, i, next, log)
			if err != nil {
				return err
			}
			next.agents[i] = agent
		}
	}
	m.ice = next
	return nil
}

func (p *provision) agent(m *media, component int, session *iceSession, log logger) (*iceAgent, error) {
	places := m.places()
	first := m.streams[component]
	var further []connect.Port
	for _, at := range places[1:] {
		further = append(further, connect.Port{Local: at.streams[component].LocalAddr(), Sender: at.streams[component]})
	}
	a := &iceAgent{generation: session.generation, given: make(map[string]bool)}
	log = log.of(component)
	agent, err := connect.NewAgent(connect.Config{
		Local: first.LocalAddr(), Component: uint16(component + 1), Further: further,
		Credentials: session.credentials, Lite: session.mode == negotiate.ICELite, Sender: first,
		OnSelected: func(port int, remote netip.AddrPort) {
			chosen := places[port].streams[component]
			chosen.Select(remote)
			first.SetOutlet(chosen)
			log.now().Info("ICE pair selected", zap.Stringer("local", chosen.LocalAddr()), zap.Stringer("remote", remote))
			if h := a.handshake.Load(); h != nil {
				if err := h.reach(); err != nil {
					log.now().Warn("DTLS not started", zap.Error(err))
				}
			}
		},
		OnState: func(s connect.State) {
			level := zap.DebugLevel
			if s == connect.Failed || s == connect.Disconnected {
				level = zap.WarnLevel
			}
			log.now().Log(level, "ICE state", zap.Stringer("state", s))
		},
		Logger: p.call.registry.cfg.Pion,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ng.ReasonInternal, err)
	}
	a.Agent = agent
	p.undo = append(p.undo, agent.Close)
	return a, nil
}

// dtls gets endpoints for a new association. They wait until it is agreed.
func (p *provision) dtls(m *media, l *negotiate.Local, log logger) {
	if l.DTLS.Role == negotiate.DTLSNone {
		m.dtls = nil
		return
	}
	next := &association{generation: l.DTLS.Generation}
	if m.dtls != nil && m.dtls.generation == next.generation {
		next.byComponent = m.dtls.byComponent
	}
	for i := range next.byComponent {
		switch wanted := i == componentRTP || l.RTCPPort; {
		case !wanted:
			next.byComponent[i] = nil
		case next.byComponent[i] == nil:
			next.byComponent[i] = p.handshake(m, i, log.of(i))
		}
	}
	m.dtls = next
}

func (p *provision) handshake(m *media, component int, log logger) *handshake {
	c := p.call
	h := &handshake{path: &path{first: m.streams[component]}}
	for _, at := range m.places() {
		h.path.all = append(h.path.all, at.streams[component])
	}
	h.endpoint = secure.NewEndpoint(secure.EndpointConfig{
		Certificate: c.registry.cfg.Certificate,
		Sender:      h.path,
		Remote:      h.path.remote,
		Verified:    m.ice != nil,
		OnKeys:      func(k secure.Keys) { c.keysDerived(h, k, log) },
		OnFailed:    log.handshakeFailed,
		OnClosed:    func() { log.now().Info("DTLS association closed by the peer") },
		MTU:         c.registry.cfg.DTLSMTU,
		Logger:      c.registry.cfg.Pion,
	})
	p.undo = append(p.undo, h.endpoint.Close)
	return h
}

// sdes makes a key for each line that is offered and has none yet. Contexts in
// use stay.
func (p *provision) sdes(m *media, l *negotiate.Local) error {
	if len(l.SDES.Lines) == 0 {
		m.sdes = nil
		return nil
	}
	old := m.sdes
	m.sdes = &sdesKeys{}
	if old != nil {
		*m.sdes = *old
		m.sdes.lines = nil
	}
	for _, line := range l.SDES.Lines {
		key, err := sdesKeyFor(old, line, l.SDES.Chosen)
		if err != nil {
			return fmt.Errorf("%w: %w", ng.ReasonInternal, err)
		}
		key.UnencryptedSRTP, key.UnencryptedSRTCP = line.UnencryptedSRTP, line.UnencryptedSRTCP
		key.UnauthenticatedSRTP = line.UnauthenticatedSRTP
		m.sdes.lines = append(m.sdes.lines, sdesKey{tag: line.Tag, round: line.Round, key: key, given: line.Key != nil})
	}
	return nil
}

// sdesKeyFor returns the key of a line: the other party's if it is handed
// through, else the one that the line had before, else a new one.
func sdesKeyFor(old *sdesKeys, line negotiate.SDESLine, chosen int) (secure.Key, error) {
	suite, err := secure.ParseSuite(line.Suite)
	if err != nil {
		return secure.Key{}, err
	}
	if line.Key != nil {
		return secure.Key{Suite: suite, Master: line.Key, MKI: line.MKI}, nil
	}
	if key, known := old.key(line, suite); known {
		return key, nil
	}
	if line.Tag == chosen && old != nil && old.own.Suite == suite && !old.given {
		return old.own, nil // the same key under the number that a re-offer gave it
	}
	return secure.NewKey(suite)
}
