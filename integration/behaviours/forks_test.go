//go:build integration

package behaviours

import (
	"strings"
	"testing"
)

// forks are the behaviours about several callees.
func forks() []behaviour {
	return []behaviour{
		{14, "each branch has an offer and an answer of its own", ownOffers},
		{15, "branch that loses takes nothing from the one that wins", losers},
		{16, "every 18x and 2xx of forks behind the callee is forwarded", downstream},
		{17, "best response is chosen and challenges are collected", best},
		{18, "browser hears one stable early dialog", oneEarlyDialog},
	}
}

// second is another device of the same user.
func (p *peer) second(q *peer) *peer {
	p.t.Helper()
	q.user = p.user
	q.register()
	return q
}

func ownOffers(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	page := phone.second(s.webSocket(t, ""))
	c := carrier.call(phone.aor())
	c.invite(plain())
	toPhone, toPage := phone.expect("INVITE "), page.expect("INVITE ")
	like(t, toPhone, avp)
	like(t, toPage, savpf)
	page.send(page.response(toPage, "183 Session Progress", "page", webAnswer()))
	like(t, carrier.expect("SIP/2.0 183"), avp)
	phone.send(phone.response(toPhone, "183 Session Progress", "phone", plain()))
	like(t, carrier.expect("SIP/2.0 183"), avp)
	page.send(page.response(toPage, "200 OK", "page", webAnswer()))
	res := carrier.expect("SIP/2.0 200")
	like(t, res, avp)
	c.confirm(res, body{})
	page.expect("ACK ")
	phone.reply(phone.expect("CANCEL "), "200 OK", body{})
}

func losers(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	page := phone.second(s.webSocket(t, ""))
	c := carrier.call(phone.aor())
	c.invite(plain())
	toPhone, toPage := phone.expect("INVITE "), page.expect("INVITE ")
	phone.send(phone.response(toPhone, "180 Ringing", "phone", body{}))
	page.send(page.response(toPage, "200 OK", "page", webAnswer()))
	c.confirm(carrier.expect("SIP/2.0 200"), body{})
	page.expect("ACK ")
	phone.reply(phone.expect("CANCEL "), "200 OK", body{})
	phone.send(phone.response(toPhone, "487 Request Terminated", "phone", body{}))
	phone.expect("ACK ")
	carrier.flush()
	if !s.hasMedia(c.callID) {
		t.Error("the loser has taken the winner's media")
	}
	offered, answered := c.reinvite(page, plain(), webAnswer())
	like(t, offered, savpf)
	like(t, answered, avp)
	c.hangUp(page)
	s.released(t, c.callID)

	// When all have failed nothing is left.
	c = carrier.call(phone.aor())
	c.invite(plain())
	toPhone, toPage = phone.expect("INVITE "), page.expect("INVITE ")
	phone.reply(toPhone, "486 Busy Here", body{})
	page.reply(toPage, "480 Temporarily Unavailable", body{})
	carrier.final()
	s.released(t, c.callID)
}

func downstream(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	for _, tag := range []string{"a", "b"} {
		phone.send(phone.response(inv, "180 Ringing", tag, body{}))
		if res := carrier.expect("SIP/2.0 180"); !strings.HasSuffix(res.get("To"), ";tag="+tag) {
			t.Errorf("To %s", res.get("To"))
		}
	}
	for _, tag := range []string{"a", "b"} {
		phone.send(phone.response(inv, "200 OK", tag, plain()))
		res := carrier.expect("SIP/2.0 200")
		if !strings.HasSuffix(res.get("To"), ";tag="+tag) {
			t.Errorf("To %s", res.get("To"))
		}
		d := *c
		d.confirm(res, body{})
		if ack := phone.expect("ACK "); !strings.HasSuffix(ack.get("To"), ";tag="+tag) {
			t.Errorf("To %s", ack.get("To"))
		}
		if tag == "b" { // one too many: the caller ends it, the other goes on
			d.hangUp(phone)
			if !s.hasMedia(c.callID) {
				t.Error("the BYE of one fork has ended the media of the other")
			}
		}
	}
}

