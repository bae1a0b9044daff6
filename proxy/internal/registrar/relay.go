package registrar

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/midregistrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// ErrBusy is logged as the cause of a refusal.
var ErrBusy = errors.New("too many REGISTERs for one address of record wait for the upstream registrar")

// relay executes a REGISTER in front of an upstream registrar: it is answered here if the upstream need not hear of it and
// it is sure who sent it, else it is sent on and what the upstream says goes back.
func (s *Step) relay(ctx context.Context, r *request.Request, aor location.AoR, c *change) error {
	var next []location.Binding
	absorbed, refresh := false, false
	previous := s.previous(r, aor, c)
	now := s.now()
	err := s.table.Update(aor, func(current []location.Binding) ([]location.Binding, error) {
		var err error
		if next, err = s.next(c, current); err != nil {
			return nil, err
		}
		if !s.sure(r, aor) || c.all || !c.query() && s.book.Due(now, aor, current, next, c.put, c.drop) {
			return nil, location.ErrUnchanged
		}
		absorbed, refresh = true, len(next) == len(current)
		if c.query() {
			return nil, location.ErrUnchanged
		}
		for i := range c.put { // never for longer than the upstream knows of it
			limit(next, &c.put[i], now, s.book.Left(s.book.KeyOf(&c.put[i]), now))
		}
		return next, nil
	})
	if err != nil {
		return err
	}
	if absorbed {
		s.changed(r, previous)
		if !c.query() {
			s.tell(r, aor, len(next), refresh)
		}
		return r.Respond(200, "OK", s.headers(r, next)...)
	}
	return s.ask(ctx, r, aor, c, next)
}

// next is what a change makes of the bindings, within bounds.
func (s *Step) next(c *change, current []location.Binding) ([]location.Binding, error) {
	next, err := c.apply(current)
	if err == nil && len(next) > s.policy().MaxContacts {
		return nil, request.Fail(503, "Too Many Contacts", ErrTooManyContacts)
	}
	return next, err
}

// limit shortens the lifetime of one binding in a list.
func limit(list []location.Binding, which *location.Binding, now time.Time, most time.Duration) {
	for i := range list {
		if b := &list[i]; b.Key == which.Key && b.Expires.Sub(b.Registered) > most {
			b.Registered, b.Expires = now, now.Add(most)
		}
	}
}

// sure reports that it is known here who sent a REGISTER: the user has proved it, or it came straight from the user agent
// by the very connection that carried one which the upstream has accepted.
func (s *Step) sure(r *request.Request, aor location.AoR) bool {
	if r.User != "" {
		return true
	}
	return straight(r) && s.book.Trusts(string(r.Conn.ID()), aor, r.CallID())
}

// straight reports a connection of one user agent: of a stream, whose source cannot be forged, without another proxy between.
func straight(r *request.Request) bool {
	return r.Conn != nil && r.Conn.Transport().Reliable() && len(r.Original.GetHeaders("Via")) == 1
}

// ask sends a REGISTER upstream.
func (s *Step) ask(ctx context.Context, r *request.Request, aor location.AoR, c *change, next []location.Binding) error {
	u := s.policy().Upstream
	if u == nil { // a new configuration has taken it away meanwhile
		return s.execute(r, aor, c)
	}
	alone := c.all || len(c.drop) > 0
	entered, ok := s.turns.Enter(s.now(), aor, alone, func() {
		s.way.Post.Post(r.CallID(), func(ctx context.Context) {
			if err := s.relay(ctx, r, aor, c); err != nil {
				s.refuse(r, err)
			}
		})
	})
	if !ok {
		return request.Fail(503, "Service Unavailable", ErrBusy)
	}
	if !entered {
		return nil
	}
	x := &exchange{step: s, to: u, aor: aor, msg: s.message(r, aor), known: r.User != "", log: r.Log}
	switch {
	case c.all:
		x.msg.AppendHeader(sip.NewHeader("Contact", "*"))
		x.msg.AppendHeader(sip.NewHeader("Expires", "0"))
	case !c.query():
		x.asks = s.book.Asks(aor, next, c.put, c.drop)
	}
	x.done = func(_ context.Context, res *sip.Response) {
		err := s.answered(r, aor, c, x, res)
		s.turns.Leave(aor, alone)
		if err != nil {
			s.refuse(r, err)
		}
	}
	x.start(ctx, request.CallID(x.msg) == r.CallID())
	return nil
}

// message makes the REGISTER for the upstream of that of a client: as it is but for the way it takes. Where the proxy knows
// the account it speaks for itself, with a Call-ID of its own.
func (s *Step) message(r *request.Request, aor location.AoR) *sip.Request {
	msg := request.Clone(r.Msg)
	for _, name := range []string{"Via", "Route", "Record-Route", "Path", "Contact", "Expires"} {
		for msg.RemoveHeader(name) {
		}
	}
	if r.User == "" {
		return msg
	}
	sum := sha256.Sum256([]byte("mid-registrar\x00" + string(aor)))
	id := sip.CallIDHeader(hex.EncodeToString(sum[:12]))
	msg.ReplaceHeader(&id)
	seq := uint32(s.now().Unix() % (1 << 31))
	for _, reg := range s.book.All(aor) {
		if reg.CallID == string(id) {
			seq = max(seq, reg.CSeq+1)
		}
	}
	msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.REGISTER})
	return msg
}

