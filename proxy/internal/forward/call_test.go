package forward_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
)

func TestCallOverUDP(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)

	c := alice.call("bob")
	c.invite("X-Odd: ;;,, \"kept\"  as it is")
	alice.expect("SIP/2.0 100")
	inv := bob.expect("INVITE " + bob.contact())
	if got := inv.get("Max-Forwards"); got != "69" {
		t.Errorf("Max-Forwards %s", got)
	}
	if got := inv.get("X-Odd"); got != ";;,, \"kept\"  as it is" {
		t.Errorf("unknown header changed: %s", got)
	}
	if vias := inv.all("Via"); len(vias) != 2 || !strings.Contains(vias[1], "received=127.0.0.1") {
		t.Errorf("Via %q", vias)
	}
	if rr := inv.all("Record-Route"); len(rr) != 1 || !strings.Contains(rr[0], ";lr") || !strings.Contains(rr[0], ";seal=") {
		t.Errorf("Record-Route %q", rr)
	}
	bob.reply(inv, "180 Ringing", "b1", "")
	ringing := alice.expect("SIP/2.0 180")
	if vias := ringing.all("Via"); len(vias) != 1 {
		t.Errorf("Via of the response %q", vias)
	}
	bob.reply(inv, "200 OK", "b1", "v=0\r\n")
	c.established(alice.expect("SIP/2.0 200"))
	alice.send(c.request("ACK", "z9hG4bKack1", ""))
	ack := bob.expect("ACK " + bob.contact())
	if len(ack.all("Route")) != 0 {
		t.Errorf("our Route was left: %q", ack.all("Route"))
	}
	r.dialogs(1, 0)
	// The callee hangs up.
	back := bob.callee(inv, "b1")
	bob.send(back.request("BYE", "z9hG4bKbye1", ""))
	bye := alice.expect("BYE " + alice.contact())
	alice.reply(bye, "200 OK", "", "")
	bob.expect("SIP/2.0 200")
	r.dialogs(0, 0)
	r.idle()
}

func TestBusyIsAcknowledgedHopByHop(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	bob.reply(inv, "180 Ringing", "b1", "")
	bob.reply(inv, "486 Busy Here", "b1", "")
	busy := alice.expect("SIP/2.0 486")
	ack := bob.expect("ACK")
	if ack.get("Via") != inv.get("Via") || ack.get("CSeq") != "1 ACK" || ack.get("To") != busy.get("To") {
		t.Errorf("ACK does not fit the INVITE:\n%s", ack.text)
	}
	alice.expect("SIP/2.0 486") // Timer G repeats it until it is acknowledged
	c.to = busy.get("To")
	alice.send(c.request("ACK", c.branch, ""))
	bob.silent("ACK", 150*time.Millisecond) // the caller's ACK is not forwarded
	// A lost ACK: the callee repeats, the proxy acknowledges again and at once (sipgo waits 4 s).
	bob.reply(inv, "486 Busy Here", "b1", "")
	bob.expect("ACK")
	r.dialogs(0, 0)
	r.idle()
}

func TestCancelBeforeAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	// No provisional response yet: CANCEL is answered and kept.
	alice.send(c.request("CANCEL", c.branch, ""))
	ok := alice.expect("SIP/2.0 200")
	if ok.get("CSeq") != "1 CANCEL" {
		t.Errorf("CSeq %s", ok.get("CSeq"))
	}
	bob.silent("CANCEL", 100*time.Millisecond)
	alice.silent("SIP/2.0 487", 0)
	bob.reply(inv, "180 Ringing", "b1", "")
	cancel := bob.expect("CANCEL " + inv.uri())
	if cancel.get("Via") != inv.get("Via") || cancel.get("CSeq") != "1 CANCEL" {
		t.Errorf("CANCEL does not fit the INVITE:\n%s", cancel.text)
	}
	bob.reply(cancel, "200 OK", "b1", "")
	// sipgo would have made up a 487 by now; the callee has not said it.
	alice.silent("SIP/2.0 487", 150*time.Millisecond)
	bob.reply(inv, "487 Request Terminated", "b1", "")
	bob.expect("ACK")
	end := alice.expect("SIP/2.0 487")
	c.to = end.get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestCancelCrossesAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	bob.reply(inv, "180 Ringing", "b1", "")
	alice.expect("SIP/2.0 180")
	alice.send(c.request("CANCEL", c.branch, ""))
	alice.expect("SIP/2.0 200")
	bob.expect("CANCEL")
	bob.reply(inv, "200 OK", "b1", "v=0\r\n")
	answer := alice.expect("SIP/2.0 200")
	if answer.get("CSeq") != "1 INVITE" {
		t.Fatalf("not the answer: %s", answer.text)
	}
	alice.silent("SIP/2.0 487", 100*time.Millisecond)
	c.established(answer)
	alice.send(c.request("ACK", "z9hG4bKackx", ""))
	bob.expect("ACK")
	alice.send(c.request("BYE", "z9hG4bKbyex", ""))
	bob.reply(bob.expect("BYE"), "200 OK", "", "")
	r.idle()
}