func best(t *testing.T, s *site) {
	for _, b := range []struct {
		first, second string
		want          int
	}{
		{"486 Busy Here", "404 Not Found", 4},
		{"503 Service Unavailable", "500 Server Internal Error", 500},
		{"603 Decline", "200", 603},
		{"500 Server Internal Error", "401 Unauthorized", 401},
	} {
		carrier, one := s.carrier(t), s.phone(t)
		two := one.second(s.udp(t, "", s.net+".20:0", s.listener(1)))
		c := carrier.call(one.aor())
		c.invite(plain())
		toOne, toTwo := one.expect("INVITE "), two.expect("INVITE ")
		one.reply(toOne, b.first, body{})
		if b.second == "200" { // 6xx cancels it
			two.reply(toTwo, "180 Ringing", body{})
			two.reply(two.expect("CANCEL "), "200 OK", body{})
			two.reply(toTwo, "487 Request Terminated", body{})
		} else {
			two.reply(toTwo, b.second, body{})
		}
		res := carrier.final()
		if res.code() != b.want && res.code()/100 != b.want {
			t.Errorf("of %s and %s the caller got %s", b.first, b.second, res.start())
		}
		c.ackFailure(res)
	}
	carrier, one := s.carrier(t), s.phone(t)
	two := one.second(s.udp(t, "", s.net+".20:0", s.listener(1)))
	c := carrier.call(one.aor())
	c.invite(plain())
	one.reply(one.expect("INVITE "), "401 Unauthorized", body{}, `WWW-Authenticate: Digest realm="one", nonce="1"`)
	two.reply(two.expect("INVITE "), "407 Proxy Authentication Required", body{}, `Proxy-Authenticate: Digest realm="two", nonce="2"`)
	res := carrier.final()
	if (res.code() != 401 && res.code() != 407) || res.get("WWW-Authenticate") == "" || res.get("Proxy-Authenticate") == "" {
		t.Errorf("challenges are missing:\n%s", res.text)
	}
	c.ackFailure(res)
	// 503 would tell the caller to leave this proxy alone.
	c = carrier.call(one.aor())
	c.invite(plain())
	for _, p := range []*peer{one, two} {
		p.reply(p.expect("INVITE "), "503 Service Unavailable", body{}, "Retry-After: 3600")
	}
	if res := carrier.final(); res.code() != 500 || res.get("Retry-After") != "" {
		t.Errorf("503 has become\n%s", res.text)
	}
}

func oneEarlyDialog(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	c := page.call(phone.aor())
	c.invite(web())
	inv := phone.expect("INVITE ")
	key := func(m msg) string {
		return m.line("a=ice-ufrag:") + m.line("a=ice-pwd:") + m.line("a=fingerprint:") + m.line("m=audio ")
	}
	var first string
	for _, tag := range []string{"a", "b"} {
		phone.send(phone.response(inv, "183 Session Progress", tag, plain()))
		res := page.expect("SIP/2.0 183")
		if first == "" {
			like(t, res, savpf)
			first = key(res)
		} else if res.body() != "" {
			t.Errorf("the second fork's SDP reaches the browser:\n%s", res.text)
		}
	}
	phone.send(phone.response(inv, "200 OK", "a", plain()))
	if res := page.expect("SIP/2.0 200"); key(res) != first {
		t.Errorf("the answer changes the browser's early session:\n%s\n%s", first, key(res))
	}
	// When another one answers, its SDP comes with the answer.
	c = page.call(phone.aor())
	c.invite(web())
	inv = phone.expect("INVITE ")
	for _, tag := range []string{"a", "b"} {
		phone.send(phone.response(inv, "183 Session Progress", tag, plain()))
		page.expect("SIP/2.0 183")
	}
	phone.send(phone.response(inv, "200 OK", "b", plain()))
	like(t, page.expect("SIP/2.0 200"), savpf)
}
