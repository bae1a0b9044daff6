package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"go.uber.org/zap"
)

// branch is one forwarded copy with its client transaction.
type branch struct {
	request.Branch
	x    *exchange
	base *sip.Request // with the observers' changes, without our Via and Record-Route
	hops []request.Hop
	hop  request.Hop // in use; zero when the connection was given
	tx   *attempt
	try  int // attempts so far, for new branch parameters

	timer      *time.Timer // Timer C, and the end of waiting after CANCEL
	limit      *time.Timer // Target.Timeout
	silence    *time.Timer // Target.Silence
	cancelling bool        // CANCEL is wanted
	cancelSent bool
	late       bool // cancelled because nobody answered in time: 408, not 487
	ended      bool
	reported   bool
	followed   bool // a redirection whose contacts are tried instead of answering it
	local      bool // the final response was made up here
	err        error
	final      *sip.Response
}

func (x *exchange) newBranch(t request.Target) *branch {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	b := &branch{x: x}
	b.Branch = request.Branch{
		ID:     sip.RFC3261BranchMagicCookie + hex.EncodeToString(random[:]) + request.BranchMark + x.hash,
		Target: t,
	}
	return b
}

// code is the final status; 0 while there is none.
func (b *branch) code() int {
	switch {
	case b.final != nil:
		return b.final.StatusCode
	case b.err != nil:
		code, _, _ := failure(b.err)
		return code
	default:
		return 0
	}
}

// prepare makes the copy and finds where it goes (RFC 3261 §16.6 steps 1 to 7).
func (b *branch) prepare(ctx context.Context) error {
	b.base = request.Clone(b.x.r.Msg)
	b.base.Recipient = *b.Target.URI.Clone()
	b.base.Recipient.Headers = nil
	if err := b.keepSecure(); err != nil {
		return err
	}
	hops := uint32(70)
	if h := b.base.MaxForwards(); h != nil {
		hops = h.Val()
		if hops > 0 {
			hops-- // 1 goes out as 0
		}
	}
	for b.base.RemoveHeader("Max-Forwards") {
	}
	left := sip.MaxForwardsHeader(hops)
	b.base.AppendHeader(&left)

	next, err := b.route()
	if err != nil {
		return errNoTarget(b.Target, err)
	}
	if b.Target.NextHop.Host != "" {
		next = b.Target.NextHop
	}
	b.Msg = b.base
	if b.Target.Conn != nil {
		b.Conn = b.Target.Conn
		if !request.Alive(b.Conn) {
			return errNoTarget(b.Target, request.ErrConnectionClosed)
		}
		return nil
	}
	b.hops, err = b.x.f.resolver.Resolve(ctx, next)
	if err != nil {
		return errNoTarget(b.Target, err)
	}
	return nil
}

// keepSecure holds a request for a sips URI to TLS: its target becomes sips as well, and a connection without TLS does not
// count as reachable (RFC 3261 §16.5, RFC 5630 §5.2).
func (b *branch) keepSecure() error {
	r := b.x.r
	if r.InDialog || r.Original.Recipient.Scheme != "sips" {
		return nil
	}
	if b.Target.Conn != nil && !b.Target.Conn.Transport().Secure() {
		err := request.Fail(sip.StatusTemporarilyUnavailable, "Temporarily Unavailable", nil)
		err.Headers = []sip.Header{sip.NewHeader("Warning", `380 proxy "SIPS Not Allowed"`)}
		return err
	}
	if b.base.Recipient.Scheme == "sip" {
		b.base.Recipient.Scheme = "sips"
	}
	return nil
}

// route pushes the target's routes and returns the URI of the next hop, doing what a strict router wants (step 6).
func (b *branch) route() (sip.Uri, error) {
	routes, err := request.Routes(b.base)
	if err != nil {
		return sip.Uri{}, request.Fail(sip.StatusBadRequest, "Malformed Route", err)
	}
	if len(routes) == 0 && len(b.Target.Route) == 0 {
		return b.base.Recipient, nil
	}
	var values []string
	for _, u := range b.Target.Route {
		values = append(values, request.RouteValue(u))
	}
	for _, a := range routes {
		values = append(values, a.Raw)
	}
	first := request.Address{}
	if len(b.Target.Route) > 0 {
		first.URI = b.Target.Route[0]
	} else {
		first = routes[0]
	}
	if _, loose := request.Param(first.URI.UriParams, "lr"); !loose {
		values = append(values[1:], request.RouteValue(b.base.Recipient))
		b.base.Recipient = *first.URI.Clone()
	}
	request.SetRoutes(b.base, values)
	return first.URI, nil
}

// connect takes the given connection or the next hop that can be reached.
func (b *branch) connect(ctx context.Context) error {
	if b.Target.Conn != nil {
		if b.try > 0 {
			return request.ErrConnectionClosed
		}
		b.try++
		return nil
	}
	err := error(transaction.ErrTimeout)
	for len(b.hops) > 0 {
		b.hop = b.hops[0]
		b.hops = b.hops[1:]
		if b.hop.Listener == "" {
			b.hop.Listener = b.Target.Listener
		}
		b.try++
		if b.Conn, err = b.x.f.conns.Reach(ctx, b.hop); err == nil {
			return nil
		}
		b.x.r.Log.Info("hop not reached", zap.Stringer("hop", b.hop.Addr), zap.String("transport", string(b.hop.Transport)), zap.Error(err))
		b.x.f.resolver.Failed(b.hop)
	}
	return err
}

