package forward

import (
	"context"
	"errors"
	"slices"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"go.uber.org/zap"
)

// exchange is the response context of RFC 3261 §16: one request received and all its forwarded copies. Everything on it
// runs in the order of its call, so it has no lock.
type exchange struct {
	f        *Forwarder
	r        *request.Request
	hash     string
	groups   [][]request.Target // not started yet
	branches []*branch

	redirects int  // followed so far
	answered  bool // a 2xx went upstream
	final     bool // a final response went upstream, or is not to be sent any more
	cancelled bool // by the caller
	declined  bool // a 6xx came: nobody else is tried
}

// startGroup starts the next targets; those that fail at once are branches with a final response.
func (x *exchange) startGroup(ctx context.Context) {
	if len(x.groups) == 0 {
		return
	}
	targets := x.groups[0]
	x.groups = x.groups[1:]
	x.startTargets(ctx, targets)
}

// startTargets starts a branch for each target.
func (x *exchange) startTargets(ctx context.Context, targets []request.Target) {
	for _, t := range targets {
		b := x.newBranch(t)
		x.branches = append(x.branches, b)
	}
	for _, b := range x.branches[len(x.branches)-len(targets):] {
		b.start(ctx)
	}
}

// settle sends the final response when all branches have ended without an answer, or starts the next targets.
func (x *exchange) settle(ctx context.Context) {
	for !x.final && !x.open() {
		x.failover()
		if len(x.groups) == 0 || x.cancelled || x.declined {
			x.groups = nil
			x.sendBest(ctx)
			break
		}
		x.startGroup(ctx)
	}
	x.report(ctx)
}

// failover drops the targets left when the last one's failure is no reason to try them.
func (x *exchange) failover() {
	if len(x.groups) == 0 || len(x.branches) == 0 {
		return
	}
	if b := x.branches[len(x.branches)-1]; b.Target.Failover != nil && !b.followed && !b.Target.Failover(b.code()) {
		x.groups = nil
	}
}

// open reports a branch without final response.
func (x *exchange) open() bool {
	return slices.ContainsFunc(x.branches, func(b *branch) bool { return !b.ended })
}

// report tells the observers of ended branches, after what goes upstream has gone.
func (x *exchange) report(ctx context.Context) {
	failed := !x.answered && !x.open() && len(x.groups) == 0
	for _, b := range x.branches {
		if !b.ended || b.reported {
			continue
		}
		b.reported = true
		o := request.Outcome{
			Code: b.code(), Cancelled: b.cancelling, Local: b.local, Last: failed && x.unreported() == 0, RetryAfter: retryAfter(b.final),
			Unreachable: b.unreachable(),
		}
		octx, cancel := context.WithTimeout(ctx, x.f.cfg.Observers)
		for _, obs := range x.r.Observers {
			obs.Finished(octx, x.r, &b.Branch, o)
		}
		cancel()
	}
}

func (x *exchange) unreported() int {
	n := 0
	for _, b := range x.branches {
		if !b.reported {
			n++
		}
	}
	return n
}

// cancel stops the request on behalf of its caller (RFC 3261 §16.10). The INVITE is answered by what the callees say.
func (x *exchange) cancel(ctx context.Context) {
	x.cancelled = true
	if x.final {
		for _, b := range x.branches { // the 2xx is on its way already
			if b.State == request.BranchAnswered && x.r.Dialogs != nil {
				x.r.Dialogs.Crossed(x.r, &b.Branch)
			}
		}
		return
	}
	x.r.Log.Info("cancelled by the caller")
	x.groups = nil
	x.cancelOthers(ctx, nil)
	x.settle(ctx)
}

// cancelOthers cancels all open branches but one.
func (x *exchange) cancelOthers(ctx context.Context, but *branch) {
	for _, b := range x.branches {
		if b != but && !b.ended {
			b.cancel(ctx)
		}
	}
}

// sendBest chooses and sends the final response (RFC 3261 §16.7 steps 6 to 9).
func (x *exchange) sendBest(ctx context.Context) {
	x.final = true
	best := x.best()
	if best == nil {
		return
	}
	if x.cancelled && (best.local || best.code() == sip.StatusRequestTerminated || best.code() >= 500 && best.code() < 600) {
		x.send(x.r.Response(sip.StatusRequestTerminated, "Request Terminated"))
		return
	}
	if best.local {
		if best.code() == sip.StatusRequestTimeout && x.r.Msg.Method != sip.INVITE {
			// RFC 4320 §4.1: the caller's own timer has run out as well; a late 408 only adds traffic.
			if tx, ok := x.r.Responder.(interface{ Abandon() }); ok {
				tx.Abandon()
			}
			return
		}
		code, reason, headers := failure(best.err)
		if coded := (*request.Error)(nil); code == sip.StatusServiceUnavailable &&
			!errors.As(best.err, &coded) && !errors.Is(best.err, transaction.ErrOverload) {
			code, reason = sip.StatusInternalServerError, "Next Hop Unreachable"
		}
		x.send(x.r.Response(code, reason, headers...))
		return
	}
	res := request.CloneResponse(best.final)
	if res.StatusCode == sip.StatusServiceUnavailable {
		// 503 would tell the caller to leave this proxy alone (step 6).
		res.StatusCode, res.Reason = sip.StatusInternalServerError, "Server Internal Error"
		res.RemoveHeader("Retry-After")
	}
	x.conceal(res)
	x.collectChallenges(best, res)
	x.observe(ctx, best, res)
	x.send(res)
}

// best picks a branch: 6xx first, then the lowest class; in 4xx those that let the caller try again (step 6).
func (x *exchange) best() *branch {
	var best *branch
	for _, b := range x.branches {
		if b.ended && !b.followed && b.code() >= 300 && (best == nil || rank(b) < rank(best)) {
			best = b
		}
	}
	return best
}

func rank(b *branch) int {
	code := b.code()
	class := code / 100
	if class == 6 {
		return 0
	}
	r := class * 100
	switch {
	case b.local:
		r += 60 // what a callee said is worth more than what was made up here
	case code == 401, code == 407, code == 415, code == 420, code == 484:
	case code == sip.StatusRequestTerminated, code == sip.StatusRequestTimeout:
		r += 50
	default:
		r += 10
	}
	return r
}

// collectChallenges adds the challenges of all other branches to a 401 or 407 (step 7).
func (x *exchange) collectChallenges(best *branch, res *sip.Response) {
	if res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired {
		return
	}
	for _, b := range x.branches {
		if b == best || b.local || (b.code() != sip.StatusUnauthorized && b.code() != sip.StatusProxyAuthRequired) {
			continue
		}
		for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
			sip.CopyHeaders(name, b.final, res)
		}
	}
}

// observe lets the observers change a response; false when one of them failed.
func (x *exchange) observe(ctx context.Context, b *branch, res *sip.Response) bool {
	octx, cancel := context.WithTimeout(ctx, x.f.cfg.Observers)
	defer cancel()
	ok := true
	for _, o := range x.r.Observers {
		if err := o.Incoming(octx, x.r, &b.Branch, res); err != nil {
			x.r.Log.Warn("observer failed on a response", zap.Int("code", res.StatusCode), zap.Error(err))
			ok = false
		}
	}
	return ok
}

func (x *exchange) send(res *sip.Response) error {
	if err := x.r.Send(res); err != nil {
		x.r.Log.Info("response not delivered", zap.Int("code", res.StatusCode), zap.Error(err))
		return err
	}
	return nil
}
