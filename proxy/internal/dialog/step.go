package dialog

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Handle implements request.Step. It removes the proxy's own Route entries, gives in-dialog requests their one target,
// and attaches itself to requests that form dialogs. An in-dialog request that belongs to nothing is answered 481.
func (k *Keeper) Handle(_ context.Context, r *request.Request) (request.Verdict, error) {
	seal, err := k.unroute(r)
	if err != nil {
		return request.Done, request.Fail(sip.StatusBadRequest, "Malformed Route", err)
	}
	if r.InDialog {
		verdict, err := k.within(r, seal)
		if errors.Is(err, errHungUp) {
			return request.Done, hungUp(r)
		}
		return verdict, err
	}
	switch r.Msg.Method {
	case sip.INVITE:
		if k.full() {
			return request.Done, request.Fail(sip.StatusServiceUnavailable, "Too Many Calls", nil)
		}
		r.Dialogs = k
		r.Observers = append(r.Observers, k)
	case sip.SUBSCRIBE, sip.REFER, sip.NOTIFY:
		r.Dialogs = k
	}
	return request.Continue, nil
}

// unroute does the route preprocessing of RFC 3261 §16.4 and returns the sealed parameter, if one was there. Routes of
// others in a request outside of dialogs would lead around the dial plan and are removed.
func (k *Keeper) unroute(r *request.Request) (seal string, err error) {
	routes, err := request.Routes(r.Msg)
	if err != nil {
		return "", err
	}
	values := make([]string, 0, len(routes))
	for _, a := range routes {
		values = append(values, a.Raw)
	}
	changed := false
	if _, lr := request.Param(r.Msg.Recipient.UriParams, "lr"); lr && len(routes) > 0 && k.ours(r.Msg.Recipient) {
		// A strict router has put our entry into the request URI and the real one last.
		seal, _ = request.Param(r.Msg.Recipient.UriParams, request.SealParam)
		last := len(routes) - 1
		r.Msg.Recipient = *routes[last].URI.Clone()
		routes, values, changed = routes[:last], values[:last], true
	}
	// Two entries of ours stand together where transport or listener change.
	for n := 0; n < 2 && len(routes) > 0 && k.ours(routes[0].URI); n++ {
		if s, ok := request.Param(routes[0].URI.UriParams, request.SealParam); ok {
			seal = s
		}
		routes, values, changed = routes[1:], values[1:], true
	}
	if !r.InDialog && len(values) > 0 {
		r.Log.Info("foreign Route removed", zap.String("route", values[0]))
		values, changed = nil, true
	}
	if changed {
		request.SetRoutes(r.Msg, values)
	}
	return seal, nil
}

func (k *Keeper) ours(uri sip.Uri) bool {
	return (uri.Scheme == "sip" || uri.Scheme == "sips") && k.own.Owns(uri.Host, uri.Port)
}

// within handles a request with a To tag.
func (k *Keeper) within(r *request.Request, seal string) (request.Verdict, error) {
	callID, from, to := r.CallID(), r.FromTag(), r.ToTag()
	k.mu.Lock()
	defer k.mu.Unlock()
	d, fromA := k.find(callID, from, to)
	if d == nil && seal != "" && !k.over(callID, from, to) {
		d, fromA = k.restore(r, seal)
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
	if r.Msg.Method == sip.ACK && fromA {
		d.unacked = false
	}
	seq, _ := request.CSeq(r.Msg)
	if r.Msg.Method != sip.ACK {
		sender.CSeq = max(sender.CSeq, seq)
	}
	if sender.Conn == nil || sender.Conn.Transport() == r.Conn.Transport() || !request.Alive(sender.Conn) {
		k.move(d, sender, r.Conn)
	}
	k.touch(d)
	if r.Msg.Method == sip.BYE {
		d.closing, d.by = true, by // no BYE of our own on top
	}
	r.Profile = sender.Profile
	r.Targets = []request.Target{target(peer, r.Msg.Recipient)}
	r.Observers = append(r.Observers, k)
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

// full reports that no more calls are taken.
func (k *Keeper) full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.dialogs) >= k.cfg.Calls
}

// over reports that a dialog has ended lately: a seal must not bring it back. The lock is held.
func (k *Keeper) over(callID, from, to string) bool {
	_, forth := k.ended[key{callID, from, to}]
	_, back := k.ended[key{callID, to, from}]
	return forth || back
}

// Outgoing implements request.Observer.
func (k *Keeper) Outgoing(context.Context, *request.Request, *request.Branch) error { return nil }

