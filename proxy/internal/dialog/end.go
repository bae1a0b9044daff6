package dialog

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// End sends BYE to both sides of all confirmed dialogs of a call, on demand of an administrator. It reports false when
// there is none.
func (k *Keeper) End(callID string) bool {
	confirmed := func(d *Dialog) bool { return d.Confirmed && !d.closing }
	k.mu.Lock()
	found := slices.ContainsFunc(k.byCall[callID], confirmed)
	k.mu.Unlock()
	return found && k.post.Post(callID, func(ctx context.Context) {
		k.mu.Lock()
		all := slices.Clone(k.byCall[callID])
		all = slices.DeleteFunc(all, func(d *Dialog) bool { return !confirmed(d) })
		k.mu.Unlock()
		for _, d := range all {
			k.end(ctx, d, "proxy: on demand", true, true)
		}
	})
}

// end sends BYE to the sides wanted, as if it came from the other one. by is for the log.
func (k *Keeper) end(ctx context.Context, d *Dialog, by string, toA, toB bool) {
	k.mu.Lock()
	if d.closing {
		k.mu.Unlock()
		return
	}
	d.closing, d.ours, d.by = true, true, by
	acknowledge := d.unacked && toB
	k.mu.Unlock()
	if acknowledge { // or B repeats its 2xx, whatever BYE says
		k.send(ctx, k.make(d, sip.ACK, true))
	}
	k.hangUp(ctx, d, toA, toB || !toA)
}

// hangUp sends BYE to the sides wanted.
func (k *Keeper) hangUp(ctx context.Context, d *Dialog, toA, toB bool) {
	if toB {
		k.send(ctx, k.make(d, sip.BYE, true))
	}
	if toA {
		k.send(ctx, k.make(d, sip.BYE, false))
	}
}

// make builds a request within a dialog from A to B or the other way (RFC 3261 §12.2.1.1).
func (k *Keeper) make(d *Dialog, method sip.RequestMethod, fromA bool) *request.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	from, to := &d.A, &d.B
	if !fromA {
		from, to = to, from
	}
	var uri sip.Uri
	if err := request.ParseURI(to.Contact, &uri); err != nil {
		uri = sip.Uri{Scheme: "sip", Host: "invalid"} // a bound leg is reached all the same
	}
	msg := sip.NewRequest(method, uri)
	msg.AppendHeader(sip.NewHeader("From", from.Identity))
	msg.AppendHeader(sip.NewHeader("To", to.Identity))
	callID := sip.CallIDHeader(d.CallID)
	msg.AppendHeader(&callID)
	seq := d.cseq
	if method != sip.ACK {
		seq = from.next()
	}
	if method == sip.INVITE {
		if from.Contact != "" {
			msg.AppendHeader(sip.NewHeader("Contact", "<"+from.Contact+">"))
		}
		d.keepTimer(msg, fromA)
	}
	k.changed(d)
	msg.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	request.SetRoutes(msg, to.Routes)
	msg.SetBody(nil)
	var source netip.AddrPort
	if from.Conn != nil {
		source = from.Conn.Remote()
	}
	return &request.Request{
		Msg: msg, Original: msg, Source: source, Received: time.Now(), InDialog: true, Profile: from.Profile, Shared: k.shared(d),
		Pass:    passOf(d.seal),
		Targets: []request.Target{target(to, uri)}, Observers: []request.Observer{&within{Keeper: k, d: d, fromA: fromA}}, Responder: nobody{},
		Log: k.log.With(zap.String("call-id", d.CallID), zap.String("from-tag", from.Tag), zap.String("method", string(method))),
	}
}

// acknowledge builds the ACK of a 2xx to the INVITE with that number that was made here.
func (k *Keeper) acknowledge(d *Dialog, fromA bool, seq uint32) *request.Request {
	r := k.make(d, sip.ACK, fromA)
	r.Msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.ACK})
	return r
}

// shared reports another dialog of the same pass of the call that goes on; early ones do not outlive a confirmed one. The lock is held.
func (k *Keeper) shared(d *Dialog) bool {
	return slices.ContainsFunc(k.byCall[d.CallID], func(o *Dialog) bool {
		return o != d && !o.closing && passOf(o.seal) == passOf(d.seal) && (o.Confirmed || !d.Confirmed)
	})
}

// nobody is the responder of requests made here.
type nobody struct{}

func (nobody) Send(*sip.Response) error { return nil }

// target says how a leg is reached.
func target(leg *Leg, uri sip.Uri) request.Target {
	t := request.Target{URI: uri, Profile: leg.Profile, AoR: leg.AoR, Trunk: leg.Trunk}
	c := leg.Conn
	if c == nil {
		return t
	}
	switch {
	case c.Transport().WebSocket(), leg.Bound && c.Transport() == request.UDP:
		t.Conn = c
	case c.Transport() == request.UDP:
	case request.Alive(c), leg.Bound:
		t.Conn = c
	}
	t.Listener = c.Listener()
	return t
}
