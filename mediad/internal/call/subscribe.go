package call

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
	"go.uber.org/zap"
)

// SubscribeRequest executes the command subscribe request: it makes an offer to
// somebody who is to get a copy of what some parties say. The error wraps an
// ng.Reason.
func (r *Registry) SubscribeRequest(req *ng.Request) (*ng.SubscribeReply, error) {
	c, err := r.lookup(req)
	if err != nil {
		return nil, err
	}
	reply, rest, err := c.requestSubscription(req)
	rest.close(r)
	return reply, err
}

// requestSubscription is called with the lock held and frees it. The leftovers
// are to be closed after that.
func (c *Call) requestSubscription(req *ng.Request) (*ng.SubscribeReply, leftovers, error) {
	defer c.mu.Unlock()
	sources, err := c.sources(req)
	if err != nil {
		return nil, leftovers{}, err
	}
	now := time.Now()
	name := req.ToTag
	if name == "" {
		name = newTag()
	}
	listener := c.partyByTag(name)
	if listener == nil {
		if len(c.parties) >= maxParties {
			return nil, leftovers{}, fmt.Errorf("%w: too many parties", ng.ReasonSubscribe)
		}
		listener = newParty(name, now)
	} else if listener.peer != nil || slices.Contains(sources, listener) {
		return nil, leftovers{}, fmt.Errorf("%w: %q takes part in the call itself", ng.ReasonSubscribe, name)
	}
	labels := c.labels()
	given := make([]negotiate.Copied, len(sources))
	for n, p := range sources {
		given[n] = negotiate.Copied{Party: p.present.snapshot, Body: p.said, Answer: p.saidAnswer}
		if req.Flags.Has(ng.FlagSIPREC) {
			given[n].Labels = labels[p]
		}
	}
	t := listener.forOffer()
	plan, lines, err := negotiate.NewSubscription(req, given, listener.source, t.snapshot, now.Unix(), *c.registry.negotiate.Load())
	if err != nil {
		return nil, leftovers{}, err
	}
	old, places := listener.all(), listener.current()
	t.medias = listener.restored(t.medias)
	body, err := c.provide(req, listener, &t, plan)
	if err != nil {
		return nil, leftovers{}, err
	}
	c.add(listener)
	listener.source = plan.From
	listener.put(t, false)
	c.keepSpares(listener, places)
	for n, p := range sources {
		index := make([]int, len(lines))
		for i, line := range lines {
			if index[i] = -1; line.Source == n {
				index[i] = line.Media
			}
		}
		subscribe(listener, p, index)
		if req.Flags.Has(ng.FlagMirrorRTCP) {
			listener.subscriptionTo(p).mirror()
		}
	}
	c.touch(listener, now)
	c.compile()
	listener.reopen(now)
	reply := &ng.SubscribeReply{SDP: body, ToTag: name}
	for _, p := range sources {
		reply.FromTags = append(reply.FromTags, p.tag)
		if req.Flags.Has(ng.FlagSIPREC) {
			reply.TagMedias = append(reply.TagMedias, p.tagMedias(labels[p]))
		}
	}
	c.log.Info(string(req.Command), zap.Strings("from-tags", reply.FromTags), zap.String("to-tag", name))
	return reply, unused(old, c.parties), nil
}

// newTag is a tag that nobody can guess.
func newTag() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// touch notes that the party has taken part in an exchange now.
func (c *Call) touch(p *party, now time.Time) {
	c.turns++
	p.turn = c.turns
	p.deleteAt, c.deleteAt = time.Time{}, time.Time{}
	c.lastSignal, c.quietAt = now, time.Time{}
}

