package call

import (
	"net/netip"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/connect"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"go.uber.org/zap"
)

// settleKeys makes the contexts of the SDES keys that an answer has agreed
// between two parties. What fails is logged: the other medias are as well off
// without it. The sending contexts come last, since one whose key is handed
// through follows the context that receives under it.
func (c *Call) settleKeys(p, q *party) {
	for _, one := range []*party{p, q} {
		for i, m := range one.present.medias {
			if m.pair != nil {
				m.settleInbound(c.logger(one, i))
			}
		}
	}
	for _, pair := range [][2]*party{{p, q}, {q, p}} {
		for i, m := range pair[0].present.medias {
			if m.pair == nil {
				continue
			}
			var maker *secure.Inbound
			if others := pair[1].present.medias; i < len(others) && others[i].sdes != nil {
				maker = others[i].sdes.in
			}
			m.settleOutbound(maker, c.logger(pair[0], i))
		}
	}
}

// connect starts the agents and handshakes that an answer has agreed with a
// party, once its routes say where packets go.
func (c *Call) connect(p *party) {
	for i, m := range p.present.medias {
		if m.pair != nil {
			log := c.logger(p, i)
			m.settleICE(log)
			m.settleDTLS(log)
		}
	}
}

// settleICE tells the agents about the peer's session, after a restart if
// there was one (RFC 8445 §9).
func (m *media) settleICE(log logger) {
	remote := &m.side.Remote.ICE
	if m.ice == nil || remote.Ufrag == "" {
		return
	}
	for _, a := range m.ice.agents {
		if a == nil {
			continue
		}
		if a.generation != m.ice.generation {
			if err := a.Restart(m.ice.credentials); err != nil {
				log.now().Warn("ICE restart failed", zap.Error(err))
				continue
			}
			a.generation, a.given = m.ice.generation, make(map[string]bool)
			log.now().Info("ICE restarted")
		}
		err := a.Start(connect.Remote{
			Credentials: connect.Credentials{Ufrag: remote.Ufrag, Password: remote.Pwd},
			Candidates:  a.news(remote),
			Controlling: m.side.Local.ICE.Controlling,
		})
		if err != nil {
			log.now().Warn("ICE not started", zap.Error(err))
		}
	}
}

// maxGiven bounds the candidates remembered for one ICE session. The agent
// takes fewer.
const maxGiven = 256

// news returns the candidates that the agent has not been given yet.
func (a *iceAgent) news(remote *negotiate.RemoteICE) []string {
	var lines []string
	for _, c := range remote.Candidates {
		if line := c.String(); !a.given[line] && len(a.given) < maxGiven {
			a.given[line] = true
			lines = append(lines, line)
		}
	}
	return lines
}

// trickle gives the agents candidates that came after the SDP (RFC 8840).
func (m *media) trickle(remote *negotiate.RemoteICE) {
	if m.ice == nil {
		return
	}
	for _, a := range m.ice.agents {
		if a != nil && a.generation == m.ice.generation {
			a.AddCandidates(a.news(remote))
		}
	}
}

// settleDTLS tells the handshakes their roles, and starts them once the peer
// can be reached.
func (m *media) settleDTLS(log logger) {
	role := m.side.Local.DTLS.Role
	if m.dtls == nil || (role != negotiate.DTLSActive && role != negotiate.DTLSPassive) {
		return
	}
	var peer []secure.Fingerprint
	for _, f := range m.side.Remote.Fingerprints {
		peer = append(peer, secure.Fingerprint{Hash: strings.ToLower(f.Hash), Value: f.Value})
	}
	ours := secure.Passive
	if role == negotiate.DTLSActive {
		ours = secure.Active
	}
	for component, h := range m.dtls.byComponent {
		if h == nil {
			continue
		}
		err := h.agree(ours, peer)
		if err == nil {
			err = m.reach(component, h)
		}
		if err != nil {
			log.now().Warn("DTLS not started", zap.Error(err))
		}
	}
}

