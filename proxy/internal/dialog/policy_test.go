package dialog

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// RFC 4028 §8.1: what a request goes on with, or that it is refused.
func TestSessionTimerInRequests(t *testing.T) {
	for name, c := range map[string]struct {
		policy      Session
		headers     string
		code        int
		want, least string
	}{
		"none asked":              {Session{}, "", 0, "", ""},
		"asked for":               {Session{}, "Supported: timer\r\nSession-Expires: 90\r\n", 0, "90", ""},
		"inserted":                {Session{Interval: 1800 * time.Second}, "", 0, "1800", ""},
		"inserted above Min-SE":   {Session{Interval: 300 * time.Second}, "Min-SE: 600\r\n", 0, "600", "600"},
		"lowered":                 {Session{Interval: 300 * time.Second}, "Session-Expires: 3600;refresher=uac\r\n", 0, "300;refresher=uac", ""},
		"lowered to Min-SE":       {Session{Interval: 300 * time.Second}, "Session-Expires: 3600\r\nMin-SE: 900\r\n", 0, "900", "900"},
		"left, it is shorter":     {Session{Interval: 300 * time.Second}, "Session-Expires: 120\r\n", 0, "120", ""},
		"too short":               {Session{Min: 120 * time.Second}, "Supported: timer, path\r\nSession-Expires: 90\r\n", 422, "", "120"},
		"too short, compact":      {Session{Min: 120 * time.Second}, "k: timer\r\nx: 90;refresher=uas\r\n", 422, "", "120"},
		"too short, knows no 422": {Session{Min: 120 * time.Second}, "Session-Expires: 90\r\n", 0, "120", "120"},
		"not a number":            {Session{}, "Session-Expires: soon\r\n", 0, "soon", ""},
	} {
		req := received(t, newLine("w1", request.WSS), "INVITE", "a", "", c.headers).Msg
		policy := c.policy.withDefaults()
		if err := policy.refuse(req); c.code != 0 || err != nil {
			var coded *request.Error
			if !errors.As(err, &coded) || coded.Code != c.code || coded.Headers[0].Value() != c.least {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		policy.ask(req)
		if got := request.Header(req, "Session-Expires"); got != c.want || request.Header(req, "Min-SE") != c.least {
			t.Errorf("%s: Session-Expires %q, Min-SE %q", name, got, request.Header(req, "Min-SE"))
		}
	}
}

// RFC 4028 §8.2: what a 2xx agrees, and that the caller refreshes only if he can.
func TestSessionTimerInResponses(t *testing.T) {
	for name, c := range map[string]struct {
		asks, answers, want string
		interval            time.Duration
		caller              bool
	}{
		"callee agrees":            {"Supported: timer\r\nSession-Expires: 1800\r\n", "600;refresher=uas", "600;refresher=uas", 600 * time.Second, false},
		"callee lets refresh":      {"Supported: timer\r\nSession-Expires: 1800\r\n", "1800;refresher=uac", "1800;refresher=uac", 1800 * time.Second, true},
		"callee knows no timer":    {"Supported: timer\r\nSession-Expires: 1800\r\n", "", "1800;refresher=uac", 1800 * time.Second, true},
		"neither knows it":         {"Session-Expires: 1800\r\n", "", "", 0, false},
		"nobody has asked":         {"Supported: timer\r\n", "", "", 0, false},
		"callee starts it himself": {"", "900;refresher=uas", "900;refresher=uas", 900 * time.Second, false},
	} {
		req := received(t, newLine("w1", request.WSS), "INVITE", "a", "", c.asks).Msg
		res := request.NewResponse(req, 200, "OK")
		if c.answers != "" {
			res.AppendHeader(sip.NewHeader("Session-Expires", c.answers))
		}
		interval, caller := agree(req, req, res)
		if interval != c.interval || caller != c.caller || request.Header(res, "Session-Expires") != c.want {
			t.Errorf("%s: %s, caller %v, %q", name, interval, caller, request.Header(res, "Session-Expires"))
		}
		if inserted := c.answers == "" && c.want != ""; (request.Header(res, "Require") == "timer") != inserted {
			t.Errorf("%s: Require %q", name, request.Header(res, "Require"))
		}
	}
}

// The proxy ends a call when what was agreed has run out, not before, and a refresh by an UPDATE without SDP puts it off.
func TestSessionTimerRunsOut(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	k := newKeeper(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, "key")
	var out sent
	k.send = out.send
	d := running(k, page, phone)
	update := received(t, page, "UPDATE", "a", "p", "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n")
	if _, err := k.Handle(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	b := &request.Branch{Msg: update.Msg}
	res := request.NewResponse(update.Original, 200, "OK")
	res.AppendHeader(sip.NewHeader("Session-Expires", "90;refresher=uac"))
	for _, o := range update.Observers {
		if err := errors.Join(o.Outgoing(t.Context(), update, b), o.Incoming(t.Context(), update, b, res)); err != nil {
			t.Fatal(err)
		}
	}
	if !d.session.callerIs || len(update.Msg.Body()) != 0 {
		t.Errorf("session %+v", d.session)
	}
	k.overdue(time.Now().Add(80 * time.Second))
	if len(out) != 0 {
		t.Error("ended too early")
	}
	d.session.ends = time.Now().Add(-time.Second)
	k.overdue(time.Now())
	if n := len(out.of(sip.BYE)); n != 2 {
		t.Errorf("%d BYE", n)
	}
	k.overdue(time.Now())
	if n := len(out); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// A call whose media the daemon has had and has no more is ended; one that it never had, or cannot be asked for, is not.
func TestMediaTimeout(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	p := place{"w1": page, "udp:192.0.2.2:5060/l": phone}
	var known atomic.Bool
	var failing atomic.Bool
	var out sent
	k := New(Config{Key: []byte("key"), Media: func(context.Context, string) (bool, error) {
		if failing.Load() {
			return false, errors.New("no node")
		}
		return known.Load(), nil
	}}, p, p, p, out.send, zap.NewNop())
	defer k.Close()
	d := running(k, page, phone)
	now := time.Now()
	look := func() int {
		now = now.Add(31 * time.Second)
		due := k.due(now)
		k.ask(due)
		return len(due)
	}
	if look() != 0 || look() != 1 || len(out) != 0 || d.media {
		t.Errorf("a call without media: %d sent", len(out))
	}
	known.Store(true)
	if look(); !d.media {
		t.Error("not noted")
	}
	failing.Store(true)
	if look(); len(out) != 0 {
		t.Error("ended since nobody could be asked")
	}
	failing.Store(false)
	known.Store(false)
	if look(); len(out.of(sip.BYE)) != 2 {
		t.Errorf("%d BYE", len(out.of(sip.BYE)))
	}
	if look(); len(out) != 2 {
		t.Error("ended twice")
	}
}

// attempt is an INVITE to one target; it returns the status it was refused with.
func attempt(t *testing.T, k *Keeper, callID, user, trunk string, target request.Target) (r *request.Request, b *request.Branch, code int) {
	t.Helper()
	r = received(t, newLine("w1", request.WSS), "INVITE", "a", "", "")
	id := sip.CallIDHeader(callID)
	r.Msg.ReplaceHeader(&id)
	r.User, r.Trunk = user, trunk
	if _, err := k.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	b = &request.Branch{ID: "z9hG4bK" + callID, Msg: request.Clone(r.Msg), Conn: newLine("udp:192.0.2.2:5060/l", request.UDP), Target: target}
	err := r.Observers[0].Outgoing(t.Context(), r, b)
	var coded *request.Error
	if errors.As(err, &coded) && coded.Code == 503 && (len(coded.Headers) != 1 || coded.Headers[0].Name() != "Retry-After") {
		t.Errorf("503 without Retry-After: %v", coded)
	}
	return r, b, status(err)
}

func TestLimits(t *testing.T) {
	k := newKeeper(t, place{}, "key")
	if err := k.Configure(Config{Limits: Limits{PerUser: 2, PerTrunk: 3, PerAddress: 4, Trunks: map[string]int{"small": 1}}}); err != nil {
		t.Fatal(err)
	}
	over := func(r *request.Request, b *request.Branch, code int) {
		r.Observers[0].Finished(t.Context(), r, b, request.Outcome{Code: code})
	}
	bob := request.Target{AoR: "sip:bob@b"}
	r1, b1, c1 := attempt(t, k, "1", "alice@b", "", bob)
	_, _, c2 := attempt(t, k, "2", "alice@b", "", bob)
	if c1 != 0 || c2 != 0 {
		t.Fatalf("within the limit: %d, %d", c1, c2)
	}
	if _, _, code := attempt(t, k, "3", "alice@b", "", request.Target{AoR: "sip:carol@b"}); code != 503 {
		t.Errorf("a third call of alice: %d", code)
	}
	if _, _, code := attempt(t, k, "4", "carol@b", "", bob); code != 486 {
		t.Errorf("a third call to bob: %d", code)
	}
	over(r1, b1, 603)
	r5, b5, code := attempt(t, k, "5", "alice@b", "", request.Target{Trunk: "small"})
	if code != 0 {
		t.Errorf("after one has ended: %d", code)
	}
	if _, _, code := attempt(t, k, "6", "dave@b", "", request.Target{Trunk: "small"}); code != 503 {
		t.Errorf("a second call by the small trunk: %d", code)
	}
	if _, _, code := attempt(t, k, "7", "", "small", bob); code != 503 {
		t.Errorf("a call from the small trunk: %d", code)
	}
	// The answered call counts on, without its branch, until its dialog ends.
	res := request.NewResponse(r5.Original, 200, "OK")
	res.ReplaceHeader(sip.NewHeader("To", "<sip:c@d>;tag=p"))
	if err := r5.Observers[0].Incoming(t.Context(), r5, b5, res); err != nil {
		t.Fatal(err)
	}
	over(r5, b5, 200)
	if n := k.TrunkCalls("small"); n != 1 {
		t.Errorf("%d calls of the trunk", n)
	}
	k.mu.Lock()
	for d := range k.dialogs {
		k.drop(d)
	}
	left := len(k.counts)
	var keys []string
	for key := range k.counts {
		keys = append(keys, key)
	}
	k.mu.Unlock()
	if n := k.TrunkCalls("small"); n != 0 || left != 3 { // call 2 rings on: alice, bob, the address
		t.Errorf("%d calls of the trunk; %d keys: %s", n, left, strings.Join(keys, " "))
	}
	// What is refused takes no room, and one address has its own limit.
	for i, user := range []string{"e@b", "f@b", "g@b"} {
		if _, _, code := attempt(t, k, "many"+user, user, "", request.Target{Trunk: "large"}); code != 0 {
			t.Errorf("call %d: %d", i, code)
		}
	}
	if _, _, code := attempt(t, k, "last", "h@b", "", request.Target{}); code != 503 {
		t.Errorf("a fifth call from one address: %d", code)
	}
}