// sources finds the parties that a subscription is to copy: all, the one that is
// named, else those of "from-tags".
func (c *Call) sources(req *ng.Request) ([]*party, error) {
	p, err := c.participant(req)
	if err != nil {
		return nil, err
	}
	var out []*party
	switch {
	case req.Flags.Has(ng.FlagAll), strings.EqualFold(req.Participants.All, "all"):
		for _, q := range c.parties {
			if q.tag != req.ToTag {
				out = append(out, q)
			}
		}
	case p != nil:
		out = append(out, p)
	default:
		for _, tag := range req.Participants.FromTags {
			if q := c.partyByTag(tag); q != nil && !slices.Contains(out, q) {
				out = append(out, q)
			}
		}
	}
	if out = slices.DeleteFunc(out, func(p *party) bool { return p.said == "" }); len(out) == 0 {
		return nil, ng.ReasonNoMonologues
	}
	return out, nil
}

// labels numbers the medias of those who take part in the call, the same way at
// every subscription. rtpengine counts the media of the later party first.
func (c *Call) labels() map[*party][]string {
	labels, next := make(map[*party][]string), 0
	for i := 0; ; i++ {
		found := false
		for _, p := range slices.Backward(c.parties) {
			if i < len(p.present.snapshot.Sides) && p.said != "" && !p.listens() {
				labels[p] = append(labels[p], strconv.Itoa(next))
				next++
				found = true
			}
		}
		if !found {
			return labels
		}
	}
}

// listens reports whether the party is there for a subscription only.
func (p *party) listens() bool {
	return p.peer == nil && p.source.Sides != nil && len(p.subscriptions) > 0
}

// tagMedias lists the medias of a party for a recorder.
func (p *party) tagMedias(labels []string) ng.TagMedias {
	t := ng.TagMedias{Tag: p.tag, Label: p.label}
	for i := range p.present.snapshot.Sides {
		side := &p.present.snapshot.Sides[i]
		m := ng.LabelledMedia{Index: i + 1, Type: side.Remote.Type, Mode: mode(&side.Remote)}
		if i < len(labels) {
			m.Label = labels[i]
		}
		t.Medias = append(t.Medias, m)
	}
	return t
}

func mode(r *negotiate.Remote) string {
	if r.Rejected {
		return sdp.Inactive.String()
	}
	return r.Direction.String()
}

// provide gets what the plan asks for its receiver alone, changes the receiver's
// terms and writes its body.
func (c *Call) provide(req *ng.Request, p *party, t *terms, plan *negotiate.Plan) (string, error) {
	need := &provision{call: c, tos: req.TOS}
	defer need.rollback()
	medias, err := need.party(p, t.medias, plan.To.Sides)
	if err == nil {
		err = need.attach()
	}
	var locals []negotiate.LocalMedia
	if err == nil {
		locals, err = need.locals(medias, plan.To.Sides)
	}
	var body string
	if err == nil {
		body, err = plan.Rewrite(locals)
	}
	if err != nil {
		return "", err
	}
	need.keep()
	t.snapshot, t.medias = plan.To, medias
	for i, m := range medias {
		m.side = &t.snapshot.Sides[i]
	}
	return body, nil
}

// SubscribeAnswer executes the command subscribe answer: the copies begin. The
// error wraps an ng.Reason.
func (r *Registry) SubscribeAnswer(req *ng.Request) error {
	c, err := r.lookup(req)
	switch {
	case err != nil:
		return err
	case !req.HasToTag():
		c.mu.Unlock()
		return ng.ReasonNoToTag
	case !req.HasSDP():
		c.mu.Unlock()
		return ng.ReasonNoSDP
	}
	rest, err := c.answerOffered(req, req.ToTag)
	rest.close(r)
	return err
}

