package registrar

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/midregistrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Poster runs a function in the order of a call; the transaction layer is one.
type Poster interface {
	Post(callID string, f func(ctx context.Context)) bool
}

// Upstream is the registrar behind this one.
type Upstream struct {
	Mode    midregistrar.Mode
	Expires time.Duration // asked for there, if the client's own time is shorter
	Domain  string        // whose users appear there by their names alone; others as user%40domain
	// Targets are where a REGISTER with this request URI goes.
	Targets func(uri sip.Uri) []request.Target
}

// Way is how an upstream registrar is talked to.
type Way struct {
	// Send hands a request made here to the part of the chain that forwards.
	Send func(ctx context.Context, r *request.Request)
	Post Poster
	// Authorize answers a challenge for a user whose account is known here: the value of an Authorization header. nil =
	// no accounts are.
	Authorize func(ctx context.Context, aor location.AoR, challenges []string, uri string) (string, bool)
	// Grace is how long the upstream is not told that the last contact has gone, so that a page may be reloaded
	// meanwhile; 0 = 3 s.
	Grace time.Duration
	Log   *zap.Logger
}

// Registered reports whether a user is registered over this connection with the consent of the upstream registrar.
func (s *Step) Registered(conn request.Connection, user, domain string) bool {
	if conn == nil {
		return false
	}
	for _, b := range s.table.Lookup(location.NewAoR(user, domain)) {
		if b.Connection == string(conn.ID()) {
			return true
		}
	}
	return false
}

// Lost is told of each address of record that has lost a binding without a word of its user.
func (s *Step) Lost(aor location.AoR) {
	if len(s.book.All(aor)) > 0 {
		s.farewells.later(aor)
	}
}

// ConnectionClosed is told of each connection that has gone, after the table.
func (s *Step) ConnectionClosed(id request.ConnectionID) {
	s.book.ConnectionClosed(string(id))
}

// exchange is a REGISTER with the upstream registrar, made here. It is the request's observer and responder.
type exchange struct {
	step  *Step
	to    *Upstream
	aor   location.AoR
	msg   *sip.Request
	asks  []midregistrar.Ask
	known bool     // the account is known here: a challenge can be answered
	uris  []string // of the contacts sent, in the order of asks; made when the connection is known, if not given
	log   *zap.Logger
	done  func(ctx context.Context, res *sip.Response) // nil: there was no answer

	retried bool
}

// start sends it in the order of its own Call-ID, or at once if that is the one at work.
func (x *exchange) start(ctx context.Context, here bool) {
	send := func(ctx context.Context) {
		x.step.way.Send(ctx, &request.Request{
			Msg: x.msg, Original: x.msg, Received: x.step.now(), Targets: x.to.Targets(x.msg.Recipient),
			Observers: []request.Observer{x}, Responder: x, Log: x.log,
		})
	}
	if here {
		send(ctx)
		return
	}
	if !x.step.way.Post.Post(request.CallID(x.msg), send) {
		x.done(ctx, nil)
	}
}

// Outgoing implements request.Observer: the contacts name the listener that the upstream is reached from.
func (x *exchange) Outgoing(_ context.Context, _ *request.Request, b *request.Branch) error {
	if len(x.asks) == 0 {
		return nil
	}
	if b.Conn == nil {
		return request.Fail(503, "Next Hop Unreachable", nil)
	}
	for b.Msg.RemoveHeader("Contact") {
	}
	given := len(x.uris) == len(x.asks)
	for i, ask := range x.asks {
		if !given {
			x.uris = append(x.uris, x.to.contact(ask.Key, b.Conn))
		}
		value := "<" + x.uris[i] + ">;expires=" + strconv.Itoa(seconds(ask.Lifetime))
		if ask.Q != 1000 {
			value += ";q=" + strconv.FormatFloat(float64(ask.Q)/1000, 'g', 3, 64)
		}
		b.Msg.AppendHeader(sip.NewHeader("Contact", value+plain(ask.Params)))
	}
	return nil
}

// Incoming implements request.Observer.
func (x *exchange) Incoming(context.Context, *request.Request, *request.Branch, *sip.Response) error {
	return nil
}

// Finished implements request.Observer.
func (x *exchange) Finished(context.Context, *request.Request, *request.Branch, request.Outcome) {}

// Send implements request.Responder.
func (x *exchange) Send(res *sip.Response) error {
	if res.IsProvisional() {
		return nil
	}
	x.step.way.Post.Post(request.CallID(x.msg), func(ctx context.Context) {
		if !x.again(ctx, res) {
			x.done(ctx, res)
		}
	})
	return nil
}

// Abandon is called by forward when nobody has answered in time.
func (x *exchange) Abandon() {
	x.step.way.Post.Post(request.CallID(x.msg), func(ctx context.Context) { x.done(ctx, nil) })
}

// again answers a challenge; false if there was none, or it cannot be answered.
func (x *exchange) again(ctx context.Context, res *sip.Response) bool {
	w := x.step.way
	if res.StatusCode != sip.StatusUnauthorized || !x.known || x.retried || w.Authorize == nil {
		return false
	}
	var challenges []string
	for _, h := range res.GetHeaders("WWW-Authenticate") {
		challenges = append(challenges, h.Value())
	}
	value, ok := w.Authorize(ctx, x.aor, challenges, x.msg.Recipient.String())
	if !ok {
		return false
	}
	x.retried = true
	x.msg = request.Clone(x.msg)
	for x.msg.RemoveHeader("Authorization") {
	}
	x.msg.AppendHeader(sip.NewHeader("Authorization", value))
	seq, _ := request.CSeq(x.msg)
	x.msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq + 1, MethodName: sip.REGISTER})
	x.start(ctx, true)
	return true
}

// contact is the URI by which the upstream reaches a contact.
func (u *Upstream) contact(key midregistrar.Key, conn request.Connection) string {
	user := key.AoR.User()
	if d := key.AoR.Domain(); d != u.Domain {
		user += "%40" + d
	}
	uri := "sip:" + user + "@" + conn.SentBy()
	if t := conn.Transport(); t != request.UDP {
		uri += ";transport=" + string(t)
	}
	if key.ID != "" {
		uri += ";" + location.IDParam + "=" + key.ID
	}
	return uri
}

// plain are contact parameters without reg-id: towards the upstream the proxy is no edge of RFC 5626, which would keep a
// binding for each of them.
func plain(params string) string {
	list := request.ParseParams(params)
	return echoed(slices.DeleteFunc(list, func(p sip.HeaderKV) bool { return strings.EqualFold(p.K, "reg-id") }))
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// granted is the lifetime that a 2xx gives to a contact; asked if it does not say.
func granted(res *sip.Response, uri string, asked time.Duration) time.Duration {
	var want sip.Uri
	if err := request.ParseURI(uri, &want); err != nil {
		return asked
	}
	text := request.Header(res, "Expires")
	contacts, _ := request.Addresses(res, "Contact") // those before one that cannot be read
	for i := range contacts {
		if got := &contacts[i].URI; key(got) != key(&want) || id(got) != id(&want) {
			continue
		}
		if t, ok := contacts[i].Param("expires"); ok {
			text = t
		}
		break
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return asked
	}
	return time.Duration(n) * time.Second
}

func id(uri *sip.Uri) string {
	value, _ := request.Param(uri.UriParams, location.IDParam)
	return value
}
