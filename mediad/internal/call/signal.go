package call

import (
	"fmt"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
	"go.uber.org/zap"
)

// Offer executes the command offer: it makes or changes the call and returns
// the body for the receiver. The error wraps an ng.Reason; the call is then as
// it was before, and a new one is not there.
func (r *Registry) Offer(req *ng.Request) (string, error) {
	switch {
	case req.CallID == "":
		return "", ng.ReasonNoCallID
	case req.FromTag == "":
		return "", ng.ReasonNoFromTag
	case req.SDP == "":
		return "", ng.ReasonNoSDP
	}
	c, fresh, err := r.findOrMake(req.CallID)
	if err != nil {
		return "", err
	}
	now := time.Now()
	var body string
	var rest leftovers
	d, err := c.offerDialogue(req, now)
	if err == nil {
		body, rest, err = c.exchange(req, d, now)
	}
	// An untouched or failed first offer leaves nothing to keep a call for.
	empty := fresh && len(c.parties) == 0
	c.ended = c.ended || empty
	c.mu.Unlock()
	rest.close(r)
	if empty {
		r.forget(c)
	} else if fresh {
		r.totals.managed.Add(1)
	}
	return body, err
}

// Answer executes the command answer and returns the body for the offerer. The
// error wraps an ng.Reason; the call is then as it was before.
func (r *Registry) Answer(req *ng.Request) (string, error) {
	switch {
	case req.CallID == "":
		return "", ng.ReasonNoCallID
	case req.FromTag == "":
		return "", ng.ReasonNoFromTag
	case req.ToTag == "":
		return "", ng.ReasonNoToTag
	case req.SDP == "":
		return "", ng.ReasonNoSDP
	}
	c := r.find(req.CallID)
	if c == nil {
		return "", ng.ReasonUnknownCallID
	}
	now := time.Now()
	var body string
	var rest leftovers
	d, err := c.answerDialogue(req, now)
	if err == nil {
		body, rest, err = c.exchange(req, d, now)
	}
	c.mu.Unlock()
	rest.close(r)
	return body, err
}

// exchange passes a body from one party to the other: the steps that offer and
// answer have in common. What it returns beside the body is to be closed once
// the lock is free.
func (c *Call) exchange(req *ng.Request, d dialogue, now time.Time) (string, leftovers, error) {
	if c.crowded(d) {
		return "", leftovers{}, fmt.Errorf("%w: too many parties", ng.ReasonInvalidAssociation)
	}
	plan, err := negotiate.NewPlan(req, d.from.snapshot, d.to.snapshot, c.registry.cfg.Negotiate)
	switch {
	case err != nil:
		return "", leftovers{}, err
	case plan.Untouched:
		return req.SDP, leftovers{}, nil
	case plan.Fragment:
		c.trickle(d.from, plan)
		return "", leftovers{}, nil
	}
	need := &provision{call: c, offer: req.Command == ng.CommandOffer, reset: req.Flags.Has(ng.FlagReset), tos: req.TOS}
	body, medias, err := need.execute(d, plan)
	if err != nil {
		need.rollback()
		return "", leftovers{}, err
	}
	old := append(append([]*media{}, d.from.medias...), d.to.medias...)
	d.from.snapshot, d.to.snapshot = plan.From, plan.To
	d.from.medias, d.to.medias = medias[0], medias[1]
	c.adopt(d, req)
	c.commit(req, d, now)
	return body, unused(old, c.parties), nil
}

// execute provides for both parties, then writes the body for the receiver.
func (p *provision) execute(d dialogue, plan *negotiate.Plan) (string, [2][]*media, error) {
	var medias [2][]*media
	var err error
	if medias[0], err = p.party(d.from, plan.From.Sides); err != nil {
		return "", medias, err
	}
	if medias[1], err = p.party(d.to, plan.To.Sides); err != nil {
		return "", medias, err
	}
	locals, err := p.locals(medias[1], plan.To.Sides)
	if err != nil {
		return "", medias, err
	}
	body, err := plan.Rewrite(locals)
	return body, medias, err
}

// locals tells negotiate what has become of its demands.
func (p *provision) locals(medias []*media, sides []negotiate.Side) ([]negotiate.LocalMedia, error) {
	out := make([]negotiate.LocalMedia, len(medias))
	for i, m := range medias {
		l := &sides[i].Local
		if !l.Active || m.pair == nil {
			continue
		}
		out[i] = negotiate.LocalMedia{
			Address:  m.pair.Address.Public(),
			RTPPort:  m.streams[componentRTP].LocalAddr().Port(),
			RTCPPort: m.streams[componentRTCP].LocalAddr().Port(),
		}
		if m.ice != nil {
			out[i].ICEUfrag, out[i].ICEPwd = m.ice.credentials.Ufrag, m.ice.credentials.Password
		}
		if l.DTLS.Role != negotiate.DTLSNone {
			f, err := p.fingerprint(l.DTLS.Hash)
			if err != nil {
				return nil, err
			}
			out[i].Fingerprint = f
		}
		if m.sdes != nil {
			for _, line := range m.sdes.lines {
				out[i].Keys = append(out[i].Keys, line.key.Master)
			}
		}
	}
	return out, nil
}

func (p *provision) fingerprint(hash string) (sdp.Fingerprint, error) {
	f, err := p.call.registry.cfg.Certificate.Fingerprint(hash)
	if err != nil {
		return sdp.Fingerprint{}, fmt.Errorf("%w: %w", ng.ReasonInternal, err)
	}
	return sdp.Fingerprint{Hash: f.Hash, Value: f.Value}, nil
}

// commit puts in force what the exchange has agreed. It cannot fail.
func (c *Call) commit(req *ng.Request, d dialogue, now time.Time) {
	c.lastSignal, c.quietAt = now, time.Time{}
	if req.Metadata != "" {
		c.metadata = req.Metadata
	}
	if req.Command == ng.CommandAnswer {
		c.settle(d.from)
		c.settle(d.to)
	}
	for _, p := range c.parties {
		c.compileRoutes(p)
	}
	d.from.reopen(now)
	d.to.reopen(now)
	c.log.Info(string(req.Command),
		zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag), zap.Int("medias", len(d.from.medias)))
}

// trickle takes over the candidates of a fragment.
func (c *Call) trickle(p *party, plan *negotiate.Plan) {
	p.snapshot = plan.From
	for i, m := range p.medias {
		if i < len(plan.From.Sides) {
			m.trickle(&plan.From.Sides[i].Remote.ICE)
		}
	}
	c.log.Debug("candidates", zap.String("tag", p.tag))
}

// leftovers are what nothing of a call refers to any more.
type leftovers struct {
	medias     []*media // whose ports go
	agents     []*iceAgent
	handshakes []*handshake
}

// unused returns what the old medias hold and the parties do not.
func unused(old []*media, parties []*party) leftovers {
	agents, handshakes, held := map[*iceAgent]bool{}, map[*handshake]bool{}, map[any]bool{}
	for _, p := range parties {
		for _, m := range p.medias {
			m.visit(func(a *iceAgent) { agents[a] = true }, func(h *handshake) { handshakes[h] = true })
			if m.pair != nil {
				held[m.pair] = true
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
		if m.pair != nil && !held[m.pair] {
			held[m.pair] = true
			l.medias = append(l.medias, m)
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
	for _, association := range []*association{m.dtls, m.pending} {
		if association == nil {
			continue
		}
		for _, h := range association.byComponent {
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
	for _, m := range l.medias {
		for _, s := range m.streams {
			r.cfg.Engine.Detach(s)
			r.totals.add(s.Statistics())
		}
		m.pair.Release()
	}
}
