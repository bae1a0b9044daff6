package forward

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"go.uber.org/zap"
)

// Response implements transaction.Events.
func (b *branch) Response(ctx context.Context, received *sip.Response) {
	if b.ended && !received.IsSuccess() {
		return
	}
	res := request.CloneResponse(received)
	res.RemoveHeader("Via") // ours
	b.renumber(res)
	invite := b.base.Method == sip.INVITE
	switch {
	case res.IsProvisional():
		b.provisional(ctx, res)
	case res.IsSuccess() && invite:
		b.answer(ctx, res)
	case b.x.final:
		b.end(res)
		b.x.settle(ctx)
	case res.IsSuccess():
		b.end(res)
		b.State = request.BranchAnswered
		b.x.answered, b.x.final = true, true
		b.x.groups = nil
		b.x.observe(ctx, b, res)
		_ = b.x.send(res)
		b.x.settle(ctx)
	case b.late && res.StatusCode == sip.StatusRequestTerminated:
		b.fail(transaction.ErrTimeout)
		b.x.settle(ctx)
	case b.answerChallenge(ctx, res):
		b.x.settle(ctx)
	case res.StatusCode == sip.StatusServiceUnavailable && b.again(ctx):
		b.send(ctx)
		b.x.settle(ctx)
	default:
		b.end(res)
		b.State = request.BranchFailed
		b.redirected(ctx, res)
		if res.StatusCode >= 600 {
			b.x.declined = true
			b.x.cancelOthers(ctx, b)
		}
		b.x.settle(ctx)
	}
}

// provisional handles 1xx (RFC 3261 §16.7 steps 2 to 5).
func (b *branch) provisional(ctx context.Context, res *sip.Response) {
	if b.State == request.BranchCalling {
		b.State = request.BranchProceeding
	}
	if b.silence != nil {
		b.silence.Stop()
	}
	if b.cancelling && !b.cancelSent {
		b.sendCancel()
	}
	if res.StatusCode == sip.StatusTrying {
		return
	}
	if b.base.Method == sip.INVITE && !b.cancelSent {
		b.restartTimerC()
	}
	if b.x.final {
		return
	}
	if b.x.observe(ctx, b, res) {
		_ = b.x.send(res)
	}
}

// answer handles each 2xx to INVITE: the first, its retransmissions, and those of other forks (RFC 6026 §7.2). All go
// upstream, also when the caller has cancelled meanwhile.
func (b *branch) answer(ctx context.Context, res *sip.Response) {
	x := b.x
	first := !b.ended || b.final == nil || !b.final.IsSuccess()
	b.end(res)
	b.State = request.BranchAnswered
	x.groups = nil
	x.observe(ctx, b, res)
	undelivered := x.send(res) != nil
	if !x.final || !undelivered {
		x.answered = true
	}
	x.final = true
	switch {
	case x.r.Dialogs == nil:
	case undelivered:
		x.r.Dialogs.Orphaned(ctx, x.r, &b.Branch, res)
	case x.cancelled:
		x.r.Dialogs.Crossed(x.r, &b.Branch)
	}
	if first {
		x.cancelOthers(ctx, b)
	}
	x.settle(ctx)
}

// Failed implements transaction.Events.
func (b *branch) Failed(ctx context.Context, err error) {
	if b.ended {
		return
	}
	b.x.r.Log.Info("branch failed", zap.String("branch", b.ID), zap.Stringer("hop", b.Conn.Remote()), zap.Error(err))
	// Another hop makes sense as long as the caller still waits: after Timer F he does not.
	if (b.base.Method == sip.INVITE || !errors.Is(err, transaction.ErrTimeout)) && b.again(ctx) {
		b.send(ctx)
	} else {
		b.fail(err)
	}
	b.x.settle(ctx)
}

// end stops the branch's timers; for a final response that was received.
func (b *branch) end(res *sip.Response) {
	b.stopTimers()
	b.ended = true
	b.local, b.err = false, nil
	b.final = res
}

// fail ends the branch with a response made here.
func (b *branch) fail(err error) {
	b.stopTimers()
	b.ended, b.local, b.err = true, true, err
	b.State = request.BranchFailed
}

func (b *branch) stopTimers() {
	for _, t := range []*time.Timer{b.timer, b.limit, b.silence} {
		if t != nil {
			t.Stop()
		}
	}
}

// restartTimerC (re)starts Timer C.
func (b *branch) restartTimerC() {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.timer = b.after(b.x.f.cfg.TimerC, b.expired)
}

// expired is Timer C or the target's own limit: CANCEL after a provisional response, else as if 408 had come (§16.8).
func (b *branch) expired(ctx context.Context) {
	if b.ended || b.cancelSent {
		return
	}
	b.x.r.Log.Info("no answer in time", zap.String("branch", b.ID))
	if b.State == request.BranchCalling {
		b.giveUp(ctx, transaction.ErrTimeout)
		return
	}
	b.late = true
	b.cancel(ctx)
}

// cancel wants the branch ended. CANCEL must wait for a provisional response (RFC 3261 §9.1).
func (b *branch) cancel(ctx context.Context) {
	if b.ended || b.cancelling || b.base == nil || b.base.Method != sip.INVITE {
		return
	}
	b.cancelling = true
	if b.tx == nil {
		b.fail(request.Fail(sip.StatusRequestTerminated, "Request Terminated", nil))
		return
	}
	if b.State == request.BranchProceeding {
		b.sendCancel()
	}
}

// sendCancel sends CANCEL by the connection of the INVITE and limits the wait for its final response.
func (b *branch) sendCancel() {
	b.cancelSent = true
	b.stopTimers()
	b.timer = b.after(b.x.f.layer.Timers().Timeout(), func(ctx context.Context) {
		b.giveUp(ctx, request.Fail(sip.StatusRequestTerminated, "Request Terminated", transaction.ErrTimeout))
	})
	if _, err := b.x.f.layer.Begin(transaction.NewCancel(b.Msg), b.Conn, ignored{}); err != nil {
		b.x.r.Log.Info("CANCEL not sent", zap.String("branch", b.ID), zap.Error(err))
	}
}

// giveUp ends a branch whose callee says nothing more.
func (b *branch) giveUp(ctx context.Context, err error) {
	if b.ended {
		return
	}
	if b.tx != nil {
		b.tx.Abandon()
	}
	b.fail(err)
	b.x.settle(ctx)
}

// ignored is the owner of CANCEL transactions: their responses say nothing about the INVITE.
type ignored struct{}

func (ignored) Response(context.Context, *sip.Response) {}
func (ignored) Failed(context.Context, error)           {}
