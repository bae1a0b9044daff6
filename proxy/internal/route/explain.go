package route

import (
	"context"
	"errors"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Explanation tells where a request would go and why.
type Explanation struct {
	Rules   []Considered     // in the order they were looked at
	Why     string           // of the decision, in words
	Targets []request.Target // none if it is answered here
	Code    int              // of that answer
	Reason  string
}

// Considered is a rule and why it was not taken; "" if it was.
type Considered struct {
	Name   string
	Index  int // in the configuration, from 0
	Reason string
}

// Explain decides about a request as Handle does, and says why. The request must have gone through the steps before
// (User or Trunk set); it is not changed. The order of a trunk's targets with equal priority is drawn anew each time.
func (s *Step) Explain(ctx context.Context, r *request.Request) Explanation {
	var e Explanation
	asked := *r
	answer := &answered{}
	asked.Targets, asked.Responder = nil, answer
	_, err := s.decide(ctx, &asked, &e)
	e.Targets = asked.Targets
	var coded *request.Error
	switch {
	case errors.As(err, &coded):
		e.Code, e.Reason = coded.Code, coded.Reason
		if e.Why == "" && coded.Cause != nil {
			e.Why = coded.Cause.Error()
		}
	case err != nil:
		e.Code, e.Reason, e.Why = 500, "Server Internal Error", err.Error()
	case answer.res != nil:
		e.Code, e.Reason = answer.res.StatusCode, answer.res.Reason
	}
	return e
}

// answered keeps a response instead of sending it.
type answered struct{ res *sip.Response }

// Send implements request.Responder.
func (a *answered) Send(res *sip.Response) error {
	a.res = res
	return nil
}

// considered and because do nothing for a nil explanation: nobody asks.
func (e *Explanation) considered(name string, index int, reason string) {
	if e != nil {
		e.Rules = append(e.Rules, Considered{Name: name, Index: index, Reason: reason})
	}
}

func (e *Explanation) because(why string) {
	if e != nil {
		e.Why = why
	}
}
