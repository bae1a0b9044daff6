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
		verdict, err := k.attach(r, seal)
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
		if err := k.cfg.Load().Session.refuse(r.Original); err != nil {
			return request.Done, err
		}
		r.Dialogs, r.Pass = k, k.passes(r)
		if err := k.cfg.Load().Session.refuse(r.Original); err != nil {
			return request.Done, err
		}
		r.Dialogs, r.Pass = k, k.passes(r)
		r.Observers = append(r.Observers, &setup{Keeper: k, branches: map[string]*slot{}})
		k.replaced(r)
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

// full reports that no more calls are taken.
func (k *Keeper) full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.dialogs) >= k.cfg.Load().Calls
}

// setup observes an INVITE that makes dialogs.
type setup struct {
	*Keeper
	caller   *slot
	branches map[string]*slot // by branch, while they have no final response
}

// Outgoing implements request.Observer: there must be room within the limits.
func (s *setup) Outgoing(_ context.Context, r *request.Request, b *request.Branch) error {
	s.cfg.Load().Session.ask(b.Msg)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admit(r, b)
}

// Incoming implements request.Observer: responses make dialogs and confirm them.
func (s *setup) Incoming(_ context.Context, r *request.Request, b *request.Branch, res *sip.Response) error {
	tag := request.ToTag(res)
	if tag == "" || res.StatusCode >= 300 {
		return nil
	}
	k := s.Keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.made(r.CallID(), b.ID, tag)
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
		d.B.Bound = d.B.Bound || hidden(c[0].URI, b.Conn, b.Target.Trusted)
	}
	d.B.Routes = k.routesTo(res, d.seal)
	if res.IsSuccess() {
		k.refreshed(d, r.Original, b.Msg, res, true)
		if !d.Confirmed {
			s.confirm(d, b)
		}
	}
	k.touch(d)
	k.changed(d)
	return nil
}

// confirm takes the first 2xx; the lock is held.
func (s *setup) confirm(d *Dialog, b *request.Branch) {
	k := s.Keeper
	d.Confirmed, d.unacked = true, true
	if d.slot = s.branches[b.ID]; d.slot != nil {
		d.slot.held++
	}
	if device := k.cfg.Load().Device; device != nil {
		for _, leg := range []*Leg{&d.A, &d.B} {
			if leg.Conn != nil && leg.Conn.Transport() != request.UDP {
				leg.Device = device(leg.Conn.ID())
			}
		}
	}
	k.log.Info("call set up", zap.String("call-id", d.CallID), zap.String("from-tag", d.A.Tag), zap.String("to-tag", d.B.Tag),
		zap.String("from-profile", d.A.Profile), zap.String("to-profile", d.B.Profile),
		zap.Duration("after", time.Since(d.since).Round(time.Millisecond)))
	d.since = time.Now()
}

// form makes a dialog of an INVITE and its branch; the lock is held.
func (k *Keeper) form(r *request.Request, b *request.Branch, tag string) *Dialog {
	seq, _ := request.CSeq(r.Msg)
	d := &Dialog{
		CallID: r.CallID(), branch: b.ID, seal: k.Seal(r, b), cseq: seq + b.Inserted, since: r.Received,
		A: Leg{Tag: r.FromTag(), Identity: request.Header(r.Original, "From"), Profile: r.Profile, Trunk: r.Trunk, Conn: r.Conn, CSeq: seq},
		B: Leg{
			Tag: tag, Profile: b.Target.Profile, AoR: b.Target.AoR, Trunk: b.Target.Trunk, Conn: b.Conn, Bound: b.Target.Conn != nil,
		},
	}
	if c, err := request.Addresses(r.Original, "Contact"); err == nil && len(c) > 0 {
		d.A.Contact = c[0].URI.String()
		d.A.Bound = hidden(c[0].URI, r.Conn, direct(r))
	}
	d.A.Routes = routesOf(r.Original)
	if b.Inserted > 0 {
		d.A.challenged(seq, b.Inserted)
	}
	return d
}

// routesOf is the route set towards the sender of an INVITE, nearest to us first: its Record-Route entries as received.
func routesOf(m sip.Message) []string {
	entries, err := request.Addresses(m, "Record-Route")
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range entries {
		out = append(out, a.Raw)
	}
	return out
}

