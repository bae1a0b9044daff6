package forward_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
)

// RFC 3261 §16.3 and §16.6: tested first, then decremented; 1 is forwarded as 0, none becomes 70.
func TestMaxForwards(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	for sent, want := range map[string]string{"Max-Forwards: 1\r\n": "0", "": "70", "Max-Forwards: 70\r\n": "69"} {
		c := alice.call("bob")
		alice.send(strings.Replace(c.request("MESSAGE", c.branch, ""), "Max-Forwards: 70\r\n", sent, 1))
		m := bob.expect("MESSAGE")
		if all := m.all("Max-Forwards"); len(all) != 1 || all[0] != want {
			t.Errorf("%q goes out as %q, want %s", sent, all, want)
		}
		bob.reply(m, "200 OK", "b", "")
		alice.expect("SIP/2.0 200")
	}
	c := alice.call("bob")
	alice.send(strings.Replace(c.request("MESSAGE", c.branch, ""), "Max-Forwards: 70", "Max-Forwards: 0", 1))
	alice.expect("SIP/2.0 483")
	bob.silent("MESSAGE", 50*time.Millisecond)
	r.idle()
}

// RFC 3261 §16.4: old gear puts the proxy's Record-Route into the request URI and its remote target into the last Route.
func TestStrictRouterBeforeUs(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c, _ := r.established(alice, bob)
	c.target, c.routes = between(c.routes[0]), []string{"<" + c.target + ">"}
	alice.send(c.request("INFO", "z9hG4bKstrict", ""))
	info := bob.expect("INFO " + bob.contact())
	if len(info.all("Route")) != 0 {
		t.Errorf("Route %q", info.all("Route"))
	}
	bob.reply(info, "200 OK", "", "")
	alice.expect("SIP/2.0 200")
}

// RFC 3261 §16.6 step 6: a next hop without lr gets its URI as request URI, the remote target as the last Route.
func TestStrictRouterBehindUs(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob, old := r.udp("alice"), r.udp("bob"), r.udp("old")
	r.to("bob", 0, bob)
	c, _ := r.established(alice, bob)
	c.routes = append(c.routes, "<sip:"+old.host+">")
	alice.send(c.request("INFO", "z9hG4bKold", ""))
	info := old.expect("INFO sip:" + old.host)
	if routes := info.all("Route"); len(routes) != 1 || between(routes[0]) != bob.contact() {
		t.Errorf("Route %q", routes)
	}
	old.reply(info, "200 OK", "b", "")
	alice.expect("SIP/2.0 200")
}

// The two Record-Route entries between UDP and WebSocket go together, also when a UA has kept only one of them.
func TestDoubleRecordRouteLeavesAsAPair(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	c, inv := r.established(web, phone)
	if len(c.routes) != 2 {
		t.Fatalf("routes %q", c.routes)
	}
	back := phone.callee(inv, "b")
	both := back.routes
	for i, routes := range [][]string{both, both[:1], both[1:], {both[0] + ", " + both[1]}} {
		back.routes = routes
		phone.send(back.request("INFO", fmt.Sprintf("z9hG4bKpair%d", i), ""))
		info := web.expect("INFO " + web.contact())
		if left := info.all("Route"); len(left) != 0 {
			t.Errorf("%q: left %q", routes, left)
		}
		web.reply(info, "200 OK", "", "")
		if ok := phone.expect("SIP/2.0 200"); len(ok.all("Via")) != 1 {
			t.Errorf("Via %q", ok.all("Via"))
		}
	}
}

// A route behind the proxy's own stays and is followed.
func TestLooseRouteIsFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob, hop := r.udp("alice"), r.udp("bob"), r.udp("hop")
	r.to("bob", 0, bob)
	c, _ := r.established(alice, bob)
	c.routes = append(c.routes, "<sip:"+hop.host+";lr;x=1>")
	alice.send(c.request("INFO", "z9hG4bKloose", ""))
	info := hop.expect("INFO " + bob.contact())
	if routes := info.all("Route"); len(routes) != 1 || routes[0] != "<sip:"+hop.host+";lr;x=1>" {
		t.Errorf("Route %q", routes)
	}
	hop.reply(info, "200 OK", "b", "")
	alice.expect("SIP/2.0 200")
}