// Incoming implements request.Observer: responses make dialogs, confirm them and refresh their targets.
func (k *Keeper) Incoming(_ context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	tag := request.ToTag(res)
	if tag == "" || res.StatusCode >= 300 {
		return nil
	}
	switch r.Msg.Method {
	case sip.INVITE, sip.UPDATE:
	default:
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.InDialog {
		k.refresh(r, res)
		return nil
	}
	d := k.dialogs[key{r.CallID(), r.FromTag(), tag}]
	if d == nil {
		if _, over := k.ended[key{r.CallID(), r.FromTag(), tag}]; over {
			return nil
		}
		d = k.form(r, b, tag)
		if !k.enter(d) {
			return nil
		}
	}
	d.B.Identity = request.Header(res, "To")
	if c, err := request.Addresses(res, "Contact"); err == nil && len(c) > 0 {
		d.B.Contact = c[0].URI.String()
		d.B.Bound = d.B.Bound || hidden(c[0].URI, b.Conn)
	}
	d.B.Routes = k.routesOf(res, true)
	if res.IsSuccess() && !d.Confirmed {
		d.Confirmed, d.unacked = true, r.Msg.Method == sip.INVITE
		k.log.Info("call set up", zap.String("call-id", d.CallID), zap.String("from-tag", d.A.Tag), zap.String("to-tag", tag),
			zap.String("from-profile", d.A.Profile), zap.String("to-profile", d.B.Profile),
			zap.Duration("after", time.Since(d.since).Round(time.Millisecond)))
		d.since = time.Now()
	}
	k.touch(d)
	return nil
}

// form makes a dialog of an INVITE and its branch; the lock is held.
func (k *Keeper) form(r *request.Request, b *request.Branch, tag string) *Dialog {
	seq, _ := request.CSeq(r.Msg)
	d := &Dialog{
		CallID: r.CallID(), branch: b.ID, cseq: seq, since: r.Received,
		A: Leg{Tag: r.FromTag(), Identity: request.Header(r.Original, "From"), Profile: r.Profile, Conn: r.Conn, CSeq: seq},
		B: Leg{Tag: tag, Profile: b.Target.Profile, AoR: b.Target.AoR, Conn: b.Conn, Bound: b.Target.Conn != nil},
	}
	if c, err := request.Addresses(r.Original, "Contact"); err == nil && len(c) > 0 {
		d.A.Contact = c[0].URI.String()
		d.A.Bound = hidden(c[0].URI, r.Conn)
	}
	d.A.Routes = k.routesOf(r.Original, false)
	return d
}

// routesOf is the route set from here towards the sender of a message: the Record-Route entries between him and us,
// nearest to us first. In a request they stand as received; in a response ours and those of the other side follow below.
func (k *Keeper) routesOf(m sip.Message, response bool) []string {
	entries, err := request.Addresses(m, "Record-Route")
	if err != nil {
		return nil
	}
	var out []string
	if !response {
		for _, a := range entries {
			out = append(out, a.Raw)
		}
		return out
	}
	for _, a := range entries {
		if k.ours(a.URI) {
			break
		}
		out = append([]string{a.Raw}, out...)
	}
	return out
}

// hidden reports a Contact that does not name where its messages come from: NAT, or a browser's made-up host.
func hidden(contact sip.Uri, conn request.Connection) bool {
	if conn == nil {
		return false
	}
	host := strings.ToLower(strings.Trim(contact.Host, "[]"))
	if conn.Transport().WebSocket() || strings.HasSuffix(host, ".invalid") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap() != conn.Remote().Addr().WithZone("")
}

// refresh takes new remote targets from a re-INVITE or UPDATE that was accepted; the lock is held.
func (k *Keeper) refresh(r *request.Request, res *sip.Response) {
	d, fromA := k.find(r.CallID(), r.FromTag(), r.ToTag())
	if d == nil || !res.IsSuccess() {
		return
	}
	sender, peer := &d.A, &d.B
	if !fromA {
		sender, peer = peer, sender
	}
	for leg, m := range map[*Leg]sip.Message{sender: r.Original, peer: res} {
		if c, err := request.Addresses(m, "Contact"); err == nil && len(c) > 0 {
			leg.Contact = c[0].URI.String()
		}
	}
	k.touch(d)
}

// Finished implements request.Observer: dialogs end with BYE, early ones with their branch.
func (k *Keeper) Finished(_ context.Context, r *request.Request, b *request.Branch, o request.Outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case r.InDialog && r.Msg.Method == sip.BYE:
		d, _ := k.find(r.CallID(), r.FromTag(), r.ToTag())
		if d == nil {
			return
		}
		if !d.ours && (o.Code == sip.StatusUnauthorized || o.Code == sip.StatusProxyAuthRequired) {
			d.closing = false // it will come again with credentials
			return
		}
		k.drop(d)
	case r.InDialog && r.Msg.Method == sip.INVITE && o.Code == sip.StatusCallTransactionDoesNotExists:
		// The sender will say BYE (RFC 3261 §12.2.1.2), by which the media end as well.
		if d, _ := k.find(r.CallID(), r.FromTag(), r.ToTag()); d != nil {
			d.expires, d.by = time.Now().Add(repetitions), "proxy: dialog unknown to the peer"
		}
	case !r.InDialog && !o.Answered():
		for _, d := range slices.Clone(k.byCall[r.CallID()]) {
			if !d.Confirmed && d.branch == b.ID {
				k.drop(d)
			}
		}
	}
}

// Orphaned implements request.Dialogs: the callee has answered, but nobody is there to hear it (RFC 3261 §16.7; the
// proxy acts for the caller).
func (k *Keeper) Orphaned(ctx context.Context, r *request.Request, _ *request.Branch, res *sip.Response) {
	k.mu.Lock()
	d := k.dialogs[key{r.CallID(), r.FromTag(), request.ToTag(res)}]
	k.mu.Unlock()
	if d == nil || !d.unacked {
		return
	}
	k.end(ctx, d, "proxy: answer could not be delivered", false, true)
}

// Crossed implements request.Dialogs. A caller who takes the answer for void never ends the call; the callee would stay
// off-hook until it gives up after 64·T1 (RFC 3261 §13.3.1.4).
func (k *Keeper) Crossed(r *request.Request, res *sip.Response) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.dialogs[key{r.CallID(), r.FromTag(), request.ToTag(res)}]
	if d == nil || r.InDialog || d.crossed || !d.unacked {
		return
	}
	d.crossed = true
	k.after(k.cfg.Acknowledge, func() {
		k.post.Post(d.CallID, func(ctx context.Context) {
			k.mu.Lock()
			waiting := d.unacked && k.dialogs[d.key()] == d
			k.mu.Unlock()
			if waiting {
				k.end(ctx, d, "proxy: cancelled, answer not acknowledged", false, true)
			}
		})
	})
}