func TestRepeatedAnswerIsForwarded(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	for range 3 {
		bob.reply(inv, "200 OK", "b1", "v=0\r\n")
		alice.expect("SIP/2.0 200")
	}
	// A fork further down answers as well: another dialog of the same branch.
	bob.reply(inv, "200 OK", "b2", "v=0\r\n")
	if tag := alice.expect("SIP/2.0 200").tag("To"); tag != "b2" {
		t.Errorf("tag %s", tag)
	}
	r.dialogs(2, 0)
	r.idle() // 64·T1
	bob.reply(inv, "200 OK", "b1", "v=0\r\n")
	alice.silent("SIP/2.0 200", 150*time.Millisecond) // stray now
}

func TestRetransmittedInviteIsAbsorbed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	bob.reply(inv, "180 Ringing", "b1", "")
	alice.expect("SIP/2.0 180")
	for range 3 {
		c.seq = 0
		c.invite()
		alice.expect("SIP/2.0 180")
	}
	bob.silent("INVITE", 100*time.Millisecond)
	bob.reply(inv, "603 Decline", "b1", "")
	c.to = alice.expect("SIP/2.0 603").get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	first := bob.expect("INVITE")
	if again := bob.expect("INVITE"); again.text != first.text {
		t.Errorf("the repetition differs:\n%s", again.text)
	}
	c.to = alice.expect("SIP/2.0 408").get("To") // Timer B
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestRingingForever(t *testing.T) {
	t.Parallel()
	o := options{timers: fast}
	o.forward.TimerC = 300 * time.Millisecond
	r := newRig(t, o)
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	begun := time.Now()
	c.invite()
	inv := bob.expect("INVITE")
	for range 3 { // each provisional response but 100 starts Timer C again
		bob.reply(inv, "180 Ringing", "b1", "")
		alice.expect("SIP/2.0 180")
		time.Sleep(150 * time.Millisecond)
	}
	cancel := bob.expect("CANCEL")
	if since := time.Since(begun); since < 600*time.Millisecond {
		t.Errorf("Timer C ran out after %v", since)
	}
	bob.reply(cancel, "200 OK", "b1", "")
	bob.reply(inv, "487 Request Terminated", "b1", "")
	c.to = alice.expect("SIP/2.0 408").get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestCalleeSilentAfterCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	bob.reply(bob.expect("INVITE"), "180 Ringing", "b1", "")
	alice.expect("SIP/2.0 180")
	alice.send(c.request("CANCEL", c.branch, ""))
	c.to = alice.expect("SIP/2.0 487").get("To") // after 64·T1, as RFC 3261 §9.1 allows
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestForkingInParallel(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob, carol := r.udp("alice"), r.udp("bob"), r.udp("carol")
	r.to("team", 0, bob, carol)
	c := alice.call("team")
	c.invite()
	i1, i2 := bob.expect("INVITE"), carol.expect("INVITE")
	bob.reply(i1, "180 Ringing", "b", "")
	carol.reply(i2, "180 Ringing", "c", "")
	alice.expect("SIP/2.0 180")
	alice.expect("SIP/2.0 180")
	carol.reply(i2, "200 OK", "c", "v=0\r\n")
	answer := alice.expect("SIP/2.0 200")
	if answer.tag("To") != "c" {
		t.Errorf("answered by %s", answer.tag("To"))
	}
	cancel := bob.expect("CANCEL")
	bob.reply(cancel, "200 OK", "b", "")
	bob.reply(i1, "487 Request Terminated", "b", "")
	bob.expect("ACK")
	alice.silent("SIP/2.0 487", 100*time.Millisecond)
	c.established(answer)
	alice.send(c.request("ACK", "z9hG4bKackf", ""))
	carol.expect("ACK")
	bob.silent("ACK", 50*time.Millisecond)
	r.dialogs(1, 0)
	r.idle()
}

func TestForkingInTurnAndBestResponse(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob, carol, dave := r.udp("alice"), r.udp("bob"), r.udp("carol"), r.udp("dave")
	r.to("team", 900, bob)
	r.to("team", 500, carol, dave)
	c := alice.call("team")
	c.invite()
	inv := bob.expect("INVITE")
	carol.silent("INVITE", 100*time.Millisecond)
	bob.reply(inv, "480 Temporarily Unavailable", "b", "")
	i1, i2 := carol.expect("INVITE"), dave.expect("INVITE")
	carol.reply(i1, "401 Unauthorized", "c", "", `WWW-Authenticate: Digest realm="c"`)
	alice.silent("SIP/2.0 4", 100*time.Millisecond)
	dave.reply(i2, "407 Proxy Authentication Required", "d", "", `Proxy-Authenticate: Digest realm="d"`)
	best := alice.expect("SIP/2.0 40")
	if best.get("WWW-Authenticate") != `Digest realm="c"` || best.get("Proxy-Authenticate") != `Digest realm="d"` {
		t.Errorf("challenges are not collected:\n%s", best.text)
	}
	c.to = best.get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestDeclineEndsAllBranches(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob, carol := r.udp("alice"), r.udp("bob"), r.udp("carol")
	r.to("team", 0, bob, carol)
	r.to("team", -1, r.udp("nobody"))
	c := alice.call("team")
	c.invite()
	i1, i2 := bob.expect("INVITE"), carol.expect("INVITE")
	carol.reply(i2, "180 Ringing", "c", "")
	bob.reply(i1, "603 Decline", "b", "")
	carol.expect("CANCEL")
	alice.silent("SIP/2.0 603", 100*time.Millisecond) // carol may still have answered
	carol.reply(i2, "487 Request Terminated", "c", "")
	c.to = alice.expect("SIP/2.0 603").get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestServiceUnavailableBecomes500(t *testing.T) {
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	bob.reply(bob.expect("INVITE"), "503 Service Unavailable", "b", "", "Retry-After: 3600")
	res := alice.expect("SIP/2.0 500")
	if res.get("Retry-After") != "" {
		t.Error("Retry-After of another server passed on")
	}
	c.to = res.get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestBrowserCallsPhoneAndIsCalledBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)

	c := web.call("phone")
	c.invite()
	inv := phone.expect("INVITE")
	rr := inv.all("Record-Route")
	if len(rr) != 2 || strings.Contains(rr[0], "transport=ws") || !strings.Contains(rr[1], "transport=ws") ||
		!strings.Contains(rr[0], ";r2=on") || !strings.Contains(rr[1], ";r2=on") {
		t.Fatalf("no double Record-Route: %q", rr)
	}
	phone.reply(inv, "200 OK", "p", "v=0\r\n")
	c.established(web.expect("SIP/2.0 200"))
	web.send(c.request("ACK", "z9hG4bKackw", ""))
	if ack := phone.expect("ACK"); len(ack.all("Route")) != 0 {
		t.Errorf("routes left: %q", ack.all("Route"))
	}
	// re-INVITE from the phone: its Contact for the browser is nothing one could connect to.
	back := phone.callee(inv, "p")
	phone.send(back.request("INVITE", "z9hG4bKre", "v=0\r\n"))
	re := web.expect("INVITE " + web.contact())
	web.reply(re, "200 OK", "", "v=0\r\n")
	phone.expect("SIP/2.0 200")
	phone.send(back.request("ACK", "z9hG4bKreack", ""))
	web.expect("ACK")
	phone.send(back.request("BYE", "z9hG4bKbyep", ""))
	web.reply(web.expect("BYE"), "200 OK", "", "")
	phone.expect("SIP/2.0 200")

	// And the other way.
	web.send(web.call("web").request("REGISTER", "z9hG4bKreg", ""))
	web.expect("SIP/2.0 200")
	c = phone.call("web")
	c.invite()
	winv := web.expect("INVITE")
	web.reply(winv, "180 Ringing", "w", "")
	web.reply(winv, "200 OK", "w", "v=0\r\n")
	phone.expect("SIP/2.0 180")
	c.established(phone.expect("SIP/2.0 200"))
	phone.send(c.request("ACK", "z9hG4bKackp", ""))
	web.expect("ACK")
	phone.send(c.request("BYE", "z9hG4bKbyeq", ""))
	web.reply(web.expect("BYE"), "200 OK", "", "")
	phone.expect("SIP/2.0 200")
	r.idle()
}

func TestBrowserGoneInMidCall(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Grace: 100 * time.Millisecond}})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	c := web.call("phone")
	c.invite()
	inv := phone.expect("INVITE")
	phone.reply(inv, "200 OK", "p", "v=0\r\n")
	c.established(web.expect("SIP/2.0 200"))
	web.send(c.request("ACK", "z9hG4bKackg", ""))
	phone.expect("ACK")
	web.close()
	bye := phone.expect("BYE " + phone.contact())
	if bye.get("CSeq") != "2 BYE" || bye.get("From") != inv.get("From") || bye.tag("To") != "p" {
		t.Errorf("BYE does not belong to the dialog:\n%s", bye.text)
	}
	phone.reply(bye, "200 OK", "", "")
	// A request of the phone for the browser gets its answer at once.
	back := phone.callee(inv, "p")
	phone.send(back.request("INFO", "z9hG4bKinfo", ""))
	phone.expect("SIP/2.0 48")
	r.idle()
	r.dialogs(0, 0)
}

