//go:build integration

package behaviours

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// others are the behaviours about identity, headers and what must not be shown or believed.
func others() []behaviour {
	return []behaviour{
		{46, "request URI and foreign credentials pass as they came", credentialsPass},
		{47, "what a signature binds is not changed", signatures},
		{48, "P-Asserted-Identity is believed from trunks only", identities},
		{49, "odd spellings and unknown headers pass unchanged", oddHeaders},
		{50, "OPTIONS to the proxy needs neither password nor dialog", keepAlives},
		{51, "redirection is handled here and shows the caller nothing", redirections},
		{52, "response whose topmost Via is not ours is dropped", foreignVia},
	}
}

func credentialsPass(t *testing.T, s *site) {
	page, hop := s.page(t), s.udp(t, "", s.hop(3), s.listener(1))
	foreign := `Proxy-Authorization: Digest username="x", realm="elsewhere.example", nonce="n", uri="sip:hop3-1@example.test", response="0123456789abcdef0123456789abcdef"`
	c := page.call("sip:hop3-1@example.test")
	c.invite(web(), foreign)
	inv := hop.expect("INVITE ")
	if got := inv.all("Proxy-Authorization"); len(got) != 1 || "Proxy-Authorization: "+got[0] != foreign {
		t.Errorf("credentials %q", got)
	}
	hop.reply(inv, "407 Proxy Authentication Required", body{}, `Proxy-Authenticate: Digest realm="elsewhere.example", nonce="n2"`)
	res := page.final()
	if !strings.Contains(res.get("Proxy-Authenticate"), "elsewhere.example") {
		t.Errorf("the challenge does not arrive:\n%s", res.text)
	}
	c.ackFailure(res)
}

