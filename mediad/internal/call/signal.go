package call

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
	"go.uber.org/zap"
)

// Offer executes the command offer: it makes or changes the call and returns
// the body for the receiver. The error wraps an ng.Reason; the call is then as
// it was before, and a new one is not there.
func (r *Registry) Offer(req *ng.Request) (string, error) {
	if err := complete(req, false); err != nil {
		return "", err
	}
	if req.Flags.Has(ng.FlagFragment) && r.postpone(req) {
		return "", nil
	}
	c, fresh, err := r.findOrMake(req.CallID)
	if err != nil {
		return "", err
	}
	body, rest, err := c.signal(req)
	rest.close(r)
	r.settle(c, fresh)
	if err == nil && !req.Flags.Has(ng.FlagFragment) {
		r.catchUp(req.CallID, req.FromTag)
	}
	return body, err
}

// settle decides about a call after a command that may have made it.
func (r *Registry) settle(c *Call, fresh bool) {
	switch {
	case !fresh:
	case c.dismiss():
		r.forget(c)
	default:
		r.totals.managed.Add(1)
	}
}

// Answer executes the command answer and returns the body for the offerer. The
// error wraps an ng.Reason; the call is then as it was before.
func (r *Registry) Answer(req *ng.Request) (string, error) {
	if err := complete(req, true); err != nil {
		return "", err
	}
	c := r.find(req.CallID)
	if c == nil {
		// A broken body is told first, as rtpengine does.
		if err := negotiate.CheckBody(req.SDP); err != nil {
			return "", err
		}
		return "", ng.ReasonUnknownCallID
	}
	body, rest, err := c.signal(req)
	rest.close(r)
	if err == nil && !req.Flags.Has(ng.FlagFragment) {
		r.catchUp(req.CallID, req.ToTag)
	}
	return body, err
}

// complete reports which of the keys that an exchange needs is missing, in
// rtpengine's order. An empty one is there.
func complete(req *ng.Request, answer bool) error {
	switch {
	case !req.HasSDP():
		return ng.ReasonNoSDP
	case !req.HasCallID():
		return ng.ReasonNoCallID
	case !req.HasFromTag():
		return ng.ReasonNoFromTag
	case answer && !req.HasToTag():
		return ng.ReasonNoToTag
	}
	return nil
}

// dismiss ends a call that has come to nothing: its first offer has failed or
// was to be left alone.
func (c *Call) dismiss() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.parties) > 0 {
		return false
	}
	c.ended = true
	return true
}

// signal passes a body from one party to the other: what offer and answer have
// in common. It is called with the lock held and frees it, also if it panics.
// The leftovers are to be closed after that.
func (c *Call) signal(req *ng.Request) (string, leftovers, error) {
	defer c.mu.Unlock()
	now := time.Now()
	planned := req
	var d dialogue
	if req.Command == ng.CommandAnswer {
		var fresh bool
		var err error
		if d, fresh, err = c.answerDialogue(req, now); err != nil {
			return "", leftovers{}, err
		}
		if fresh || req.Flags.Has(ng.FlagReset) {
			as := *req
			as.Flags.Clear(ng.FlagReset) // too late to start over
			if fresh {
				as.Command = ng.CommandOffer // nothing was offered, so there is nothing to compare with
			}
			planned = &as
		}
	} else {
		d = c.offerDialogue(req, now)
	}
	if c.crowded(d) {
		return "", leftovers{}, fmt.Errorf("%w: too many parties", ng.ReasonInvalidAssociation)
	}
	from, to := d.from.forOffer(), d.to.forOffer()
	if planned.Command == ng.CommandAnswer || req.Flags.Has(ng.FlagFragment) {
		from, to = d.from.latest(), d.to.latest()
	}
	plan, err := negotiate.NewPlan(planned, from.snapshot, to.snapshot, *c.registry.negotiate.Load())
	switch {
	case err != nil:
		return "", leftovers{}, err
	case plan.Untouched:
		return req.SDP, leftovers{}, nil
	case req.Flags.Has(ng.FlagSIPSourceAddress) && !req.ReceivedFrom.IsValid():
		return "", leftovers{}, fmt.Errorf("%w: no source address given", ng.ReasonSDPIncomplete)
	case plan.Fragment:
		c.trickle(d.from, plan)
		return "", leftovers{}, nil
	}
	if planned.Flags.Has(ng.FlagReset) {
		from.medias, to.medias = restart(from.medias), restart(to.medias)
	}
	c.warnOfInterfaces(req)
	if len(req.Codec.Transcode) > 0 {
		c.log.Warn("no transcoding: the parties have to share a codec", zap.Strings("transcode", req.Codec.Transcode))
	}
	if planned.Command == ng.CommandOffer {
		from.medias = d.from.restored(from.medias)
	}
	if !req.Flags.Has(ng.FlagPortLatching) {
		to.medias = c.place(d.to, to.medias, plan, planned.Command == ng.CommandOffer)
	}
	need := &provision{call: c, tos: req.TOS}
	defer need.rollback()
	body, err := need.execute(d, &from, &to, plan)
	if err != nil {
		return "", leftovers{}, err
	}
	need.keep()
	old := append(slices.Clone(d.from.all()), d.to.all()...)
	ofFrom, ofTo := d.from.current(), d.to.current()
	c.commit(req, d, from, to, now)
	c.keepSpares(d.from, ofFrom)
	c.keepSpares(d.to, ofTo)
	return body, unused(old, c.parties), nil
}