// reach tells the handshake when its peer can be reached: at once, or when ICE
// has selected a pair.
func (m *media) reach(component int, h *handshake) error {
	if m.ice == nil || m.ice.agents[component] == nil {
		return h.reach()
	}
	a := m.ice.agents[component]
	a.handshake.Store(h)
	if a.Selected() != (netip.AddrPort{}) {
		return h.reach()
	}
	return nil
}

// settleInbound makes the context for the key of the peer. That of an unchanged
// key goes on, with its rollover counters and replay lists (RFC 3711 §3.3).
func (m *media) settleInbound(log logger) {
	if m.sdes == nil || m.side.Security() != negotiate.SecuritySDES {
		return
	}
	theirs, ok := m.side.InboundCrypto()
	switch {
	case !ok:
		m.sdes.in = nil
	case m.sdes.in == nil || !sameCrypto(theirs, m.sdes.peer):
		key, err := keyOf(theirs)
		if err == nil {
			m.sdes.in, err = secure.NewInbound(key)
		}
		if err != nil {
			m.sdes.in = nil
			log.now().Warn("SDES key of the peer not usable", zap.String("suite", theirs.Suite), zap.Error(err))
		}
		m.sdes.peer = theirs
	}
}

// settleOutbound makes the context for our key. That of an unchanged key goes
// on. maker is what receives from the other party: if the key is that party's,
// handed through, its packets go on as they have come.
func (m *media) settleOutbound(maker *secure.Inbound, log logger) {
	if m.sdes == nil || m.side.Security() != negotiate.SecuritySDES {
		return
	}
	own, ok := m.sdes.chosen(m.side.Local.SDES.Chosen)
	if !ok {
		m.sdes.out = nil
		return
	}
	before := m.sdes.out
	if before != nil && !sameKey(own.key, m.sdes.own) {
		before = nil
	}
	through := own.given && maker != nil && maker.Shares(own.key)
	var err error
	switch {
	case through && (before == nil || !before.Follows(maker)):
		m.sdes.out, err = maker.HandThrough(own.key, before)
	case !through && before == nil:
		m.sdes.out, err = secure.NewOutbound(own.key)
	}
	if err != nil {
		m.sdes.out = nil
		log.now().Warn("SDES key not usable", zap.Stringer("suite", own.key.Suite), zap.Error(err))
	}
	m.sdes.own, m.sdes.given = own.key, own.given
}

func keyOf(c negotiate.Crypto) (secure.Key, error) {
	suite, err := secure.ParseSuite(c.Suite)
	return secure.Key{
		Suite: suite, Master: c.Key, MKI: c.MKI,
		UnencryptedSRTP: c.UnencryptedSRTP, UnencryptedSRTCP: c.UnencryptedSRTCP,
		UnauthenticatedSRTP: c.UnauthenticatedSRTP,
	}, err
}

// keysDerived takes over the keys of a finished handshake. It runs on the
// endpoint's goroutine.
func (c *Call) keysDerived(h *handshake, k secure.Keys, log logger) {
	in, err := secure.NewInbound(k.In)
	if err != nil {
		log.handshakeFailed(err)
		return
	}
	out, err := secure.NewOutbound(k.Out)
	if err != nil {
		log.handshakeFailed(err)
		return
	}
	if c.adoptKeys(h, in, out, k) {
		c.registry.cfg.Engine.CatchUp(h.path.all...)
		log.now().Info("DTLS-SRTP established", zap.Stringer("suite", k.In.Suite))
	}
}

// adoptKeys puts the keys of a handshake in force; false if the call has ended.
func (c *Call) adoptKeys(h *handshake, in *secure.Inbound, out *secure.Outbound, k secure.Keys) bool {
	c = c.lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	h.in, h.out, h.suite = in, out, k.In.Suite.String()
	c.compile()
	return true
}

// reopen lets the streams of a party learn its address again; only signalling
// may do so.
func (p *party) reopen(now time.Time) {
	for _, m := range p.all() {
		if m.pair == nil {
			continue
		}
		for _, s := range m.streams {
			s.Reopen(now)
		}
	}
}

// handshakeFailed tells of an association that will have no keys.
func (l logger) handshakeFailed(err error) {
	l.now().Warn("DTLS handshake failed", zap.Error(err))
}
