package call

import (
	"fmt"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// Create executes the command create: an offer to a party that nobody has
// called. Its call and tag get names if the request gives none. The error wraps
// an ng.Reason.
func (r *Registry) Create(req *ng.Request) (*ng.CreateReply, error) {
	named := *req
	if named.CallID == "" {
		named.CallID = newTag()
	}
	if named.FromTag == "" {
		named.FromTag = newTag()
	}
	c, fresh, err := r.findOrMake(named.CallID)
	if err != nil {
		return nil, err
	}
	body, rest, err := c.create(&named)
	rest.close(r)
	r.settle(c, fresh)
	if err != nil {
		return nil, err
	}
	return &ng.CreateReply{SDP: body, CallID: named.CallID, FromTag: named.FromTag}, nil
}

// create is called with the lock held and frees it. The leftovers are to be
// closed after that.
func (c *Call) create(req *ng.Request) (string, leftovers, error) {
	defer c.mu.Unlock()
	now := time.Now()
	p := c.partyByTag(req.FromTag)
	switch {
	case p != nil && p.peer != nil:
		return "", leftovers{}, fmt.Errorf("%w: %q is in a dialogue", ng.ReasonSDPCreate, req.FromTag)
	case p == nil && len(c.parties) >= maxParties:
		return "", leftovers{}, fmt.Errorf("%w: too many parties", ng.ReasonSDPCreate)
	case p == nil:
		p = newParty(req.FromTag, now)
	}
	t := p.forOffer()
	plan, err := negotiate.NewCreation(req, t.snapshot, now.Unix(), *c.registry.negotiate.Load())
	if err != nil {
		return "", leftovers{}, err
	}
	old := p.all()
	body, err := c.provide(req, p, &t, plan)
	if err != nil {
		return "", leftovers{}, err
	}
	c.add(p)
	p.source = plan.From
	p.put(t, false)
	c.touch(p, now)
	c.compile()
	p.reopen(now)
	c.log.Info(string(req.Command), zap.String("from-tag", req.FromTag))
	return body, unused(old, c.parties), nil
}

// CreateAnswer executes the command create answer. The error wraps an ng.Reason.
func (r *Registry) CreateAnswer(req *ng.Request) error {
	if err := complete(req, false); err != nil {
		return err
	}
	c := r.find(req.CallID)
	if c == nil {
		return ng.ReasonUnknownCall
	}
	rest, err := c.answerOffered(req, req.FromTag)
	rest.close(r)
	return err
}
