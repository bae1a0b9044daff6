package chain

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// answers keeps the codes that were sent.
type answers struct{ codes []int }

func (a *answers) Send(res *sip.Response) error {
	a.codes = append(a.codes, res.StatusCode)
	return nil
}

func received(t *testing.T, method, tag string) (*request.Request, *answers) {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(method + " sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>" +
		tag + "\r\nCall-ID: c\r\nCSeq: 1 " + method + "\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := &answers{}
	return &request.Request{Msg: msg.(*sip.Request), Original: msg.(*sip.Request), InDialog: tag != "", Responder: a, Log: zap.NewNop()}, a
}

func TestOrder(t *testing.T) {
	var walked []string
	step := func(name string) request.Step {
		return request.StepFunc(func(context.Context, *request.Request) (request.Verdict, error) {
			walked = append(walked, name)
			if name == "forward" || name == "registrar" {
				return request.Done, nil
			}
			return request.Continue, nil
		})
	}
	c := New(Steps{
		Screen: step("screen"), Dialog: step("dialog"), Auth: step("auth"), Registrar: step("registrar"),
		Route: step("route"), Bridge: step("bridge"), Forward: step("forward"),
	})
	for _, e := range []struct{ method, tag, want string }{
		{"INVITE", "", "screen dialog auth route bridge forward"},
		{"INVITE", ";tag=2", "screen dialog bridge forward"}, // who is in a dialog was let in before
		{"BYE", ";tag=2", "screen dialog bridge forward"},
		{"ACK", ";tag=2", "screen dialog bridge forward"},
		{"ACK", "", ""},
		{"REGISTER", "", "screen dialog auth registrar"},
		{"REGISTER", ";tag=2", "screen dialog bridge forward"},
		{"MESSAGE", "", "screen dialog auth route bridge forward"},
	} {
		walked = nil
		r, a := received(t, e.method, e.tag)
		c.Request(context.Background(), r)
		if got := strings.Join(walked, " "); got != e.want || len(a.codes) != 0 {
			t.Errorf("%s %s: walked %q, answered %v", e.method, e.tag, got, a.codes)
		}
	}
	walked = nil
	r, _ := received(t, "BYE", ";tag=2")
	c.Resume(context.Background(), r)
	if got := strings.Join(walked, " "); got != "bridge forward" {
		t.Errorf("a request made here walks %q", got)
	}
}

func TestErrorsAreAnswered(t *testing.T) {
	for _, e := range []struct {
		method string
		err    error
		want   int
	}{
		{"INVITE", request.Fail(483, "Too Many Hops", nil), 483},
		{"INVITE", errors.New("disk full"), 500},
		{"ACK", request.Fail(483, "Too Many Hops", nil), 0}, // ACK is never answered
	} {
		c := New(Steps{
			Screen: request.StepFunc(func(context.Context, *request.Request) (request.Verdict, error) { return request.Done, e.err }),
			Forward: request.StepFunc(func(context.Context, *request.Request) (request.Verdict, error) {
				t.Error("the chain went on")
				return request.Done, nil
			}),
		})
		r, a := received(t, e.method, ";tag=2")
		c.Request(context.Background(), r)
		if (e.want == 0) != (len(a.codes) == 0) || (e.want != 0 && a.codes[0] != e.want) {
			t.Errorf("%s %v: answered %v", e.method, e.err, a.codes)
		}
	}
	r, a := received(t, "REGISTER", "")
	pass := request.StepFunc(func(context.Context, *request.Request) (request.Verdict, error) { return request.Continue, nil })
	New(Steps{Screen: pass}).Request(context.Background(), r)
	if len(a.codes) != 1 || a.codes[0] != 405 {
		t.Errorf("without registrar: %v", a.codes)
	}
}
