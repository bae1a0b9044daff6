//go:build integration

package behaviours

import (
	"fmt"
	"strings"
	"testing"
)

// transactions are the behaviours about CANCEL, ACK and what a proxy checks.
func transactions() []behaviour {
	return []behaviour{
		{19, "answer that crosses CANCEL is the answer", crossing},
		{20, "CANCEL waits for a provisional response and goes where the INVITE went", cancelHopByHop},
		{21, "ACK of a failure ends here and ACK of a 2xx goes through", acks},
		{22, "each repeated 2xx is forwarded and strays are dropped", repeated},
		{24, "request repeated on a stream is absorbed", repeatedOnStream},
		{25, "Max-Forwards 1 goes out as 0 and 0 is answered 483", maxForwards},
		{26, "loop is 482 and a spiral passes", loops},
		{27, "Proxy-Require is for the proxy and Require is not", extensions},
	}
}

func crossing(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	phone.reply(inv, "180 Ringing", body{})
	carrier.expect("SIP/2.0 180")
	carrier.send(c.request("CANCEL", body{}))
	phone.accept(inv, plain()) // before the CANCEL arrives
	res := carrier.expect("SIP/2.0 200")
	if strings.HasSuffix(res.get("CSeq"), "CANCEL") {
		res = carrier.expect("SIP/2.0 200")
	}
	phone.reply(phone.expect("CANCEL "), "481 Call/Transaction Does Not Exist", body{})
	c.confirm(res, body{})
	phone.expect("ACK ")
	carrier.send(c.request("BYE", body{}))
	phone.reply(phone.expect("BYE "), "200 OK", body{})
	for _, h := range carrier.held {
		if strings.HasPrefix(h, "SIP/2.0 487") {
			t.Error("the proxy has made up a 487")
		}
	}
	s.released(t, c.callID)
}

func cancelHopByHop(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	carrier.send(c.request("CANCEL", body{}))
	if res := carrier.expect("SIP/2.0 200"); !strings.HasSuffix(res.get("CSeq"), "CANCEL") {
		t.Errorf("instead of the 200 to CANCEL came\n%s", res.text)
	}
	phone.none("CANCEL ")
	carrier.none("SIP/2.0 487")
	phone.reply(inv, "180 Ringing", body{})
	cancel := phone.expect("CANCEL ")
	if cancel.uri() != inv.uri() || cancel.all("Via")[0] != inv.all("Via")[0] || len(cancel.all("Via")) != 1 ||
		fmt.Sprint(cancel.all("Route")) != fmt.Sprint(inv.all("Route")) {
		t.Errorf("CANCEL\n%sis none of\n%s", cancel.text, inv.text)
	}
	phone.reply(cancel, "200 OK", body{})
	phone.reply(inv, "487 Request Terminated", body{})
	phone.expect("ACK ")
	c.ackFailure(carrier.expect("SIP/2.0 487"))
}

func acks(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	phone.reply(inv, "486 Busy Here", body{})
	ack := phone.expect("ACK ")
	if ack.all("Via")[0] != inv.all("Via")[0] {
		t.Errorf("the ACK has another branch than its INVITE: %s", ack.get("Via"))
	}
	c.ackFailure(carrier.expect("SIP/2.0 486"))
	phone.none("ACK ")

	e := carrier.connect(phone, plain(), plain())
	carrier.send(e.caller.request("ACK", body{})) // repeated: end to end, so it goes through again
	again := phone.expect("ACK ")
	if again.all("Via")[0] == e.invite.all("Via")[0] || again.uri() != phone.contact() {
		t.Errorf("not an ACK of its own to the callee:\n%s", again.text)
	}
	e.caller.hangUp(phone)
}

func repeated(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	phone.send(strings.Replace(
		phone.response(inv, "180 Ringing", "stray", body{}), "branch=z9hG4bK", "branch=z9hG4bKno", 1))
	for range 3 {
		phone.reply(inv, "200 OK", plain())
		carrier.expect("SIP/2.0 200")
	}
	for _, h := range carrier.held {
		if strings.HasPrefix(h, "SIP/2.0 180") {
			t.Errorf("a response to no request of ours was forwarded:\n%s", h)
		}
	}
}

func repeatedOnStream(t *testing.T, s *site) {
	carrier, phone := s.tcp(t, "", s.carrierHost()+":0", s.listener(1)), s.phone(t)
	c := carrier.call(phone.aor())
	text := c.request("INVITE", plain())
	carrier.send(text)
	inv := phone.expect("INVITE ")
	phone.reply(inv, "180 Ringing", body{})
	carrier.expect("SIP/2.0 180")
	carrier.send(text)
	carrier.expect("SIP/2.0 180")
	phone.none("INVITE ")
}

func maxForwards(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	for _, m := range []struct{ header, want string }{{"Max-Forwards: 1", "0"}, {"Max-Forwards: 70", "69"}, {"Max-Forwards: none", "70"}} {
		c := carrier.call(phone.aor())
		carrier.send(c.request("MESSAGE", body{"text/plain", "x"}, m.header))
		got := phone.expect("MESSAGE ")
		phone.reply(got, "200 OK", body{})
		carrier.expect("SIP/2.0 200")
		if got.get("Max-Forwards") != m.want {
			t.Errorf("%s went out as %q", m.header, got.get("Max-Forwards"))
		}
	}
	carrier.send(carrier.call(phone.aor()).request("MESSAGE", body{}, "Max-Forwards: 0"))
	carrier.expect("SIP/2.0 483")
	carrier.send(carrier.call("sip:"+s.listener(1)).request("OPTIONS", body{}, "Max-Forwards: 0"))
	carrier.expect("SIP/2.0 200")
}

func loops(t *testing.T, s *site) {
	carrier, hop := s.carrier(t), s.udp(t, "", s.hop(0), s.listener(1))
	// The next hop sends the call back as it came: a loop.
	c := carrier.call("sip:hop0-a@example.test")
	c.invite(plain())
	inv := hop.expect("INVITE ")
	back := func(uri string) {
		text := strings.Replace(inv.text, inv.uri(), uri, 1)
		hop.send(strings.Replace(text, "Via: ", "Via: SIP/2.0/UDP "+hop.host+";branch="+unique("z9hG4bK")+"\r\nVia: ", 1))
	}
	back("sip:hop0-a@example.test")
	hop.expect("SIP/2.0 482")
	// To another user it is a spiral, and goes on.
	phone := s.phone(t)
	back(phone.aor())
	again := phone.expect("INVITE ")
	phone.reply(again, "486 Busy Here", body{})
	hop.reply(inv, "486 Busy Here", body{})
	carrier.expect("SIP/2.0 486")
}

func extensions(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	carrier.send(carrier.call(phone.aor()).request("MESSAGE", body{}, "Proxy-Require: nosuchthing, other"))
	if res := carrier.expect("SIP/2.0 420"); res.get("Unsupported") != "nosuchthing, other" {
		t.Errorf("Unsupported: %q", res.get("Unsupported"))
	}
	carrier.send(carrier.call(phone.aor()).request("MESSAGE", body{}, "Require: nosuchthing"))
	if got := phone.expect("MESSAGE "); got.get("Require") != "nosuchthing" {
		t.Errorf("Require: %q", got.get("Require"))
	}
}
