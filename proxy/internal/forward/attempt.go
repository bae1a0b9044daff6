package forward

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"go.uber.org/zap"
)

// challenged bounds how often a copy is sent again with credentials: remembered ones may be stale, and a peer may ask
// by 401 and by 407.
const challenged = 3

// attempt is one client transaction of a branch. It stays its events' owner when the branch has gone on to another address:
// what rings there late must be cancelled.
type attempt struct {
	*transaction.Client
	b          *branch
	msg        *sip.Request
	conn       request.Connection
	superseded bool
	cancelled  bool
}

// begin starts a transaction with the branch's message and connection.
func (b *branch) begin() error {
	a := &attempt{b: b, msg: b.Msg, conn: b.Conn}
	tx, err := b.x.f.layer.Begin(a.msg, a.conn, a)
	if err != nil {
		return err
	}
	a.Client, b.tx = tx, a
	if b.Msg.Method == sip.INVITE {
		b.restartTimerC()
	}
	if b.silence != nil {
		b.silence.Stop()
	}
	if b.Target.Silence > 0 && b.State == request.BranchCalling {
		b.silence = b.after(b.Target.Silence, func(ctx context.Context) { b.silent(ctx, a) })
	}
	return nil
}

// Response implements transaction.Events.
func (a *attempt) Response(ctx context.Context, res *sip.Response) {
	if !a.superseded {
		a.b.Response(ctx, res)
		return
	}
	if res.IsProvisional() && a.msg.Method == sip.INVITE && !a.cancelled {
		a.cancelled = true
		if _, err := a.b.x.f.layer.Begin(transaction.NewCancel(a.msg), a.conn, ignored{}); err != nil {
			a.b.x.r.Log.Info("CANCEL not sent", zap.String("branch", a.b.ID), zap.Error(err))
		}
	}
}

// Failed implements transaction.Events.
func (a *attempt) Failed(ctx context.Context, err error) {
	if !a.superseded {
		a.b.Failed(ctx, err)
	}
}

// silent is Target.Silence: nothing was heard of an address, so the next one is tried.
func (b *branch) silent(ctx context.Context, a *attempt) {
	if b.ended || b.tx != a || b.State != request.BranchCalling || b.cancelling {
		return
	}
	a.superseded = true
	b.Failed(ctx, transaction.ErrTimeout)
}

// authorize adds credentials that the target's trunk will ask for.
func (b *branch) authorize() {
	if c := b.x.f.cfg.Challenges; c != nil && b.Target.Trunk != "" {
		c.Authorize(b.Target.Trunk, b.base)
	}
}

// answerChallenge sends the request again with credentials (RFC 3261 §22.2): a request of its own with the next CSeq
// (§8.1.3.5). What can not be answered although the proxy has credentials is no business of the caller's: 502.
func (b *branch) answerChallenge(ctx context.Context, res *sip.Response) bool {
	c := b.x.f.cfg.Challenges
	if c == nil || b.Target.Trunk == "" ||
		(res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired) {
		return false
	}
	ok, err := c.Answer(b.Target.Trunk, b.base, res)
	if err == nil && !ok {
		return false
	}
	if b.cancelling { // nobody wants an answer, and the caller has nothing to do with the question
		b.fail(request.Fail(sip.StatusRequestTerminated, "Request Terminated", nil))
		return true
	}
	if err != nil || b.Inserted >= challenged {
		b.x.r.Log.Warn("trunk refuses credentials", zap.String("trunk", b.Target.Trunk), zap.Int("code", res.StatusCode), zap.Error(err))
		b.fail(request.Fail(sip.StatusBadGateway, "Trunk Refuses Credentials", err))
		return true
	}
	b.Inserted++
	seq, method := request.CSeq(b.base)
	b.base.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq + 1, MethodName: method})
	b.State = request.BranchCalling
	b.try++
	b.send(ctx)
	return true
}

// renumber gives a response the CSeq that its request was received with.
func (b *branch) renumber(res *sip.Response) {
	if b.Inserted == 0 {
		return
	}
	if seq, method := request.CSeq(res); seq > b.Inserted {
		res.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq - b.Inserted, MethodName: method})
	}
}

// unreachable reports that the branch has failed by the network, not by what an observer or the callee says.
func (b *branch) unreachable() bool {
	var coded *request.Error
	return b.local && !b.cancelling && b.err != nil && !errors.As(b.err, &coded) && !errors.Is(b.err, transaction.ErrOverload)
}

// retryAfter is the time of a 503's Retry-After; 0 when it has none.
func retryAfter(res *sip.Response) time.Duration {
	if res == nil || res.StatusCode != sip.StatusServiceUnavailable {
		return 0
	}
	value := strings.FieldsFunc(request.Header(res, "Retry-After"), func(r rune) bool { return r == ' ' || r == '(' || r == ';' })
	if len(value) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(value[0], 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