func signatures(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.local = `"Müller, \"B\"" <sip:+4930123@carrier.example;user=phone> ; TAG=` + unique("x")
	date, identity := "Sat, 21 Nov 2026 10:00:00 GMT", "eyJhbGciOiJFUzI1NiJ9.eyJh.c2ln;info=<https://c.example/x.cer>;alg=ES256;ppt=shaken"
	c.invite(plain(), "Date: "+date, "Identity: "+identity)
	inv := phone.expect("INVITE ")
	for name, want := range map[string]string{"From": c.local, "To": c.remote, "Date": date, "Identity": identity, "Call-ID": c.callID} {
		if got := inv.get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	phone.reply(inv, "486 Busy Here", body{})
	if res := carrier.expect("SIP/2.0 486"); res.get("From") != c.local {
		t.Errorf("From: %q", res.get("From"))
	}
}

func identities(t *testing.T, s *site) {
	carrier, page, phone := s.carrier(t), s.page(t), s.phone(t)
	const forged = "<sip:boss@example.test>"
	c := page.call(phone.aor())
	c.invite(web(), "P-Asserted-Identity: "+forged)
	if inv := phone.expect("INVITE "); strings.Contains(inv.get("P-Asserted-Identity"), "boss") {
		t.Errorf("a browser's word is believed:\n%s", inv.text)
	}
	c = carrier.call(phone.aor())
	c.invite(plain(), "P-Asserted-Identity: <sip:+4930123@carrier.example>")
	if inv := phone.expect("INVITE "); inv.get("P-Asserted-Identity") != "<sip:+4930123@carrier.example>" {
		t.Errorf("a trunk's word is not passed on:\n%s", inv.text)
	}
}

func oddHeaders(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	odd := []string{
		"X-Unknown:   spaces inside   stay", "x-lower: \"q;,\\\"\" <sip:a%20b@h>;p", "X-Bytes: \xff\xfe\x80 latin \xe4",
		"P-Charge-Info: <sip:1@c>;npi=ISDN", "Subject: ", "X-Twice: 1", "X-Twice: 2, 3", "Diversion: <sip:%61@h;x=\"y\">;reason=no-answer",
	}
	uri := "sip:hop4-%41%20b;isub=1@example.test;NEW=x;other"
	hop := s.udp(t, "", s.hop(4), s.listener(1))
	c := carrier.call(uri)
	text := c.request("NEWMETHOD", body{"application/x-any", "\x00\x01\r\n\xff"}, odd...)
	text = strings.Replace(text, "From:", "f :", 1)
	text = strings.Replace(text, "Call-ID:", "I:\r\n\t", 1)
	carrier.send(text)
	got := hop.expect("NEWMETHOD ")
	for _, h := range odd {
		name, value, _ := strings.Cut(h, ":")
		if !strings.Contains(got.text, "\r\n"+name+": "+strings.TrimSpace(value)+"\r\n") {
			t.Errorf("%q is not in\n%q", h, got.text)
		}
	}
	if got.get("From") != c.local || got.get("Call-ID") != c.callID || got.body() != "\x00\x01\r\n\xff" {
		t.Errorf("compact, folded or binary parts are damaged:\n%q", got.text)
	}
	if !strings.HasPrefix(got.uri(), "sip:hop4-%41%20b;isub=1@") {
		t.Errorf("request URI %s", got.uri())
	}
	hop.reply(got, "299 Unheard Of", body{}, odd...)
	res := carrier.expect("SIP/2.0 299 Unheard Of")
	for _, h := range odd {
		name, value, _ := strings.Cut(h, ":")
		if !strings.Contains(res.text, "\r\n"+name+": "+strings.TrimSpace(value)+"\r\n") {
			t.Errorf("%q is not in the response\n%q", h, res.text)
		}
	}
	// All that is no call passes too.
	for _, method := range []string{"MESSAGE", "OPTIONS", "SUBSCRIBE", "PUBLISH", "INFO", "REFER", "NOTIFY"} {
		page := phone
		c := carrier.call(page.aor())
		carrier.send(c.request(method, body{"text/plain", method}, "Event: presence", "Refer-To: <sip:x@y>"))
		got := page.expect(method + " ")
		if got.body() != method {
			t.Errorf("%s: body %q", method, got.body())
		}
		page.reply(got, "202 Accepted", body{})
		carrier.expect("SIP/2.0 202")
	}
}

func keepAlives(t *testing.T, s *site) {
	stranger := s.udp(t, "", s.net+".40:0", s.listener(1))
	for range 5 {
		stranger.send(stranger.call("sip:"+s.listener(1)).request("OPTIONS", body{}))
		if res := stranger.expect("SIP/2.0 "); res.code() != 200 {
			t.Errorf("a carrier would think us dead: %s", res.start())
		}
	}
}

func redirections(t *testing.T, s *site) {
	page, phone, third := s.page(t), s.phone(t), s.phone(t)
	hop := s.udp(t, "", s.hop(5), s.listener(1))
	inside := s.udp(t, "", s.net+".50:0", s.listener(1))
	// A phone may send a call to another user.
	c := page.call(phone.aor())
	c.invite(web())
	inv := phone.expect("INVITE ")
	phone.reply(inv, "302 Moved Temporarily", body{}, "Contact: <"+third.aor()+">")
	phone.expect("ACK ")
	inv = third.expect("INVITE ")
	third.reply(inv, "486 Busy Here", body{})
	c.ackFailure(page.expect("SIP/2.0 486"))
	// A next hop of the configuration may send it anywhere.
	c = page.call("sip:hop5-1@example.test")
	c.invite(web())
	inv = hop.expect("INVITE ")
	hop.reply(inv, "302 Moved Temporarily", body{}, "Contact: <sip:new@"+inside.host+">;q=0.5")
	hop.expect("ACK ")
	inv = inside.expect("INVITE ")
	like(t, inv, avp)
	d := inside.accept(inv, plain())
	res := page.expect("SIP/2.0 200")
	like(t, res, savpf)
	c.confirm(res, body{})
	inside.expect("ACK ")
	d.hangUp(page)
	// A phone may not, and the caller does not learn where.
	c = page.call(phone.aor())
	c.invite(web())
	phone.reply(phone.expect("INVITE "), "302 Moved Temporarily", body{}, "Contact: <sip:0900123@"+inside.host+">")
	res = page.final()
	if res.code() != 480 || strings.Contains(res.text, inside.host) {
		t.Errorf("the page got\n%s", res.text)
	}
	c.ackFailure(res)
	inside.none("INVITE ")
	for _, h := range page.held {
		if strings.HasPrefix(h, "SIP/2.0 3") {
			t.Errorf("a redirection reached the page:\n%s", h)
		}
	}
}

func foreignVia(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	ours := inv.all("Via")[0]
	forged := phone.response(inv, "183 Session Progress", "callee", body{}, "X-Forged: 1")
	sentBy := strings.Fields(strings.SplitN(ours, ";", 2)[0])[1]
	phone.send(strings.Replace(forged, ours, strings.Replace(ours, sentBy, "192.0.2.1:5060", 1), 1))
	phone.send(strings.Replace(forged, "Via: "+ours+"\r\n", "", 1))
	phone.reply(inv, "180 Ringing", body{})
	carrier.expect("SIP/2.0 180")
	for _, h := range carrier.held {
		if strings.Contains(h, "X-Forged") {
			t.Errorf("forwarded:\n%s", h)
		}
	}
}

// faults are those of the published set-up that the project replaces.
func faults() []behaviour {
	return []behaviour{
		{1, "re-INVITE from the phone side keeps the browser's profile", legs},
		{2, "request URI within a dialog is the peer's Contact", ownTarget},
		{3, "requests without SDP from browsers reach the upstream", withoutSDP},
		{4, "SDP in ACK PRACK and UPDATE is rewritten", sdpEverywhere},
		{5, "CANCEL and refusals free the media ports", portsFreed},
		{6, "page reload replaces its own contact", reload},
		{8, "stranger gets no relay", strangers},
		{9, "one call's error does not take the daemon out", oneError},
		{10, "dead browser connection is noticed and its binding goes", deadSocket},
	}
}

func ownTarget(t *testing.T, s *site) {
	page, hop := s.page(t), s.udp(t, "", s.hop(9), s.listener(1))
	c := page.call("sip:hop9-b@example.test")
	c.invite(web())
	inv := hop.expect("INVITE ")
	hop.accept(inv, plain(), "Contact: <sip:inner-27@"+hop.host+";x=1>")
	c.confirm(page.expect("SIP/2.0 200"), body{})
	if ack := hop.expect("ACK "); ack.uri() != "sip:inner-27@"+hop.host+";x=1" {
		t.Errorf("ACK to %s", ack.uri())
	}
	page.send(c.request("INVITE", web("a=sendonly")))
	re := hop.expect("INVITE ")
	if re.uri() != "sip:inner-27@"+hop.host+";x=1" {
		t.Errorf("re-INVITE to %s", re.uri())
	}
	hop.reply(re, "200 OK", plain("a=recvonly"), "Contact: <sip:inner-28@"+hop.host+">")
	page.expect("SIP/2.0 200")
}

func withoutSDP(t *testing.T, s *site) {
	page, hop := s.page(t), s.udp(t, "", s.hop(10), s.listener(1))
	for _, method := range []string{"INVITE", "MESSAGE", "OPTIONS", "REFER", "INFO"} {
		c := page.call("sip:hop10-" + strings.ToLower(method) + "@example.test")
		c.begin(method, body{}, "Refer-To: <sip:x@y>")
		req := hop.expect(method + " ")
		if !strings.HasPrefix(req.uri(), "sip:hop10-"+strings.ToLower(method)+"@"+s.hop(10)) {
			t.Errorf("%s to %s", method, req.uri())
		}
		hop.reply(req, "480 Temporarily Unavailable", body{})
		page.expect("SIP/2.0 480")
	}
}

func sdpEverywhere(t *testing.T, s *site) {
	lateOffer(t, s)
	pracksAndUpdates(t, s)
}

func portsFreed(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	for _, refusal := range []string{"", "404 Not Found", "486 Busy Here", "500 Server Internal Error", "603 Decline"} {
		c := page.call(phone.aor())
		c.invite(web())
		inv := phone.expect("INVITE ")
		if !s.hasMedia(c.callID) {
			t.Error("a call without media proves nothing")
		}
		if refusal == "" {
			phone.reply(inv, "180 Ringing", body{})
			page.expect("SIP/2.0 180")
			page.send(c.request("CANCEL", body{}))
			phone.reply(phone.expect("CANCEL "), "200 OK", body{})
			phone.reply(inv, "487 Request Terminated", body{})
			c.ackFailure(page.expect("SIP/2.0 487"))
		} else {
			phone.reply(inv, refusal, body{})
			c.ackFailure(page.expect("SIP/2.0 " + refusal[:3]))
		}
		phone.expect("ACK ")
		s.released(t, c.callID)
	}
}

func reload(t *testing.T, s *site) {
	const instance = `;+sip.instance="<urn:uuid:00000000-0000-4000-8000-00000000abcd>";reg-id=1`
	page := s.webSocket(t, s.user())
	page.register(instance)
	for range 12 { // more often than an address of record may have contacts
		next := s.webSocket(t, page.user)
		if res := next.registerAs(unique("reg"), instance); res.code() != 200 || len(res.all("Contact")) != 1 {
			t.Fatalf("after a reload:\n%s", res.text)
		}
		page = next
	}
	carrier := s.carrier(t)
	carrier.send(carrier.call(page.aor()).request("MESSAGE", body{"text/plain", "x"}))
	page.reply(page.expect("MESSAGE "), "200 OK", body{})
	carrier.expect("SIP/2.0 200")
}

func strangers(t *testing.T, s *site) {
	phone := s.phone(t)
	stranger := s.udp(t, "", s.net+".41:15060", s.listener(1)) // the port proves nothing either
	hop := s.udp(t, "", s.hop(6), s.listener(1))
	for _, uri := range []string{phone.aor(), "sip:hop6-1@example.test", "sip:00900123@" + hop.host, "sip:x@192.0.2.1"} {
		for _, from := range []string{"<sip:u1@example.test>", "<sip:x@elsewhere.example>", "<" + phone.aor() + ">"} {
			for _, method := range []string{"INVITE", "MESSAGE"} {
				c := stranger.call(uri)
				c.local = from + ";tag=1"
				stranger.send(c.request(method, plain(), "Route: <sip:"+hop.host+";lr>"))
				if res := stranger.final(); res.code() != 407 && res.code() != 403 && res.code() != 404 {
					t.Errorf("%s %s from %s: %s", method, uri, from, res.start())
				} else if method == "INVITE" {
					c.ackFailure(res)
				}
			}
		}
	}
	phone.none("INVITE ")
	hop.none("INVITE ")
}

func oneError(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	for range 3 {
		c := page.call(phone.aor())
		c.invite(sdp("v=0\r\nm=audio\r\nthis is no SDP\r\n"))
		res := page.final()
		if res.code() != 488 && res.code() != 500 {
			t.Errorf("broken SDP: %s", res.start())
		}
		c.ackFailure(res)
	}
	e := page.connect(phone, web(), plain())
	like(t, e.invite, avp)
	e.caller.hangUp(phone)
}

// deadSocket has a WebSocket that answers no pings: the network has gone without a word.
func deadSocket(t *testing.T, s *site) {
	conn, err := net.Dial("tcp", fmt.Sprintf("%s.1:%d", s.net, wsPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n")
	p := rawWebSocket(t, s, conn)
	p.register()
	carrier := s.carrier(t)
	for deadline := time.Now().Add(6 * time.Second); ; {
		c := carrier.call(p.aor())
		carrier.send(c.request("OPTIONS", body{}))
		res, ok := carrier.await("SIP/2.0 480", 500*time.Millisecond)
		if ok && res.get("Call-ID") == c.callID {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the binding of a dead connection stays")
		}
	}
}
