package forward_test

import (
	"testing"
	"time"
)

// redirecting answers calls with 302 to users.
func (u *ua) redirecting(req msg, users ...string) {
	u.t.Helper()
	var contacts []string
	for _, user := range users {
		contacts = append(contacts, "Contact: <sip:"+user+"@inside>")
	}
	u.reply(req, "302 Moved Temporarily", "moved", "", contacts...)
	u.expect("ACK ")
}

func TestRedirectionIsFollowed(t *testing.T) {
	r := newRig(t, options{timers: fast})
	alice, bob, carol, dave := r.udp("alice"), r.udp("bob"), r.udp("carol"), r.udp("dave")
	r.to("bob", 0, bob)
	r.to("carol", 1000, carol)
	r.to("dave", 500, dave)
	c := alice.call("bob")
	c.invite()
	bob.redirecting(bob.expect("INVITE "), "carol", "dave", "nobody")
	inv := carol.expect("INVITE ")
	carol.reply(inv, "486 Busy Here", "c", "")
	carol.expect("ACK ")
	inv = dave.expect("INVITE ")
	dave.reply(inv, "200 OK", "d", "v=0\r\n")
	res := alice.expect("SIP/2.0 200")
	c.established(res)
	alice.send(c.request("ACK", "z9hG4bKackredirect", ""))
	dave.expect("ACK ")
	if len(alice.held) > 1 {
		t.Errorf("the caller heard %q", alice.held)
	}
}

func TestRedirectionInACircleEnds(t *testing.T) {
	r := newRig(t, options{timers: fast})
	alice, bob, carol := r.udp("alice"), r.udp("bob"), r.udp("carol")
	r.to("bob", 0, bob)
	r.to("carol", 0, carol)
	c := alice.call("bob")
	c.invite()
	bob.redirecting(bob.expect("INVITE "), "carol")
	carol.redirecting(carol.expect("INVITE "), "bob")
	res := alice.expect("SIP/2.0 480")
	if res.get("Contact") != "" {
		t.Errorf("the caller sees an address inside:\n%s", res.text)
	}
	alice.send(c.request("ACK", c.branch, ""))
	r.idle()
}

func TestRedirectionToNowhereShowsNoContact(t *testing.T) {
	r := newRig(t, options{timers: fast})
	alice, bob := r.udp("alice"), r.udp("bob")
	r.to("bob", 0, bob)
	c := alice.call("bob")
	c.invite()
	bob.redirecting(bob.expect("INVITE "), "nobody")
	if res := alice.expect("SIP/2.0 480"); res.get("Contact") != "" {
		t.Errorf("the caller sees an address inside:\n%s", res.text)
	}
}

func TestRedirectionAfterCancelIsNotFollowed(t *testing.T) {
	r := newRig(t, options{timers: fast})
	alice, bob, carol := r.udp("alice"), r.udp("bob"), r.udp("carol")
	r.to("bob", 0, bob)
	r.to("carol", 0, carol)
	c := alice.call("bob")
	c.invite()
	inv := bob.expect("INVITE ")
	bob.reply(inv, "180 Ringing", "b", "")
	alice.expect("SIP/2.0 180")
	alice.send(c.request("CANCEL", c.branch, ""))
	bob.expect("CANCEL ")
	bob.redirecting(inv, "carol")
	alice.expect("SIP/2.0 480")
	carol.silent("INVITE ", 50*time.Millisecond)
}
