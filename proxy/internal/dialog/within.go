package dialog

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// attach handles a request with a To tag: it gets its one target and an observer of its dialog.
func (k *Keeper) attach(r *request.Request, seal string) (request.Verdict, error) {
	callID, from, to := r.CallID(), r.FromTag(), r.ToTag()
	k.mu.Lock()
	defer k.mu.Unlock()
	d, fromA, exact := k.find(callID, from, to, seal)
	if !exact && seal != "" && !k.over(callID, from, to) {
		if restored, ofA := k.restore(r, seal); restored != nil {
			d, fromA = restored, ofA
		}
	}
	if d == nil {
		if r.Msg.Method == sip.ACK {
			return request.Done, nil // of a failure answered without state, or too late
		}
		return request.Done, request.Fail(sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil)
	}
	sender, peer, by := &d.A, &d.B, "caller"
	if !fromA {
		sender, peer, by = peer, sender, "callee"
	}
	if d.ours {
		return request.Done, errHungUp
	}
	if err := k.address(r, peer); err != nil {
		return request.Done, err
	}
	if err := d.pending(r); err != nil {
		return request.Done, err
	}
	if timed(r.Msg.Method) {
		if err := k.cfg.Load().Session.refuse(r.Original); err != nil {
			return request.Done, err
		}
	}
	if r.Msg.Method == sip.ACK && fromA {
		d.unacked = false
	}
	seq, _ := request.CSeq(r.Msg)
	if r.Msg.Method != sip.ACK {
		sender.CSeq = max(sender.CSeq, seq)
	}
	sender.renumber(r.Msg)
	if sender.Conn == nil || sender.Conn.Transport() == r.Conn.Transport() || !request.Alive(sender.Conn) {
		k.move(d, sender, r.Conn)
	}
	k.touch(d)
	k.changed(d)
	if r.Msg.Method == sip.BYE {
		d.closing, d.by = true, by // no BYE of our own on top
		r.Shared = k.shared(d)
	}
	r.Profile, r.Pass = sender.Profile, passOf(d.seal)
	r.Targets = []request.Target{target(peer, r.Msg.Recipient)}
	r.Observers = append(r.Observers, &within{Keeper: k, d: d, fromA: fromA})
	return request.Continue, nil
}

// errHungUp says that the proxy has ended the dialog by itself and waits for the answers to its BYE.
var errHungUp = errors.New("hung up by the proxy")

// hungUp answers a request within such a dialog: who hangs up as well is content, who acknowledges too.
func hungUp(r *request.Request) error {
	switch r.Msg.Method {
	case sip.ACK:
		return nil
	case sip.BYE:
		return r.Respond(sip.StatusOK, "OK")
	default:
		return request.Fail(sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil)
	}
}

// address mends a request URI that names the proxy itself without a Route left: the sender has lost its remote target,
// which the dialog knows. Without this the proxy would send to itself. The lock is held.
func (k *Keeper) address(r *request.Request, peer *Leg) error {
	if !k.ours(r.Msg.Recipient) || len(r.Msg.GetHeaders("Route")) > 0 {
		return nil
	}
	var uri sip.Uri
	if err := request.ParseURI(peer.Contact, &uri); err != nil || k.ours(uri) {
		return request.Fail(sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", err)
	}
	r.Log.Info("request URI is the proxy's own, remote target taken from the dialog")
	r.Msg.Recipient = uri
	return nil
}

// over reports that a dialog has ended lately: a seal must not bring it back. The lock is held.
func (k *Keeper) over(callID, from, to string) bool {
	_, forth := k.ended[key{callID, from, to}]
	_, back := k.ended[key{callID, to, from}]
	return forth || back
}

// within observes a request within a dialog.
type within struct {
	*Keeper
	d        *Dialog
	fromA    bool
	inviting bool
	inserted uint32 // requests sent again with credentials
}

// challenged counts what was sent again with credentials; the lock is held.
func (w *within) challenged(r *request.Request, b *request.Branch) {
	more := b.Inserted - w.inserted
	if more == 0 {
		return
	}
	w.inserted = b.Inserted
	sender := &w.d.A
	if !w.fromA {
		sender = &w.d.B
	}
	seq, _ := request.CSeq(r.Original)
	if r.Conn == nil { // made here, in the numbers of the other side
		seq = sender.CSeq + 1
	}
	sender.challenged(seq, more)
}

// Outgoing implements request.Observer: a re-INVITE is under way.
func (w *within) Outgoing(_ context.Context, r *request.Request, b *request.Branch) error {
	if timed(r.Msg.Method) && r.Conn != nil {
		w.cfg.Load().Session.ask(b.Msg)
	}
	if r.Msg.Method == sip.INVITE {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inviting, w.d.inviting = true, true
	}
	return nil
}

// Incoming implements request.Observer: it takes new remote targets from a re-INVITE or UPDATE that was accepted.
func (w *within) Incoming(_ context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	number(res, r.Original)
	w.mu.Lock()
	w.challenged(r, b)
	w.mu.Unlock()
	if !res.IsSuccess() || (r.Msg.Method != sip.INVITE && r.Msg.Method != sip.UPDATE) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	sender, peer := &w.d.A, w.peer()
	if !w.fromA {
		sender = &w.d.B
	}
	for leg, m := range map[*Leg]sip.Message{sender: r.Original, peer: res} {
		if c, err := request.Addresses(m, "Contact"); err == nil && len(c) > 0 {
			leg.Contact = c[0].URI.String()
		}
	}
	if r.Conn != nil { // one made here is no refresh: it comes from nobody who would notice that the other side is gone
		w.refreshed(w.d, r.Original, b.Msg, res, w.fromA)
	}
	w.touch(w.d)
	w.changed(w.d)
	return nil
}

// Finished implements request.Observer: the dialog ends with BYE.
func (w *within) Finished(_ context.Context, r *request.Request, b *request.Branch, o request.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.challenged(r, b)
	if w.inviting {
		w.inviting, w.d.inviting = false, false
	}
	switch {
	case r.Msg.Method == sip.INVITE && o.Code == sip.StatusCallTransactionDoesNotExists:
		// The sender will say BYE (RFC 3261 §12.2.1.2), by which the media end as well.
		w.d.expires, w.d.by = time.Now().Add(repetitions), "proxy: dialog unknown to the peer"
	case r.Msg.Method != sip.BYE:
	case !w.d.ours && (o.Code == sip.StatusUnauthorized || o.Code == sip.StatusProxyAuthRequired):
		w.d.closing = false // it will come again with credentials
	case !w.d.ours && o.Local && w.missed(w.d, w.peer()):
		w.d.expires = time.Now().Add(w.cfg.Load().Return)
		w.release(w.d.slot)
		w.d.slot = nil
	default:
		w.drop(w.d)
	}
}

// peer is the side that the request goes to.
func (w *within) peer() *Leg {
	if w.fromA {
		return &w.d.B
	}
	return &w.d.A
}