// warnOfInterfaces says so if a direction names interfaces that are not there:
// the default one takes their place, which is rarely what was meant.
func (c *Call) warnOfInterfaces(req *ng.Request) {
	for _, name := range req.Direction {
		if _, ok := c.registry.cfg.Ports.Resolve(name); !ok {
			c.log.Warn("no such interface, default taken", zap.String("interface", name))
		}
	}
}

// execute provides for both parties, changes their terms to what is planned
// and writes the body for the receiver.
func (p *provision) execute(d dialogue, from, to *terms, plan *negotiate.Plan) (string, error) {
	fromMedias, err := p.party(d.from, from.medias, plan.From.Sides)
	if err != nil {
		return "", err
	}
	toMedias, err := p.party(d.to, to.medias, plan.To.Sides)
	if err != nil {
		return "", err
	}
	if err := p.attach(); err != nil {
		return "", err
	}
	locals, err := p.locals(toMedias, plan.To.Sides)
	if err != nil {
		return "", err
	}
	body, err := plan.Rewrite(locals)
	if err != nil {
		return "", err
	}
	from.snapshot, from.medias = plan.From, fromMedias
	to.snapshot, to.medias = plan.To, toMedias
	face(to.medias, plan)
	for _, t := range []*terms{from, to} {
		for i, m := range t.medias {
			m.side = &t.snapshot.Sides[i]
		}
	}
	return body, nil
}

// locals tells negotiate what has become of its demands.
func (p *provision) locals(medias []*media, sides []negotiate.Side) ([]negotiate.LocalMedia, error) {
	out := make([]negotiate.LocalMedia, len(medias))
	for i, m := range medias {
		l := &sides[i].Local
		if !l.Active || m.pair == nil {
			out[i].Address = p.address(l)
			continue
		}
		out[i] = negotiate.LocalMedia{
			Address:  m.pair.Address.Public(),
			RTPPort:  m.streams[componentRTP].LocalAddr().Port(),
			RTCPPort: m.streams[componentRTCP].LocalAddr().Port(),
		}
		for _, at := range m.further {
			out[i].Further = append(out[i].Further, negotiate.LocalPlace{
				Address:  at.pair.Address.Public(),
				RTPPort:  at.streams[componentRTP].LocalAddr().Port(),
				RTCPPort: at.streams[componentRTCP].LocalAddr().Port(),
			})
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

// address is the one that a side without ports would have.
func (p *provision) address(l *negotiate.Local) netip.Addr {
	family := familyOf(l.Family)
	for _, a := range p.call.registry.cfg.Ports.Addresses(l.Interface) {
		if family == ports.AnyFamily || family == ports.FamilyOf(a.Local) {
			return a.Public()
		}
	}
	return netip.Addr{}
}

func (p *provision) fingerprint(hash string) (sdp.Fingerprint, error) {
	f, err := p.call.registry.cfg.Certificate.Fingerprint(hash)
	if err != nil {
		return sdp.Fingerprint{}, fmt.Errorf("%w: %w", ng.ReasonInternal, err)
	}
	return sdp.Fingerprint{Hash: f.Hash, Value: f.Value}, nil
}

// commit puts in force what the exchange has agreed. It cannot fail.
func (c *Call) commit(req *ng.Request, d dialogue, from, to terms, now time.Time) {
	answered := req.Command == ng.CommandAnswer
	d.from.put(from, answered)
	d.to.put(to, answered)
	c.adopt(d, req)
	c.lastSignal, c.quietAt = now, time.Time{}
	if req.Metadata != "" {
		c.metadata = req.Metadata
	}
	c.operated.note(req)
	c.generate(req)
	// Keys go into the routes; agents and handshakes need them in place.
	if answered {
		c.settleKeys(d.from, d.to)
	}
	c.compile()
	if answered {
		c.connect(d.from)
		c.connect(d.to)
	}
	d.from.reopen(now)
	d.to.reopen(now)
	if line := c.log.Check(zap.InfoLevel, string(req.Command)); line != nil {
		line.Write(zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag), zap.Int("medias", len(from.medias)))
	}
}

// trickle takes over the candidates of a fragment.
func (c *Call) trickle(p *party, plan *negotiate.Plan) {
	t := &p.present
	if p.open != nil {
		t = p.open
	}
	t.snapshot = plan.From // made from that of t
	for i, m := range t.medias {
		m.side.Remote.ICE = t.snapshot.Sides[i].Remote.ICE
		m.trickle(&m.side.Remote.ICE)
	}
	c.log.Debug("candidates", zap.String("tag", p.tag))
}
