package forward_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// crossed is a call whose CANCEL and 200 have crossed; the caller has seen the 200.
func crossed(t *testing.T, o options) (r *rig, alice, bob *ua, c *call, inv msg) {
	t.Helper()
	r = newRig(t, o)
	alice, bob = r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c = alice.call("bob")
	c.invite()
	inv = bob.expect("INVITE")
	bob.reply(inv, "180 Ringing", "b1", "")
	alice.expect("SIP/2.0 180")
	alice.send(c.request("CANCEL", c.branch, ""))
	alice.expect("SIP/2.0 200")
	bob.expect("CANCEL")
	bob.reply(inv, "200 OK", "b1", "v=0\r\n")
	answer := alice.expect("SIP/2.0 200")
	c.established(answer)
	return r, alice, bob, c, inv
}

// JsSIP takes a 200 that crosses its CANCEL for void: no ACK, no BYE. The callee must not stay off-hook for that.
func TestCrossedAnswerWithoutAckIsEnded(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	r, alice, bob, c, inv := crossed(t, options{timers: fast, dialog: dialog.Config{Acknowledge: 150 * time.Millisecond}, log: zap.New(core)})
	bob.silent("BYE", 80*time.Millisecond) // the caller has its time
	ack := bob.expect("ACK " + bob.contact())
	if ack.get("CSeq") != "1 ACK" || ack.get("From") != inv.get("From") || ack.tag("To") != "b1" {
		t.Errorf("ACK does not belong to the dialog:\n%s", ack.text)
	}
	bye := bob.expect("BYE " + bob.contact())
	if bye.get("CSeq") != "2 BYE" || bye.get("From") != inv.get("From") || bye.tag("To") != "b1" || len(bye.all("Route")) != 0 {
		t.Errorf("BYE does not belong to the dialog:\n%s", bye.text)
	}
	// Now the caller wakes up: its ACK is late and goes nowhere, its BYE is what it wanted.
	alice.send(c.request("ACK", "z9hG4bKlateack", ""))
	alice.send(c.request("BYE", "z9hG4bKlatebye", ""))
	if ok := alice.expect("SIP/2.0 200"); !strings.HasSuffix(ok.get("CSeq"), " BYE") {
		t.Errorf("not the answer to BYE:\n%s", ok.text)
	}
	bob.silent("ACK", 50*time.Millisecond)
	bob.reply(bye, "200 OK", "", "")
	r.idle()
	bob.only(bye)
	alice.send(c.request("BYE", "z9hG4bKlatebye2", ""))
	alice.expect("SIP/2.0 481")
	r.dialogs(0, 0)
	ended := logs.FilterMessage("call ended").All()
	if logs.FilterMessage("call set up").Len() != 1 || len(ended) != 1 {
		t.Fatalf("log: %v", logs.All())
	}
	if by := ended[0].ContextMap()["by"]; by != "proxy: cancelled, answer not acknowledged" {
		t.Errorf("ended by %v", by)
	}
}

// byes counts the BYEs the media policy sees: by each it deletes the call's media.
type byes struct{ atomic.Int64 }

func (b *byes) Outgoing(_ context.Context, r *request.Request, _ *request.Branch) error {
	if r.Msg.Method == sip.BYE && !r.Shared {
		b.Add(1)
	}
	return nil
}
func (*byes) Incoming(context.Context, *request.Request, *request.Branch, *sip.Response) error {
	return nil
}
func (*byes) Finished(context.Context, *request.Request, *request.Branch, request.Outcome) {}

// The same with a page as the caller, which stays registered and silent; the media policy hears of the end.
func TestCrossedAnswerOfASilentPage(t *testing.T) {
	t.Parallel()
	media := &byes{}
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Acknowledge: 100 * time.Millisecond}, observer: media})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	c := web.call("phone")
	c.invite()
	inv := phone.expect("INVITE")
	phone.reply(inv, "180 Ringing", "p", "")
	web.expect("SIP/2.0 180")
	web.send(c.request("CANCEL", c.branch, ""))
	web.expect("SIP/2.0 200")
	phone.reply(phone.expect("CANCEL"), "200 OK", "p", "")
	for range 3 { // until it is acknowledged
		phone.reply(inv, "200 OK", "p", "v=0\r\n")
		web.expect("SIP/2.0 200")
	}
	phone.expect("ACK")
	bye := phone.expect("BYE")
	phone.reply(bye, "200 OK", "", "")
	r.dialogs(0, 0)
	phone.reply(inv, "200 OK", "p", "v=0\r\n") // the last of its repetitions
	r.idle()
	phone.only(bye)
	r.dialogs(0, 0)
	if n := media.Load(); n != 1 {
		t.Errorf("the media end %d times", n)
	}
}

// The 200 has gone upstream when the CANCEL comes: they cross between caller and proxy.
func TestCancelAfterTheAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Acknowledge: 100 * time.Millisecond}})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	c := web.call("phone")
	c.invite()
	inv := phone.expect("INVITE")
	phone.reply(inv, "200 OK", "p", "v=0\r\n")
	web.expect("SIP/2.0 200")
	web.send(c.request("CANCEL", c.branch, ""))
	web.expect("SIP/2.0 200")
	phone.silent("CANCEL", 50*time.Millisecond)
	phone.expect("ACK")
	phone.reply(phone.expect("BYE"), "200 OK", "", "")
	r.dialogs(0, 0)
	r.idle()
}

