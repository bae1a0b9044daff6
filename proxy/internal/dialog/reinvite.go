package dialog

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// pendingRetry is how many seconds a side should wait after 491 with its next offer, if it does not know better (RFC 3261 §14.1).
const pendingRetry = "1"

// Reinvite sends a re-INVITE with sdp to party to, in the name of party from. done gets the status of the final response
// and the time of its Retry-After, after that response has been acknowledged; it runs in the order of the call. Reinvite
// must be called in that order, too. It returns request.ErrBusy while another offer or the call's setup is under way, and
// request.ErrNoDialog when there is no such call any more; then done is not called.
func (k *Keeper) Reinvite(ctx context.Context, callID string, pass int, from, to, sdp string, done func(ctx context.Context, code int, after time.Duration)) error {
	k.mu.Lock()
	d, fromA := k.between(callID, pass, from, to)
	switch {
	case d == nil, d.closing:
		k.mu.Unlock()
		return request.ErrNoDialog
	case !d.Confirmed, d.unacked, d.inviting, d.asking:
		k.mu.Unlock()
		return request.ErrBusy
	}
	d.asking = true
	k.mu.Unlock()
	r := k.make(d, sip.INVITE, fromA)
	contentType := sip.ContentTypeHeader("application/sdp")
	r.Msg.AppendHeader(&contentType)
	r.Msg.SetBody([]byte(sdp))
	seq, _ := request.CSeq(r.Msg)
	r.Responder = &asker{k: k, within: r.Observers[0].(*within), d: d, fromA: fromA, seq: seq, done: done}
	k.send(ctx, r)
	return nil
}

// between finds the dialog of two parties; the lock is held.
func (k *Keeper) between(callID string, pass int, from, to string) (d *Dialog, fromA bool) {
	for _, o := range k.byCall[callID] {
		if forth := o.A.Tag == from && o.B.Tag == to; passOf(o.seal) == pass && (forth || o.A.Tag == to && o.B.Tag == from) {
			d, fromA = o, forth
		}
	}
	return d, fromA
}

// Inform sends INFO with a body to party to, in the name of party from. It must be called in the order of the call; its
// response says nothing.
func (k *Keeper) Inform(ctx context.Context, callID string, pass int, from, to, contentType, body string) error {
	k.mu.Lock()
	d, fromA := k.between(callID, pass, from, to)
	gone := d == nil || d.closing || !d.Confirmed
	k.mu.Unlock()
	if gone {
		return request.ErrNoDialog
	}
	r := k.make(d, sip.INFO, fromA)
	kind := sip.ContentTypeHeader(contentType)
	r.Msg.AppendHeader(&kind)
	r.Msg.SetBody([]byte(body))
	k.send(ctx, r)
	return nil
}

// asker takes the responses to a re-INVITE made here.
type asker struct {
	k      *Keeper
	d      *Dialog
	fromA  bool
	seq    uint32
	within *within // knows how often it was sent again with credentials
	over   bool
	done   func(ctx context.Context, code int, after time.Duration)
}

// Send implements request.Responder. It acknowledges each 2xx, repetitions too (RFC 3261 §13.2.2.4).
func (a *asker) Send(res *sip.Response) error {
	if res.IsProvisional() {
		return nil
	}
	first := !a.over
	a.over = true
	a.k.post.Post(a.d.CallID, func(ctx context.Context) {
		if res.IsSuccess() {
			a.k.send(ctx, a.k.acknowledge(a.d, a.fromA, a.seq+a.within.inserted))
		}
		if !first {
			return
		}
		a.k.mu.Lock()
		a.d.asking = false
		a.k.mu.Unlock()
		a.k.log.Debug("re-INVITE answered", zap.String("call-id", a.d.CallID), zap.Int("code", res.StatusCode))
		a.done(ctx, res.StatusCode, after(res))
	})
	return nil
}

// after is the time of Retry-After (RFC 3261 §20.33), at most 10 s, which is what it may be within a dialog (§14.2).
func after(res *sip.Response) time.Duration {
	value, _, _ := strings.Cut(strings.TrimSpace(request.Header(res, "Retry-After")), ";")
	value, _, _ = strings.Cut(value, "(")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 10)) * time.Second
}

// pending refuses an offer of a side while one of ours is under way; the lock is held.
func (d *Dialog) pending(r *request.Request) error {
	if !d.asking || r.Msg.Method != sip.INVITE && (r.Msg.Method != sip.UPDATE || len(r.Msg.Body()) == 0) {
		return nil
	}
	e := request.Fail(sip.StatusRequestPending, "Request Pending", nil)
	e.Headers = []sip.Header{sip.NewHeader("Retry-After", pendingRetry)}
	return e
}
