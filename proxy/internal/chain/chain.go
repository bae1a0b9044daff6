// Package chain is the ordered list of steps that every request walks.
package chain

import (
	"context"
	"errors"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Steps are the stages; all but Screen, Dialog and Forward may be nil.
type Steps struct {
	Screen, Reveal, Dialog, Auth, Registrar, Trunks, Route, Bridge, Hide, Forward request.Step
	// Refused is told of each request that a step refuses, with the status; may be nil.
	Refused func(r *request.Request, code int)
}

// Chain runs requests through the steps. It implements transaction.User.
type Chain struct {
	within, register, outside, resume []request.Step
	refused                           func(*request.Request, int)
}

// New compiles the order:
//
//	every request:        screen
//	within a dialog:        → reveal → dialog → trunks → bridge → hide → forward
//	REGISTER:               → dialog → auth → registrar
//	anything else:          → reveal → dialog → auth → trunks → route → bridge → hide → forward
func New(s Steps) *Chain {
	return &Chain{
		within:   list(s.Screen, s.Reveal, s.Dialog, s.Trunks, s.Bridge, s.Hide, s.Forward),
		refused:  s.Refused,
		register: list(s.Screen, s.Dialog, s.Auth, s.Registrar),
		outside:  list(s.Screen, s.Reveal, s.Dialog, s.Auth, s.Trunks, s.Route, s.Bridge, s.Hide, s.Forward),
		resume:   list(s.Bridge, s.Hide, s.Forward),
	}
}

func list(steps ...request.Step) []request.Step {
	var out []request.Step
	for _, s := range steps {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// Request implements transaction.User.
func (c *Chain) Request(ctx context.Context, r *request.Request) {
	switch {
	case r.InDialog:
		c.run(ctx, r, c.within)
	case r.Msg.Method == sip.REGISTER:
		c.run(ctx, r, c.register)
	case r.Msg.Method == sip.ACK:
		// Without a To tag it can only belong to a failure that was answered without state.
		r.Log.Debug("stray ACK dropped")
	default:
		c.run(ctx, r, c.outside)
	}
}

// Resume runs a request the proxy made itself, with its target set, through the steps behind routing.
func (c *Chain) Resume(ctx context.Context, r *request.Request) { c.run(ctx, r, c.resume) }

func (c *Chain) run(ctx context.Context, r *request.Request, steps []request.Step) {
	for _, s := range steps {
		verdict, err := s.Handle(ctx, r)
		if err != nil {
			c.fail(r, err)
			return
		}
		if verdict == request.Done {
			return
		}
	}
	// The last step of each list answers or forwards; only a REGISTER without registrar comes here.
	c.fail(r, request.Fail(sip.StatusMethodNotAllowed, "Method Not Allowed", nil))
}

// fail answers with the status an error carries, 500 without one. ACK is never answered.
func (c *Chain) fail(r *request.Request, err error) {
	var coded *request.Error
	if !errors.As(err, &coded) {
		coded = request.Fail(sip.StatusInternalServerError, "Server Internal Error", err)
	}
	log := r.Log.Info
	if coded.Code >= 500 {
		log = r.Log.Warn
	}
	log("request refused", zap.Int("code", coded.Code), zap.Stringer("source", r.Source), zap.Error(err))
	if r.Msg.Method == sip.ACK {
		return
	}
	if c.refused != nil {
		c.refused(r, coded.Code)
	}
	if sendErr := r.Respond(coded.Code, coded.Reason, coded.Headers...); sendErr != nil {
		r.Log.Debug("response not sent", zap.Error(sendErr))
	}
}
