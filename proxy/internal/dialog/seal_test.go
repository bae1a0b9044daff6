package dialog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is the proxy at sbc.example and the connections it has.
type place map[request.ConnectionID]request.Connection

func (place) Owns(host string, _ int) bool { return host == "sbc.example" }
func (p place) Get(id request.ConnectionID) (request.Connection, bool) {
	c, ok := p[id]
	return c, ok
}
func (place) Reach(context.Context, request.Hop) (request.Connection, error) {
	return nil, request.ErrNoListener
}
func (place) Post(_ string, f func(context.Context)) bool { f(context.Background()); return true }

// line is a connection that is open.
type line struct {
	lost
	transport request.Transport
	open      chan struct{}
}

func (l line) Transport() request.Transport { return l.transport }
func (l line) Closed() <-chan struct{}      { return l.open }
func (l line) Remote() netip.AddrPort       { return netip.MustParseAddrPort("192.0.2.1:5060") }

func newLine(id string, t request.Transport) line {
	return line{lost{request.ConnectionID(id), t}, t, make(chan struct{})}
}

func newKeeper(t *testing.T, p place, key string) *Keeper {
	t.Helper()
	k := New(Config{Key: []byte(key), Grace: -1}, p, p, p, nil, zap.NewNop())
	t.Cleanup(k.Close)
	return k
}

func received(t *testing.T, conn request.Connection, method, from, to, more string) *request.Request {
	t.Helper()
	tag := ""
	if to != "" {
		tag = ";tag=" + to
	}
	msg, err := sip.ParseMessage([]byte(fmt.Sprintf("%s sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n"+
		"From: <sip:a@b>;tag=%s\r\nTo: <sip:c@d>%s\r\nCall-ID: call\r\nCSeq: 5 %s\r\nContact: <sip:alice@x.invalid>\r\n%sContent-Length: 0\r\n\r\n",
		method, from, tag, method, more)))
	if err != nil {
		t.Fatal(err)
	}
	return &request.Request{Msg: request.Clone(msg.(*sip.Request)), Original: msg.(*sip.Request), Conn: conn, Source: conn.Remote(),
		InDialog: to != "", Profile: "webrtc", Log: zap.NewNop()}
}

// sealed is the seal of an INVITE from a page to a phone.
func sealed(t *testing.T, k *Keeper, page, phone request.Connection) string {
	t.Helper()
	return k.Seal(received(t, page, "INVITE", "a", "", ""), &request.Branch{Conn: phone, Target: request.Target{Profile: "sip"}})
}

func route(seal string) string { return "Route: <sip:sbc.example;lr;seal=" + seal + ">\r\n" }

func status(err error) int {
	var coded *request.Error
	if errors.As(err, &coded) {
		return coded.Code
	}
	return 0
}

// After a restart the seal alone tells both sides of a call; whoever changes it or takes it to another call gets 481.
func TestSeal(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	at := place{"w1": page, "udp:192.0.2.2:5060/l": phone}
	seal := sealed(t, newKeeper(t, at, "key"), page, phone)

	k := newKeeper(t, at, "key")
	r := received(t, phone, "INVITE", "p", "a", route(seal))
	if _, err := k.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if r.Profile != "sip" || len(r.Targets) != 1 || r.Targets[0].Profile != "webrtc" || r.Targets[0].Conn == nil || r.Targets[0].Conn.ID() != "w1" {
		t.Errorf("from %s to %+v", r.Profile, r.Targets)
	}
	if len(r.Msg.GetHeaders("Route")) != 0 {
		t.Error("the own Route goes on")
	}
	if confirmed, _ := k.Count(); confirmed != 1 {
		t.Errorf("%d dialogs", confirmed)
	}

	raw, _ := base64.RawURLEncoding.DecodeString(seal)
	raw[0] ^= 1
	for name, c := range map[string]struct{ from, to, seal, key string }{
		"changed":      {"p", "a", base64.RawURLEncoding.EncodeToString(raw), "key"},
		"other tag":    {"p", "z", seal, "key"},
		"other key":    {"p", "a", seal, "another"},
		"cut":          {"p", "a", seal[:10], "key"},
		"not base64":   {"p", "a", "!", "key"},
		"none":         {"p", "a", "", "key"},
		"long nothing": {"p", "a", strings.Repeat("A", 4000), "key"},
	} {
		k := newKeeper(t, at, c.key)
		_, err := k.Handle(context.Background(), received(t, phone, "INVITE", c.from, c.to, route(c.seal)))
		if status(err) != 481 {
			t.Errorf("%s: %v", name, err)
		}
		if confirmed, early := k.Count(); confirmed+early != 0 {
			t.Errorf("%s: a dialog was made", name)
		}
	}
}

// A page that has gone with an earlier run is never dialled.
func TestSealOfAPageThatIsGone(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	seal := sealed(t, newKeeper(t, place{"w1": page}, "key"), page, phone)
	k := newKeeper(t, place{"udp:192.0.2.2:5060/l": phone}, "key")
	r := received(t, phone, "BYE", "p", "a", route(seal))
	if _, err := k.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if c := r.Targets[0].Conn; c == nil || request.Alive(c) {
		t.Errorf("target %+v", r.Targets[0])
	}
}

// A dialog that has ended is not brought back by a late request with its seal.
func TestEndedDialogStaysEnded(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	k := newKeeper(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, "key")
	seal := sealed(t, k, page, phone)
	bye := received(t, phone, "BYE", "p", "a", route(seal))
	if _, err := k.Handle(context.Background(), bye); err != nil {
		t.Fatal(err)
	}
	for _, o := range bye.Observers {
		o.Finished(context.Background(), bye, &request.Branch{}, request.Outcome{Code: 200})
	}
	for _, tags := range [][2]string{{"p", "a"}, {"a", "p"}} {
		_, err := k.Handle(context.Background(), received(t, phone, "INFO", tags[0], tags[1], route(seal)))
		if status(err) != 481 {
			t.Errorf("%v: %v", tags, err)
		}
	}
	if confirmed, early := k.Count(); confirmed+early != 0 {
		t.Errorf("%d dialogs", confirmed+early)
	}
}

// Routes that a stranger puts in front of a new request do not lead around the dial plan.
func TestForeignRouteIsRemoved(t *testing.T) {
	page := newLine("w1", request.WSS)
	k := newKeeper(t, place{"w1": page}, "key")
	r := received(t, page, "INVITE", "a", "", "Route: <sip:sbc.example;lr>, <sip:victim.example;lr>\r\n")
	if _, err := k.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if routes, _ := request.Routes(r.Msg); len(routes) != 0 {
		t.Errorf("left: %v", routes)
	}
}

func TestDialogsAreBoundedAndExpire(t *testing.T) {
	page, phone := newLine("w1", request.WSS), newLine("udp:192.0.2.2:5060/l", request.UDP)
	k := newKeeper(t, place{"w1": page, "udp:192.0.2.2:5060/l": phone}, "key")
	if err := k.Configure(Config{Calls: 3}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		k.mu.Lock()
		k.enter(&Dialog{CallID: fmt.Sprint(i), A: Leg{Tag: "a", Conn: page}, B: Leg{Tag: "b", Conn: phone}, expires: time.Now()})
		k.mu.Unlock()
	}
	if confirmed, early := k.Count(); confirmed+early != 3 {
		t.Errorf("%d dialogs", confirmed+early)
	}
	k.mu.Lock()
	for d := range k.dialogs {
		k.drop(d)
	}
	left := len(k.byCall) + len(k.byConn)
	k.mu.Unlock()
	if left != 0 {
		t.Errorf("%d index entries left", left)
	}
}