// routesTo is the route set towards the sender of a response, nearest to us first: the entries above ours, which is
// known by its seal. Others of ours may stand above it when the call comes through here again.
func (k *Keeper) routesTo(res *sip.Response, seal string) []string {
	entries, err := request.Addresses(res, "Record-Route")
	if err != nil {
		return nil
	}
	sealOf := func(a request.Address) string {
		s, _ := request.Param(a.URI.UriParams, request.SealParam)
		return s
	}
	end := slices.IndexFunc(entries, func(a request.Address) bool { return sealOf(a) == seal && k.ours(a.URI) })
	if end < 0 { // the peer has dropped parameters
		end = max(0, slices.IndexFunc(entries, func(a request.Address) bool { return k.ours(a.URI) }))
	} else if end > 0 && k.ours(entries[end-1].URI) && sealOf(entries[end-1]) == "" {
		end-- // the other one of a pair
	}
	var out []string
	for _, a := range entries[:end] {
		out = append([]string{a.Raw}, out...)
	}
	return out
}

// hidden reports a Contact that does not name where its messages come from: a browser's made-up host, or an address behind
// NAT. A peer without NAT before it may well name another host (RFC 3261 §12.1.1 asks for no more than a URI that works).
func hidden(contact sip.Uri, conn request.Connection, withoutNAT bool) bool {
	if conn == nil {
		return false
	}
	host := strings.ToLower(strings.Trim(contact.Host, "[]"))
	if conn.Transport().WebSocket() || strings.HasSuffix(host, ".invalid") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return !withoutNAT && err == nil && addr.Unmap() != conn.Remote().Addr().WithZone("")
}

// direct reports that no NAT stands before the sender: it knows the address that it sends from.
func direct(r *request.Request) bool {
	via := r.Original.Via()
	if via == nil || r.Conn == nil {
		return false
	}
	addr, err := netip.ParseAddr(strings.Trim(via.Host, "[]"))
	return err == nil && addr.Unmap() == r.Conn.Remote().Addr().WithZone("")
}

// Finished implements request.Observer: early dialogs end with their branch.
func (s *setup) Finished(_ context.Context, r *request.Request, b *request.Branch, o request.Outcome) {
	k := s.Keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.release(s.branches[b.ID])
	delete(s.branches, b.ID)
	for _, d := range slices.Clone(k.byCall[r.CallID()]) {
		switch {
		case d.Confirmed || d.branch != b.ID:
		case o.Answered(): // by another fork further down; this one may still (RFC 3261 §13.2.2.4)
			d.expires = time.Now().Add(repetitions)
		default:
			k.drop(d)
		}
	}
}

// Orphaned implements request.Dialogs: the callee has answered, but nobody is there to hear it (RFC 3261 §16.7; the
// proxy acts for the caller).
func (k *Keeper) Orphaned(ctx context.Context, r *request.Request, b *request.Branch, res *sip.Response) {
	k.mu.Lock()
	d := k.made(r.CallID(), b.ID, request.ToTag(res))
	k.mu.Unlock()
	if d == nil || !d.unacked {
		return
	}
	k.end(ctx, d, "proxy: answer could not be delivered", false, true)
}

// Crossed implements request.Dialogs. A caller who takes the answer for void never ends the call; the callee would stay
// off-hook until it gives up after 64·T1 (RFC 3261 §13.3.1.4).
func (k *Keeper) Crossed(r *request.Request, b *request.Branch) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.byCall[r.CallID()] {
		if d.branch != b.ID || d.crossed || !d.unacked {
			continue
		}
		d.crossed = true
		k.after(k.cfg.Load().Acknowledge, func() {
			k.post.Post(d.CallID, func(ctx context.Context) { k.unanswered(ctx, d) })
		})
	}
}

// unanswered ends a dialog whose caller has sent no ACK in time.
func (k *Keeper) unanswered(ctx context.Context, d *Dialog) {
	k.mu.Lock()
	_, kept := k.dialogs[d]
	waiting := kept && d.unacked
	k.mu.Unlock()
	if waiting {
		k.end(ctx, d, "proxy: cancelled, answer not acknowledged", false, true)
	}
}