// Responses that belong to no transaction are dropped (RFC 6026 §8.9), whatever their Via says.
func TestStrayResponses(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	mine, rest, _ := strings.Cut(bob.response(inv, "200 OK", "b1", ""), inv.get("Via"))
	forged := strings.Replace(inv.get("Via"), "branch=z9hG4bK", "branch=z9hG4bKx", 1)
	bob.send(mine + forged + rest)
	bob.send(strings.Replace(bob.response(inv, "200 OK", "b1", ""), "1 INVITE", "1 OPTIONS", 1))
	bob.send(strings.Replace(bob.response(inv, "200 OK", "b1", ""), "Via: "+inv.get("Via")+"\r\n", "", 1))
	alice.silent("SIP/2.0 200", 100*time.Millisecond)
	bob.reply(inv, "486 Busy Here", "b1", "")
	c.to = alice.expect("SIP/2.0 486").get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

// Both sides change the session at once: each gets the other's 491, the proxy tries nothing itself (RFC 3261 §14.1).
func TestGlareIsRelayed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c, inv := r.established(alice, bob)
	back := bob.callee(inv, "b")
	alice.send(c.request("INVITE", "z9hG4bKglareA", "v=0\r\n"))
	bob.send(back.request("INVITE", "z9hG4bKglareB", "v=0\r\n"))
	toBob, toAlice := bob.expect("INVITE"), alice.expect("INVITE")
	alice.reply(toAlice, "491 Request Pending", "", "")
	bob.reply(toBob, "491 Request Pending", "", "")
	alice.expect("SIP/2.0 491")
	bob.expect("SIP/2.0 491")
	alice.send(c.request("ACK", "z9hG4bKglareA", ""))
	bob.send(back.request("ACK", "z9hG4bKglareB", ""))
	r.idle()
	alice.only(toAlice)
	bob.only(toBob)
	r.dialogs(1, 0) // the call goes on
}

// A phone's request for a page whose connection is gone is answered at once, with the RFC's own timers.
func TestPageGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{dialog: dialog.Config{Grace: time.Minute}})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	_, inv := r.established(web, phone)
	web.close()
	back := phone.callee(inv, "b")
	for i, method := range []string{"INVITE", "INFO"} {
		began := time.Now()
		phone.send(back.request(method, fmt.Sprintf("z9hG4bKgone%d", i), ""))
		phone.expect("SIP/2.0 480")
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: answered after %v", method, took)
		}
	}
	r.dialogs(1, 0) // the page may still come back
}

// A page that is back by another connection within the grace keeps its call; both directions follow it.
func TestPageComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Grace: 400 * time.Millisecond}})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	web.send(web.call("web").request("REGISTER", "z9hG4bKback1", ""))
	web.expect("SIP/2.0 200")
	c, inv := r.established(web, phone)
	web.close()
	again := r.ws("web")
	again.send(again.call("web").request("REGISTER", "z9hG4bKback2", ""))
	again.expect("SIP/2.0 200")
	phone.silent("BYE", 600*time.Millisecond)
	phone.send(phone.callee(inv, "b").request("INFO", "z9hG4bKback3", ""))
	again.reply(again.expect("INFO"), "200 OK", "", "")
	phone.expect("SIP/2.0 200")
	c.u = again
	again.send(c.request("BYE", "z9hG4bKback4", ""))
	phone.reply(phone.expect("BYE"), "200 OK", "", "")
	again.expect("SIP/2.0 200")
	r.dialogs(0, 0)
}