// answerOffered takes the answer of a party to an offer that no other party has
// made. It is called with the lock held and frees it. The leftovers are to be
// closed after that.
func (c *Call) answerOffered(req *ng.Request, tag string) (leftovers, error) {
	defer c.mu.Unlock()
	listener := c.partyByTag(tag)
	if listener == nil || listener.source.Sides == nil {
		return leftovers{}, ng.ReasonToTagNotFound
	}
	now := time.Now()
	answer := *req
	answer.Command = ng.CommandAnswer
	t := listener.latest()
	plan, err := negotiate.NewPlan(&answer, t.snapshot, listener.source, *c.registry.negotiate.Load())
	switch {
	case err != nil:
		return leftovers{}, err
	case plan.Untouched, plan.Fragment:
		return leftovers{}, nil
	}
	need := &provision{call: c, tos: req.TOS}
	defer need.rollback()
	medias, err := need.party(listener, t.medias, plan.From.Sides)
	if err == nil {
		err = need.attach()
	}
	if err != nil {
		return leftovers{}, err
	}
	need.keep()
	old, places := listener.all(), listener.current()
	t.snapshot, t.medias = plan.From, medias
	for i, m := range medias {
		m.side = &t.snapshot.Sides[i]
	}
	listener.said = req.SDP
	c.begin(listener, t, now)
	c.keepSpares(listener, places)
	c.log.Info(string(req.Command), zap.String("tag", tag))
	return unused(old, c.parties), nil
}

// begin puts the answered terms of a party in force that has no peer.
func (c *Call) begin(p *party, t terms, now time.Time) {
	p.put(t, true)
	p.answered, c.answered = true, true
	for _, s := range p.subscriptions {
		s.fit()
	}
	c.touch(p, now)
	c.settleKeys(p, &party{})
	c.compile()
	c.connect(p)
	p.reopen(now)
}

// Unsubscribe executes the command unsubscribe: the subscriber hears nothing any
// more, and what it alone has is given back. The error is an ng.Reason.
func (r *Registry) Unsubscribe(req *ng.Request) error {
	c, err := r.lookup(req)
	if err != nil {
		return err
	}
	if !req.HasToTag() {
		c.mu.Unlock()
		return ng.ReasonNoToTag
	}
	rest := c.unsubscribe(req)
	c.mu.Unlock()
	rest.close(r)
	return nil
}

func (c *Call) unsubscribe(req *ng.Request) leftovers {
	listener := c.partyByTag(req.ToTag)
	if listener == nil {
		return leftovers{}
	}
	for _, s := range slices.Clone(listener.subscriptions) {
		one := req.Flags.Has(ng.FlagDirectional) && req.FromTag != ""
		if s.published && (!one || s.source.tag == req.FromTag) {
			s.end()
		}
	}
	c.log.Info(string(req.Command), zap.String("to-tag", req.ToTag))
	var gone []*media
	if len(listener.subscriptions)+len(listener.subscribers) == 0 && listener.peer == nil {
		gone = listener.all()
		c.parties = slices.DeleteFunc(c.parties, func(p *party) bool { return p == listener })
	}
	c.compile()
	return unused(gone, c.parties)
}

// Publish executes the command publish: a party sends media before anybody hears
// it. It returns the answer to its body. The error wraps an ng.Reason.
func (r *Registry) Publish(req *ng.Request) (string, error) {
	if err := complete(req, false); err != nil {
		return "", err
	}
	c, fresh, err := r.findOrMake(req.CallID)
	if err != nil {
		return "", err
	}
	body, rest, err := c.publish(req)
	rest.close(r)
	r.settle(c, fresh)
	return body, err
}

// publish is called with the lock held and frees it. The leftovers are to be
// closed after that.
func (c *Call) publish(req *ng.Request) (string, leftovers, error) {
	defer c.mu.Unlock()
	now := time.Now()
	p := c.partyByTag(req.FromTag)
	if p == nil {
		if len(c.parties) >= maxParties {
			return "", leftovers{}, fmt.Errorf("%w: too many parties", ng.ReasonSDPCreate)
		}
		p = newParty(req.FromTag, now)
	}
	t := p.latest()
	plan, err := negotiate.NewPublication(req, t.snapshot, now.Unix(), *c.registry.negotiate.Load())
	if err != nil {
		return "", leftovers{}, err
	}
	old := p.all()
	body, err := c.provide(req, p, &t, plan)
	if err != nil {
		return "", leftovers{}, err
	}
	c.add(p)
	p.said = req.SDP
	if req.Label != "" {
		p.label = req.Label
	}
	c.begin(p, t, now)
	c.log.Info(string(req.Command), zap.String("from-tag", req.FromTag))
	return body, unused(old, c.parties), nil
}