func TestBrowserGoneWhileRinging(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	c := web.call("phone")
	c.invite()
	inv := phone.expect("INVITE")
	phone.reply(inv, "180 Ringing", "p", "")
	web.expect("SIP/2.0 180")
	web.close()
	cancel := phone.expect("CANCEL")
	// The phone has answered meanwhile: nobody hears it, so the proxy acknowledges and hangs up.
	phone.reply(cancel, "200 OK", "p", "")
	phone.reply(inv, "200 OK", "p", "v=0\r\n")
	if ack := phone.expect("ACK"); ack.get("CSeq") != "1 ACK" {
		t.Errorf("ACK %s", ack.get("CSeq"))
	}
	phone.reply(phone.expect("BYE"), "200 OK", "", "")
	r.idle()
	r.dialogs(0, 0)
}

func TestCalledBrowserGoneIsToldAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{}) // RFC timers: a timeout would take 32 s
	web, phone := r.ws("web"), r.udp("phone")
	web.send(web.call("web").request("REGISTER", "z9hG4bKreg2", ""))
	web.expect("SIP/2.0 200")
	c := phone.call("web")
	c.invite()
	web.expect("INVITE")
	web.close()
	phone.expect("SIP/2.0 480")
	c = phone.call("web")
	c.invite()
	phone.expect("SIP/2.0 480")
}

func TestCallSurvivesRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	bob.reply(inv, "200 OK", "b1", "v=0\r\n")
	c.established(alice.expect("SIP/2.0 200"))
	alice.send(c.request("ACK", "z9hG4bKackr", ""))
	bob.expect("ACK")
	again := newRig(t, options{timers: fast})
	// The new proxy has the old one's address in real life; here the Route is moved to the new one.
	for i := range c.routes {
		c.routes[i] = strings.Replace(c.routes[i], r.at["udp"].String(), again.at["udp"].String(), 1)
	}
	alice2, bob2 := again.adopt(alice), again.adopt(bob)
	alice2.send(c.request("INFO", "z9hG4bKinfor", ""))
	bob2.reply(bob2.expect("INFO"), "200 OK", "", "")
	alice2.expect("SIP/2.0 200")
	again.dialogs(1, 0)
	// A seal of another call opens nothing: the proxy is no open relay.
	evil := alice2.call("bob")
	evil.to, evil.target, evil.routes = "<sip:x@test>;tag=guess", bob.contact(), c.routes
	alice2.send(evil.request("INVITE", "z9hG4bKevil", "v=0\r\n"))
	alice2.expect("SIP/2.0 481")
	bob2.silent("INVITE", 100*time.Millisecond)
}