// start sends the copy; on failure the branch has ended with a response made here.
func (b *branch) start(ctx context.Context) {
	err := b.prepare(ctx)
	if err == nil {
		// The observers want to see which connection it will be.
		err = b.connect(ctx)
	}
	if err == nil {
		octx, cancel := context.WithTimeout(ctx, b.x.f.cfg.Observers)
		for _, o := range b.x.r.Observers {
			if err = o.Outgoing(octx, b.x.r, &b.Branch); err != nil {
				var coded *request.Error
				if !errors.As(err, &coded) {
					err = request.Fail(sip.StatusInternalServerError, "Server Internal Error", err)
				}
				break
			}
		}
		cancel()
	}
	if err != nil {
		b.fail(err)
		return
	}
	b.base = b.Msg // an observer may have replaced it
	b.authorize()
	if b.Target.Timeout > 0 && b.base.Method == sip.INVITE {
		b.limit = b.after(b.Target.Timeout, b.expired)
	}
	b.send(ctx)
}

// send begins the client transaction, on the connection found or on those of the hops that are left.
func (b *branch) send(ctx context.Context) {
	for {
		b.Msg = b.finish(ctx)
		var err error
		if err = b.begin(); err == nil {
			return
		}
		b.x.r.Log.Info("request not sent", zap.Stringer("hop", b.Conn.Remote()), zap.Error(err))
		if errors.Is(err, transaction.ErrOverload) || !b.again(ctx) {
			b.fail(err)
			return
		}
	}
}

// again moves to the next hop (RFC 3263 §4.3); false when there is none.
func (b *branch) again(ctx context.Context) bool {
	if b.Target.Conn == nil && b.hop.Addr.IsValid() {
		b.x.f.resolver.Failed(b.hop)
	}
	if b.cancelling || len(b.hops) == 0 {
		return false
	}
	b.State = request.BranchCalling
	return b.connect(ctx) == nil
}

// finish adds what depends on the connection: Record-Route and Via (steps 4 and 8).
func (b *branch) finish(ctx context.Context) *sip.Request {
	b.preferStream(ctx)
	msg := request.Clone(b.base)
	b.recordRoute(msg)
	host, port := request.HostPort(b.Conn.SentBy())
	id := b.ID
	if b.try > 1 {
		id += "." + string(rune('a'+b.try%26))
	}
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(string(b.Conn.Transport())),
		Host: host, Port: port, Params: sip.HeaderParams{{K: "branch", V: id}},
	}
	if b.Conn.Transport() == request.UDP {
		via.Params = append(via.Params, sip.HeaderKV{K: "rport"})
	}
	msg.PrependHeader(via)
	return msg
}

// preferStream moves a request that is too large for a datagram to TCP when the next hop takes it; else it is sent in
// fragments (RFC 3261 §18.1.1).
func (b *branch) preferStream(ctx context.Context) {
	f := b.x.f
	if b.Target.Conn != nil || b.Conn.Transport() != request.UDP || f.noTCP.has(b.hop.Addr) {
		return
	}
	for _, uri := range []sip.Uri{b.Target.URI, b.Target.NextHop} {
		if t, _ := request.Param(uri.UriParams, "transport"); strings.EqualFold(t, "udp") {
			return
		}
	}
	const ours = 300 // Via and Record-Route to come
	if len(b.base.String())+ours <= f.cfg.Datagram {
		return
	}
	tctx, cancel := context.WithTimeout(ctx, f.cfg.TryTCP)
	defer cancel()
	hop := b.hop
	hop.Transport, hop.Listener = request.TCP, ""
	conn, err := f.conns.Reach(tctx, hop)
	if err != nil {
		f.noTCP.add(hop.Addr)
		b.x.r.Log.Debug("large request stays on UDP", zap.Stringer("hop", hop.Addr), zap.Error(err))
		return
	}
	b.Conn = conn
}

// recordRoute keeps the proxy on the path of the dialog: one entry, or two where transport or listener change.
func (b *branch) recordRoute(msg *sip.Request) {
	r := b.x.r
	if r.InDialog || r.Conn == nil {
		return
	}
	switch msg.Method {
	case sip.INVITE, sip.SUBSCRIBE, sip.REFER, sip.NOTIFY:
	default:
		return
	}
	seal := ""
	if r.Dialogs != nil {
		seal = r.Dialogs.Seal(r, &b.Branch)
	}
	secure := msg.Recipient.Scheme == "sips"
	if r.Conn.SentBy() == b.Conn.SentBy() && r.Conn.Transport() == b.Conn.Transport() {
		b.Recorded = []string{recordRouteValue(r.Conn, secure, false, seal)}
	} else {
		b.Recorded = []string{recordRouteValue(b.Conn, secure, true, ""), recordRouteValue(r.Conn, secure, true, seal)}
	}
	shown := b.Recorded
	if b.Record != nil {
		shown = b.Record(shown)
	}
	headers := make([]sip.Header, 0, len(shown))
	for _, v := range shown {
		headers = append(headers, sip.NewHeader("Record-Route", v))
	}
	msg.PrependHeader(headers...)
}

func recordRouteValue(conn request.Connection, secure, double bool, seal string) string {
	var v strings.Builder
	v.WriteString("<sip")
	if secure {
		v.WriteByte('s')
	}
	v.WriteByte(':')
	v.WriteString(conn.SentBy())
	switch t := conn.Transport(); {
	case t.WebSocket():
		v.WriteString(";transport=ws")
	case t != request.UDP:
		v.WriteString(";transport=" + string(t))
	}
	v.WriteString(";lr")
	if double {
		v.WriteString(";r2=on")
	}
	if seal != "" {
		v.WriteString(";" + request.SealParam + "=" + seal)
	}
	v.WriteByte('>')
	return v.String()
}

// after runs f in the order of the call.
func (b *branch) after(d time.Duration, f func(ctx context.Context)) *time.Timer {
	callID := b.x.r.CallID()
	return time.AfterFunc(d, func() { b.x.f.layer.Post(callID, f) })
}