// answered takes the upstream's final response, hands it to the client, and keeps what a 2xx has changed.
func (s *Step) answered(r *request.Request, aor location.AoR, c *change, x *exchange, res *sip.Response) error {
	if res == nil {
		if tx, ok := r.Responder.(interface{ Abandon() }); ok {
			tx.Abandon() // the client waits no longer either (RFC 4320)
		}
		return nil
	}
	if !res.IsSuccess() {
		if res.StatusCode == sip.StatusForbidden || res.StatusCode == sip.StatusNotFound {
			s.distrust(r, aor)
		}
		return r.Respond(res.StatusCode, res.Reason, passed(res)...)
	}
	previous := s.previous(r, aor, c)
	var bindings []location.Binding
	refresh := false
	err := s.table.Update(aor, func(current []location.Binding) ([]location.Binding, error) {
		s.grant(x, c, res)
		next, err := s.next(c, current)
		bindings, refresh = next, len(next) == len(current)
		if err == nil && c.query() {
			err = location.ErrUnchanged
		}
		return next, err
	})
	if err != nil {
		return err
	}
	s.note(r, aor, c, x)
	s.changed(r, previous)
	if !c.query() {
		s.tell(r, aor, len(bindings), refresh)
		s.farewells.later(aor) // a contact may appear under another id now
	}
	return r.Respond(200, "OK", append(passed(res), s.headers(r, bindings)...)...)
}

// grant gives the contacts the lifetimes that the upstream allows.
func (s *Step) grant(x *exchange, c *change, res *sip.Response) {
	now := s.now()
	allowed := make(map[midregistrar.Key]time.Duration, len(x.asks))
	for i := range x.asks {
		ask := &x.asks[i]
		if ask.Lifetime > 0 && i < len(x.uris) {
			given := granted(res, x.uris[i], ask.Lifetime)
			if x.to.Mode != midregistrar.Mirror {
				given = min(given, ask.Lifetime)
			}
			ask.Lifetime = given
			allowed[ask.Key] = given
		}
	}
	for i := range c.put {
		b := &c.put[i]
		most, ok := allowed[s.book.KeyOf(b)]
		wanted := b.Expires.Sub(b.Registered)
		if ok && (x.to.Mode == midregistrar.Mirror || most < wanted) {
			wanted = most
		}
		b.Registered, b.Expires = now, now.Add(wanted)
	}
}

// note enters what the upstream knows now into the book.
func (s *Step) note(r *request.Request, aor location.AoR, c *change, x *exchange) {
	seq, _ := request.CSeq(x.msg)
	reg := midregistrar.Registration{
		RequestURI: x.msg.Recipient.String(), From: request.Header(x.msg, "From"), To: request.Header(x.msg, "To"),
		CallID: request.CallID(x.msg), CSeq: seq, Forwarded: s.now(),
	}
	for _, h := range x.msg.GetHeaders("Authorization") {
		reg.Authorization = append(reg.Authorization, h.Value())
	}
	if c.all {
		s.book.ForgetAll(aor)
	}
	for i, ask := range x.asks {
		if ask.Lifetime <= 0 || i >= len(x.uris) {
			s.book.Forget(ask.Key)
			continue
		}
		reg.Contact, reg.Lifetime = x.uris[i], ask.Lifetime
		s.book.Tell(ask.Key, reg)
	}
	if len(c.put) > 0 && r.User == "" && straight(r) {
		s.book.Trust(string(r.Conn.ID()), aor, r.CallID())
		if !request.Alive(r.Conn) {
			s.book.ConnectionClosed(string(r.Conn.ID()))
		}
	}
}

func (s *Step) distrust(r *request.Request, aor location.AoR) {
	if r.Conn != nil {
		s.book.Distrust(string(r.Conn.ID()), aor)
	}
}

// passed are the headers of an upstream's response that go to the client: all that do not belong to the exchange itself or
// tell of addresses behind the proxy.
func passed(res *sip.Response) []sip.Header {
	var out []sip.Header
	for _, h := range res.Headers() {
		switch strings.ToLower(h.Name()) {
		case "via", "from", "to", "call-id", "cseq", "record-route", "contact", "expires", "path", "service-route", "date",
			"content-length", "content-type", "server", "p-associated-uri":
		default:
			out = append(out, h)
		}
	}
	return slices.Clip(out)
}

// refuse answers as the chain does.
func (s *Step) refuse(r *request.Request, err error) {
	coded := &request.Error{Code: sip.StatusInternalServerError, Reason: "Server Internal Error"}
	errors.As(err, &coded)
	r.Log.Info("request refused", zap.Int("code", coded.Code), zap.Stringer("source", r.Source), zap.Error(err))
	if err := r.Respond(coded.Code, coded.Reason, coded.Headers...); err != nil {
		r.Log.Debug("response not sent", zap.Error(err))
	}
}