// A page that goes away after the answer but before its ACK: the phone is acknowledged before it is hung up.
func TestPageGoneBeforeAck(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Grace: 50 * time.Millisecond}})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	web.call("phone").invite()
	inv := phone.expect("INVITE")
	phone.reply(inv, "200 OK", "p", "v=0\r\n")
	web.expect("SIP/2.0 200")
	web.close()
	for !strings.HasPrefix(phone.next(), "ACK ") { // INVITEs may have been repeated
	}
	bye := phone.expect("BYE")
	phone.reply(bye, "200 OK", "", "")
	r.dialogs(0, 0)
	r.idle()
	phone.only(bye)
}

// next is the next message, whatever it is; a BYE fails the test.
func (u *ua) next() string {
	u.t.Helper()
	select {
	case m := <-u.in:
		if strings.HasPrefix(m, "BYE ") {
			u.t.Fatalf("%s: BYE too early", u.name)
		}
		return m
	case <-time.After(3 * time.Second):
		u.t.Fatalf("%s: nothing comes", u.name)
		return ""
	}
}

// A caller who does acknowledge, as RFC 3261 §9.1 asks, hangs up by itself.
func TestCrossedAnswerWithAckIsLeftAlone(t *testing.T) {
	t.Parallel()
	r, alice, bob, c, _ := crossed(t, options{timers: fast, dialog: dialog.Config{Acknowledge: 100 * time.Millisecond}})
	alice.send(c.request("ACK", "z9hG4bKinTime", ""))
	bob.expect("ACK")
	bob.silent("BYE", 250*time.Millisecond)
	alice.send(c.request("BYE", "z9hG4bKbyeInTime", ""))
	bob.reply(bob.expect("BYE"), "200 OK", "", "")
	alice.expect("SIP/2.0 200")
	r.idle()
}

// One line when a call is set up and one when it ends, with tags, duration and who ended it.
func TestCallsAreLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	r := newRig(t, options{timers: fast, log: zap.New(core)})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	for _, by := range []string{"caller", "callee"} {
		c, inv := r.established(alice, bob)
		time.Sleep(20 * time.Millisecond)
		if by == "caller" {
			alice.send(c.request("BYE", c.branch+"bye", ""))
			bob.reply(bob.expect("BYE"), "200 OK", "", "")
			alice.expect("SIP/2.0 200")
		} else {
			bob.send(bob.callee(inv, "b").request("BYE", c.branch+"bye", ""))
			alice.reply(alice.expect("BYE"), "200 OK", "", "")
			bob.expect("SIP/2.0 200")
		}
		r.dialogs(0, 0)
		lines := logs.FilterField(zap.String("call-id", c.id)).FilterField(zap.String("to-tag", "b")).All()
		if len(lines) != 2 || lines[0].Message != "call set up" || lines[1].Message != "call ended" {
			t.Fatalf("lines of the call: %v", lines)
		}
		fields := lines[1].ContextMap()
		if d, _ := fields["duration"].(time.Duration); fields["by"] != by || d < 20*time.Millisecond || d > 5*time.Second {
			t.Errorf("ended: %v", fields)
		}
	}
}

// only checks that what came with the method of req since are repetitions of it.
func (u *ua) only(req msg) {
	u.t.Helper()
	for len(u.in) > 0 {
		u.held = append(u.held, <-u.in)
	}
	for _, h := range u.held {
		if strings.HasPrefix(h, strings.Fields(req.start())[0]+" ") && (msg{h}).get("Via") != req.get("Via") {
			u.t.Errorf("%s: another one:\n%s", u.name, h)
		}
	}
}

// established is a call between two UAs, acknowledged; the callee's tag is "b".
func (r *rig) established(from, to *ua) (*call, msg) {
	r.t.Helper()
	c := from.call(to.name)
	c.invite()
	inv := to.expect("INVITE")
	to.reply(inv, "200 OK", "b", "v=0\r\n")
	c.established(from.expect("SIP/2.0 200"))
	from.send(c.request("ACK", c.branch+"ack", ""))
	to.expect("ACK")
	return c, inv
}

// A UA that has lost the remote target and all routes: the proxy knows where its peer is and does not send to itself.
func TestRequestURIIsTheProxy(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c, _ := r.established(alice, bob)
	c.target, c.routes = "sip:bob@"+r.at["udp"].String(), nil
	alice.send(c.request("BYE", "z9hG4bKlost", ""))
	bye := bob.expect("BYE " + bob.contact())
	bob.reply(bye, "200 OK", "", "")
	alice.expect("SIP/2.0 200")
	// In a dialog nobody knows it is refused at once.
	c.to = "<sip:bob@test>;tag=unknown"
	alice.send(c.request("BYE", "z9hG4bKlost2", ""))
	alice.expect("SIP/2.0 481")
	r.idle()
}