// Different dialogs of forks further down are told apart, and each ends alone.
func TestForkingDownstream(t *testing.T) {
	t.Parallel()
	media := &byes{}
	r := newRig(t, options{timers: fast, observer: media})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE")
	for _, tag := range []string{"b1", "b2"} {
		bob.reply(inv, "180 Ringing", tag, "")
		if got := alice.expect("SIP/2.0 180").tag("To"); got != tag {
			t.Errorf("180 of %s, want %s", got, tag)
		}
	}
	r.dialogs(0, 2)
	var legs []*call
	for _, tag := range []string{"b1", "b2"} {
		bob.reply(inv, "200 OK", tag, "v=0\r\n")
		answer := alice.expect("SIP/2.0 200")
		if got := answer.tag("To"); got != tag {
			t.Errorf("200 of %s, want %s", got, tag)
		}
		leg := *c
		leg.established(answer)
		legs = append(legs, &leg)
	}
	for i, leg := range legs {
		alice.send(leg.request("ACK", fmt.Sprintf("z9hG4bKfack%d", i), ""))
		bob.expect("ACK")
	}
	r.dialogs(2, 0)
	alice.send(legs[1].request("BYE", "z9hG4bKfbye", ""))
	bye := bob.expect("BYE")
	if bye.tag("To") != "b2" {
		t.Errorf("BYE for %s", bye.tag("To"))
	}
	bob.reply(bye, "200 OK", "", "")
	r.dialogs(1, 0)
	if n := media.Load(); n != 0 {
		t.Error("the end of one fork ends the media of the other")
	}
	alice.send(legs[0].request("BYE", "z9hG4bKfbye2", ""))
	for bye.tag("To") != "b1" { // the first one may have been repeated
		bye = bob.expect("BYE")
	}
	bob.reply(bye, "200 OK", "", "")
	r.dialogs(0, 0)
	if n := media.Load(); n != 1 {
		t.Errorf("the media end %d times", n)
	}
}

// The bounds: what is over them is refused with 503 on streams, silently on UDP, and nothing is left afterwards.
func TestTransactionsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, limits: transaction.Limits{Transactions: 3}})
	alice, dan, bob := r.tcp("alice"), r.udp("dan"), r.udp("bob")
	r.to("bob", 0, bob)
	var calls []*call
	for range 3 {
		c := alice.call("bob")
		calls = append(calls, c)
		c.invite()
		bob.reply(bob.expect("INVITE"), "180 Ringing", "b", "")
		alice.expect("SIP/2.0 180")
	}
	c := alice.call("bob")
	c.invite()
	alice.expect("SIP/2.0 503")
	dan.call("bob").invite()
	dan.silent("SIP/2.0", 100*time.Millisecond)
	for _, c := range calls {
		alice.send(c.request("CANCEL", c.branch, ""))
		alice.expect("SIP/2.0 200")
	}
	r.idle()
	r.dialogs(0, 0)
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Calls: 1}})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	first, _ := r.established(alice, bob)
	c := alice.call("bob")
	c.invite()
	c.to = alice.expect("SIP/2.0 503").get("To")
	alice.send(c.request("ACK", c.branch, ""))
	alice.send(first.request("BYE", "z9hG4bKroom", ""))
	bob.reply(bob.expect("BYE"), "200 OK", "", "")
	alice.expect("SIP/2.0 200")
	r.dialogs(0, 0)
	r.established(alice, bob)
}

// No client transaction left: that is the proxy's own 503, no other server's.
func TestNoRoomToForward(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, limits: transaction.Limits{Transactions: 3}})
	alice, one, two, three := r.udp("alice"), r.udp("one"), r.udp("two"), r.udp("three")
	r.to("team", 0, one, two, three)
	c := alice.call("team")
	c.invite()
	for _, u := range []*ua{one, two, three} {
		u.expect("INVITE")
	}
	late := alice.call("team")
	late.invite()
	late.to = alice.expect("SIP/2.0 503").get("To")
	alice.send(late.request("ACK", late.branch, ""))
	c.to = alice.expect("SIP/2.0 408").get("To")
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}
