//go:build integration

package behaviours

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
)

// secret is a registered phone of the side that is to see nothing.
func (s *site) secret(t *testing.T) *peer {
	t.Helper()
	p := s.udp(t, s.user(), s.net+".60:0", s.listener(3))
	p.register()
	return p
}

// shows fails when a message names one of the words, also in base64.
func shows(t *testing.T, m msg, words ...string) {
	t.Helper()
	text := m.text
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ;=<>:@,\r\n", r) }) {
		for skip := range min(4, len(part)) {
			if raw, err := base64.RawURLEncoding.DecodeString(part[skip:]); err == nil {
				text += string(raw)
			}
		}
	}
	for _, w := range words {
		if strings.Contains(text, w) {
			t.Errorf("%q is to be seen in\n%s", w, m.text)
		}
	}
}

func TestTopologyHiding(t *testing.T) {
	s := start(t)
	each(t, s, "", []behaviour{
		{1, "callee sees the proxy only", hiddenFromCallee},
		{2, "caller sees the proxy only", hiddenFromCaller},
		{3, "both sides see the proxy only", hiddenFromBoth},
		{4, "forged Contact leads nowhere", forgedContact},
		{5, "transfer to a hidden Contact", transferToHidden},
		{6, "refusals and CANCEL", refusedAndCancelled},
		{7, "stream and browser", hiddenOverTCP},
		{8, "subscription", hiddenSubscription},
	})
	// Last, as it stops the proxy: the calls know their way without it.
	t.Run("restart", func(t *testing.T) { hiddenOverRestart(t, s) })
}

// throughProxies makes a call whose caller and callee stand behind one more proxy each, which have recorded themselves.
func throughProxies(t *testing.T, caller, callee *peer) established {
	t.Helper()
	c := caller.call(callee.aor())
	c.callID, _, _ = strings.Cut(c.callID, "@") // which is never hidden
	rr := "<sip:" + caller.host + ";lr;edge=caller>"
	c.invite(plain(), "Record-Route: "+rr, "Via: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKinner")
	e := established{caller: c, invite: callee.expect("INVITE ")}
	e.callee = callee.callee(e.invite, "callee")
	own := "Record-Route: <sip:" + callee.host + ";lr;edge=callee>\r\n"
	callee.send(strings.Replace(callee.response(e.invite, "200 OK", "callee", plain()), "Record-Route: ", own+"Record-Route: ", 1))
	e.ok = caller.expect("SIP/2.0 200")
	if vias := e.ok.all("Via"); len(vias) != 2 || vias[1] != "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKinner" {
		t.Errorf("the caller's Vias are %q", vias)
	}
	if rrs := e.ok.all("Record-Route"); len(rrs) == 0 || rrs[len(rrs)-1] != rr {
		t.Errorf("the caller's own Record-Route is not last in %q", rrs)
	}
	c.learn(e.ok)
	c.routes = c.routes[1:] // its own proxy's
	caller.send(c.request("ACK", body{}))
	e.behind(t, "ACK ")
	return e
}

// behind is a request at the callee, with the real target and the route through the callee's proxy.
func (e established) behind(t *testing.T, method string) msg {
	t.Helper()
	callee := e.callee.p
	m := callee.expect(method)
	if m.uri() != callee.contact() || fmt.Sprint(m.all("Route")) != "[<sip:"+callee.host+";lr;edge=callee>]" {
		t.Errorf("the callee's proxy got\n%s", m.text)
	}
	return m
}

// before is a request at the caller.
func (e established) before(t *testing.T, method string) msg {
	t.Helper()
	caller := e.caller.p
	m := caller.expect(method)
	if m.uri() != caller.contact() || fmt.Sprint(m.all("Route")) != "[<sip:"+caller.host+";lr;edge=caller>]" {
		t.Errorf("the caller's proxy got\n%s", m.text)
	}
	return m
}

// talk sends requests both ways and ends the call from the callee's side.
func (e established) talk(t *testing.T) {
	t.Helper()
	caller, callee := e.caller.p, e.callee.p
	caller.send(e.caller.request("INVITE", plain("a=sendonly")))
	m := e.behind(t, "INVITE ")
	callee.reply(m, "200 OK", plain("a=recvonly"))
	caller.expect("SIP/2.0 200")
	caller.send(e.caller.request("ACK", body{}))
	e.behind(t, "ACK ")
	callee.send(e.callee.request("INVITE", plain()))
	m = e.before(t, "INVITE ")
	caller.reply(m, "200 OK", plain())
	callee.expect("SIP/2.0 200")
	callee.send(e.callee.request("ACK", body{}))
	e.before(t, "ACK ")
	e.end(t)
}

func (e established) end(t *testing.T) {
	t.Helper()
	callee := e.callee.p
	callee.send(e.callee.request("BYE", body{}))
	e.caller.p.reply(e.before(t, "BYE "), "200 OK", body{})
	callee.expect("SIP/2.0 200")
}

func hiddenFromCallee(t *testing.T, s *site) {
	carrier, secret := s.carrier(t), s.secret(t)
	e := throughProxies(t, carrier, secret)
	host, _, _ := net.SplitHostPort(carrier.host)
	shows(t, e.invite, host, s.net+".1:", "10.1.1.1", "edge=caller")
	if n := len(e.invite.all("Via")) + len(e.invite.all("Record-Route")) + len(e.invite.all("Contact")); n != 3 {
		t.Errorf("more than one of each in\n%s", e.invite.text)
	}
	e.talk(t)
	s.released(t, e.caller.callID)
}

func hiddenFromCaller(t *testing.T, s *site) {
	secret, phone := s.secret(t), s.phone(t)
	e := throughProxies(t, secret, phone)
	host, _, _ := net.SplitHostPort(phone.host)
	shows(t, e.ok, host+":", s.net+".1:", "edge=callee")
	e.talk(t)
}

