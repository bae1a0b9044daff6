package forward_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// mediaIDs counts the ends of calls at the media daemon by its call-ids.
type mediaIDs struct {
	byes
	mu    sync.Mutex
	ended map[string]int
}

func (m *mediaIDs) Outgoing(_ context.Context, r *request.Request, _ *request.Branch) error {
	if r.Msg.Method == sip.BYE && !r.Shared {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.ended[r.MediaID()]++
	}
	return nil
}

// passOn lets a UA act as a loose-routing proxy that sends a request back to the proxy; an INVITE for another user.
func (u *ua) passOn(req msg, uri, branch string) {
	u.t.Helper()
	text := req.text
	if _, after, _ := strings.Cut(req.start(), " "); strings.HasPrefix(req.start(), "INVITE") && req.tag("To") == "" {
		old, _, _ := strings.Cut(after, " ")
		text = strings.Replace(text, " "+old+" SIP/2.0", " "+uri+" SIP/2.0", 1)
		text = strings.Replace(text, "\r\n", "\r\nRecord-Route: <sip:"+u.host+";lr>\r\n", 1)
	} else if routes := req.all("Route"); len(routes) > 0 && strings.Contains(routes[0], u.host) {
		text = strings.Replace(text, "Route: "+routes[0]+"\r\n", "", 1)
	}
	u.send(strings.Replace(text, "\r\n", "\r\nVia: SIP/2.0/UDP "+u.host+";branch="+branch+"\r\n", 1))
}

// passBack returns a response by the second Via.
func (u *ua) passBack(res msg) {
	u.t.Helper()
	u.send(strings.Replace(res.text, "Via: "+res.get("Via")+"\r\n", "", 1))
}

// A call between two of our users over an upstream proxy runs through here twice, with one Call-ID and the same tags
// (a spiral, RFC 3261 §16.3): both passes have their own peers.
func TestSpiral(t *testing.T) {
	t.Parallel()
	media := &mediaIDs{ended: map[string]int{}}
	r := newRig(t, options{timers: fast, observer: media})
	web, bob, upstream := r.ws("web"), r.udp("bob"), r.udp("upstream")
	r.to("bob", 0, bob)
	r.to("far", 0, upstream)
	c := web.call("far")
	c.invite()
	upstream.passOn(upstream.expect("INVITE"), "sip:bob@test", "z9hG4bKup1")
	inv := bob.expect("INVITE")
	if n := len(inv.all("Record-Route")); n != 4 { // one, upstream's, and two between UDP and WebSocket
		t.Fatalf("Record-Route %q", inv.all("Record-Route"))
	}
	bob.reply(inv, "180 Ringing", "b", "")
	upstream.passBack(upstream.expect("SIP/2.0 180"))
	web.expect("SIP/2.0 180")
	bob.reply(inv, "200 OK", "b", "v=0\r\n")
	upstream.passBack(upstream.expect("SIP/2.0 200"))
	c.established(web.expect("SIP/2.0 200"))
	web.send(c.request("ACK", "z9hG4bKspack", ""))
	upstream.passOn(upstream.expect("ACK"), "", "z9hG4bKup2")
	if ack := bob.expect("ACK"); len(ack.all("Route")) != 0 {
		t.Errorf("Route %q", ack.all("Route"))
	}
	back := bob.callee(inv, "b")
	bob.send(back.request("INFO", "z9hG4bKspinfo", ""))
	upstream.passOn(upstream.expect("INFO"), "", "z9hG4bKup3")
	info := web.expect("INFO " + web.contact())
	web.reply(info, "200 OK", "", "")
	upstream.passBack(upstream.expect("SIP/2.0 200"))
	bob.expect("SIP/2.0 200")

	web.send(c.request("BYE", "z9hG4bKspbye", ""))
	upstream.passOn(upstream.expect("BYE"), "", "z9hG4bKup4")
	bye := bob.expect("BYE")
	bob.reply(bye, "200 OK", "", "")
	upstream.passBack(upstream.expect("SIP/2.0 200"))
	web.expect("SIP/2.0 200")
	r.dialogs(0, 0)
	r.idle()
	media.mu.Lock()
	defer media.mu.Unlock()
	first := ""
	for id, n := range media.ended {
		if callID, pass := request.CallIDOfMedia(id); n == 1 && pass == 0 {
			first = callID
		}
	}
	if len(media.ended) != 2 || media.ended[first] != 1 || media.ended[first+";pass=1"] != 1 {
		t.Errorf("the media end %v", media.ended)
	}
}
