//go:build integration

package behaviours

import (
	"strings"
	"testing"
)

// core is what else passes through a proxy for calls.
func core() []behaviour {
	return []behaviour{
		{1, "attended transfer to a browser's Contact", transferToPage},
		{2, "blind transfer by a browser", blindTransfer},
		{3, "subscription and its notifications", subscription},
		{4, "INFO and MESSAGE within a call", withinCall},
		{5, "serial forking goes on after a refusal", inTurn},
		{6, "call between IPv4 and a browser and IPv6", families},
	}
}

func transferToPage(t *testing.T, s *site) {
	transfer(t, s.phone(t), s.page(t), s.phone(t))
}

// transfer lets a peer that has calls with two others connect them (RFC 5589 §7).
func transfer(t *testing.T, by, page, other *peer) {
	t.Helper()
	first := by.connect(page, plain(), webAnswer())
	second := by.connect(other, plain(), plain())
	tag := func(v string) string { _, tag, _ := strings.Cut(v, ";tag="); return tag }
	replaces := first.caller.callID + ";to-tag=" + tag(first.caller.remote) + ";from-tag=" + tag(first.caller.local)
	referTo := "<" + first.caller.target + "?Replaces=" + strings.NewReplacer(";", "%3B", "=", "%3D", "@", "%40").Replace(replaces) + ">"
	by.send(second.caller.request("REFER", body{}, "Refer-To: "+referTo))
	refer := other.expect("REFER ")
	if refer.get("Refer-To") != referTo {
		t.Errorf("Refer-To %s", refer.get("Refer-To"))
	}
	other.reply(refer, "202 Accepted", body{})
	by.expect("SIP/2.0 202")

	target, _, _ := strings.Cut(between(refer.get("Refer-To")), "?")
	third := other.call(target)
	third.invite(plain(), "Replaces: "+replaces)
	inv := page.expect("INVITE ")
	like(t, inv, savpf)
	if inv.get("Replaces") != replaces || inv.uri() != page.contact() {
		t.Errorf("the page got\n%s", inv.text)
	}
	taken := page.accept(inv, webAnswer())
	res := other.expect("SIP/2.0 200")
	like(t, res, avp)
	third.confirm(res, body{})
	page.expect("ACK ")
	first.callee.hangUp(by)
	other.send(second.callee.request("NOTIFY", body{"message/sipfrag", "SIP/2.0 200 OK"}, "Event: refer", "Subscription-State: terminated"))
	notify := by.expect("NOTIFY ")
	if notify.body() != "SIP/2.0 200 OK" {
		t.Errorf("sipfrag %q", notify.body())
	}
	by.reply(notify, "200 OK", body{})
	other.expect("SIP/2.0 200")
	second.caller.hangUp(other)
	taken.hangUp(other)
}

func blindTransfer(t *testing.T, s *site) {
	page, phone, third := s.page(t), s.phone(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	page.send(e.caller.request("REFER", body{}, "Refer-To: <"+third.aor()+">", "Referred-By: <"+page.aor()+">"))
	phone.reply(phone.expect("REFER "), "202 Accepted", body{})
	page.expect("SIP/2.0 202")
	n := phone.connect(third, plain(), plain())
	phone.send(e.callee.request("NOTIFY", body{"message/sipfrag", "SIP/2.0 200 OK"}, "Event: refer", "Subscription-State: terminated"))
	page.reply(page.expect("NOTIFY "), "200 OK", body{})
	phone.expect("SIP/2.0 200")
	e.caller.hangUp(phone)
	n.callee.hangUp(phone)
}

func subscription(t *testing.T, s *site) {
	page, hop := s.page(t), s.udp(t, "", s.hop(8), s.listener(1))
	c := page.call("sip:hop8-presence@example.test")
	c.begin("SUBSCRIBE", body{}, "Event: presence", "Expires: 600")
	sub := hop.expect("SUBSCRIBE ")
	hop.reply(sub, "200 OK", body{}, "Expires: 600")
	c.learn(page.expect("SIP/2.0 200"))
	d := hop.callee(sub, "callee")
	for range 2 {
		hop.send(d.request("NOTIFY", body{"application/pidf+xml", "<presence/>"}, "Event: presence", "Subscription-State: active"))
		n := page.expect("NOTIFY ")
		if n.body() != "<presence/>" || n.uri() != page.contact() {
			t.Errorf("the page got\n%s", n.text)
		}
		page.reply(n, "200 OK", body{})
		hop.expect("SIP/2.0 200")
	}
	page.send(c.request("SUBSCRIBE", body{}, "Event: presence", "Expires: 0"))
	hop.reply(hop.expect("SUBSCRIBE "), "200 OK", body{})
	page.expect("SIP/2.0 200")
}

func withinCall(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	for _, method := range []string{"INFO", "MESSAGE", "OPTIONS", "UNHEARD"} {
		page.send(e.caller.request(method, body{"application/x-any", "1"}))
		m := phone.expect(method + " ")
		if m.body() != "1" || m.uri() != phone.contact() {
			t.Errorf("the phone got\n%s", m.text)
		}
		phone.reply(m, "200 OK", body{"text/plain", "2"})
		if res := page.expect("SIP/2.0 200"); res.body() != "2" {
			t.Errorf("the page got\n%s", res.text)
		}
	}
	e.callee.hangUp(page)
}

func inTurn(t *testing.T, s *site) {
	carrier, first := s.carrier(t), s.udp(t, s.user(), s.net+".20:0", s.listener(1))
	first.register(";q=0.9")
	second := s.webSocket(t, first.user)
	second.register(";q=0.5")
	c := carrier.call(first.aor())
	c.invite(plain())
	inv := first.expect("INVITE ")
	second.none("INVITE ")
	first.reply(inv, "486 Busy Here", body{})
	inv = second.expect("INVITE ")
	like(t, inv, savpf)
	d := second.accept(inv, webAnswer())
	res := carrier.expect("SIP/2.0 200")
	like(t, res, avp)
	c.confirm(res, body{})
	second.expect("ACK ")
	d.hangUp(carrier)
	s.released(t, c.callID)
}

func families(t *testing.T, s *site) {
	page := s.page(t)
	six := s.udp(t, s.user(), "[::1]:0", s.sixListener())
	six.register()
	offer := plain()
	offer.text = strings.ReplaceAll(offer.text, "IN IP4 127.0.0.1", "IN IP6 ::1")
	e := six.connect(page, offer, webAnswer())
	like(t, e.invite, savpf)
	e.callee.hangUp(six)
	e = page.connect(six, web(), offer)
	if !strings.HasPrefix(e.invite.get("Via"), "SIP/2.0/UDP [::1]:") {
		t.Errorf("Via %s", e.invite.get("Via"))
	}
	e.caller.hangUp(six)
}