func hiddenFromBoth(t *testing.T, s *site) {
	a, b := s.secret(t), s.secret(t)
	e := throughProxies(t, a, b)
	shows(t, e.invite, a.host, "edge=caller")
	shows(t, e.ok, b.host, "edge=callee")
	e.talk(t)
}

func forgedContact(t *testing.T, s *site) {
	secret, phone := s.secret(t), s.phone(t)
	e := secret.connect(phone, plain(), plain())
	good := e.caller.target
	for _, bad := range []string{strings.Replace(good, "th-", "th-A", 1), strings.Replace(good, "th-", "th-!", 1), "sip:th-@" + s.listener(3)} {
		c := secret.call(bad)
		c.begin("MESSAGE", body{"text/plain", "x"})
		if res := secret.final(); res.code() < 400 {
			t.Errorf("%s: %s", bad, res.start())
		}
	}
	// Also the right one is no way around the dial plan.
	c := secret.call(good)
	c.begin("MESSAGE", body{"text/plain", "x"})
	if res := secret.final(); res.code() != 404 && res.code() != 403 {
		t.Errorf("outside of its dialog: %s", res.start())
	}
	phone.none("MESSAGE ")
	e.caller.hangUp(phone)
}

func hiddenOverRestart(t *testing.T, s *site) {
	carrier, secret := s.carrier(t), s.secret(t)
	e := throughProxies(t, carrier, secret)
	back := throughProxies(t, secret, s.phone(t))
	stop(t, s.proxy)
	s.run(t)
	carrier.send(e.caller.request("INFO", body{}))
	secret.reply(e.behind(t, "INFO "), "200 OK", body{})
	carrier.expect("SIP/2.0 200")
	e.end(t)
	back.talk(t)
}

// transferToHidden has a phone that sends another one to a Contact that it knows from the proxy only.
func transferToHidden(t *testing.T, s *site) {
	secret, page, other := s.secret(t), s.page(t), s.secret(t)
	transfer(t, secret, page, other)
}

// refusedAndCancelled has failures and CANCEL pass between the sides.
func refusedAndCancelled(t *testing.T, s *site) {
	carrier, secret := s.carrier(t), s.secret(t)
	for _, sides := range [][2]*peer{{carrier, secret}, {secret, s.phone(t)}, {secret, s.secret(t)}} {
		caller, callee := sides[0], sides[1]
		c := caller.call(callee.aor())
		c.invite(plain())
		callee.reply(callee.expect("INVITE "), "486 Busy Here", body{})
		callee.expect("ACK ")
		res := caller.expect("SIP/2.0 486")
		if vias := res.all("Via"); len(vias) != 1 || !strings.Contains(vias[0], "branch="+c.branch) {
			t.Errorf("Via %q", vias)
		}
		c.ackFailure(res)
		c = caller.call(callee.aor())
		c.invite(plain())
		inv := callee.expect("INVITE ")
		callee.reply(inv, "180 Ringing", body{})
		caller.expect("SIP/2.0 180")
		caller.send(c.request("CANCEL", body{}))
		cancel := callee.expect("CANCEL ")
		if cancel.get("Via") != inv.get("Via") || cancel.uri() != inv.uri() {
			t.Errorf("CANCEL\n%sis none of\n%s", cancel.text, inv.text)
		}
		callee.reply(cancel, "200 OK", body{})
		callee.reply(inv, "487 Request Terminated", body{})
		callee.expect("ACK ")
		c.ackFailure(caller.expect("SIP/2.0 487"))
	}
}

// hiddenOverTCP has the hidden side on a stream and the other one in a browser.
func hiddenOverTCP(t *testing.T, s *site) {
	secret, page := s.tcp(t, s.user(), s.net+".60:0", s.listener(3)), s.page(t)
	secret.register()
	e := page.connect(secret, web(), plain())
	like(t, e.invite, avp)
	shows(t, e.invite, page.host+";", fmt.Sprintf(":%d", wsPort))
	if rr := e.invite.all("Record-Route"); len(rr) != 1 || !strings.Contains(rr[0], ";transport=tcp") {
		t.Errorf("Record-Route %q", rr)
	}
	offered, answered := e.callee.reinvite(page, plain(), webAnswer())
	like(t, offered, savpf)
	like(t, answered, avp)
	e.caller.hangUp(secret)
	e = secret.connect(page, plain(), webAnswer())
	shows(t, e.ok, page.host, fmt.Sprintf(":%d", wsPort))
	e.callee.hangUp(secret)
	s.released(t, e.caller.callID)
}

func hiddenSubscription(t *testing.T, s *site) {
	carrier, secret := s.carrier(t), s.secret(t)
	c := carrier.call(secret.aor())
	c.begin("SUBSCRIBE", body{}, "Event: dialog", "Expires: 600")
	sub := secret.expect("SUBSCRIBE ")
	secret.reply(sub, "200 OK", body{}, "Expires: 600")
	c.learn(carrier.expect("SIP/2.0 200"))
	d := secret.callee(sub, "callee")
	secret.send(d.request("NOTIFY", body{"text/plain", "x"}, "Event: dialog", "Subscription-State: active"))
	n := carrier.expect("NOTIFY ")
	if n.uri() != carrier.contact() || n.body() != "x" {
		t.Errorf("the carrier got\n%s", n.text)
	}
	carrier.reply(n, "200 OK", body{})
	secret.expect("SIP/2.0 200")
	carrier.send(c.request("SUBSCRIBE", body{}, "Event: dialog", "Expires: 0"))
	if again := secret.expect("SUBSCRIBE "); again.uri() != secret.contact() {
		t.Errorf("the phone got\n%s", again.text)
	}
}
