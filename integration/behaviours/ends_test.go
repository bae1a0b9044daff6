//go:build integration

package behaviours

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// ends are the behaviours about calls that the proxy ends or keeps alive.
func ends() []behaviour {
	return []behaviour{
		{40, "call whose media are gone is ended on both sides once", mediaGone},
		{41, "BYE of the proxy goes on with the numbers and routes of each side", ownNumbers},
		{43, "session timers are bounded and refreshes touch no media", sessionTimers},
	}
}

// forget makes the daemon lose a call, as its timeout would, once the proxy has seen it there.
func (s *site) forget(t *testing.T, callID string) {
	t.Helper()
	if err := harness.Eventually(10*time.Second, func() error {
		log, err := os.ReadFile(s.proxy.Log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "media of the call are watched") && strings.Contains(line, callID) {
				return nil
			}
		}
		return errors.New("the proxy does not watch the call's media")
	}); err != nil {
		t.Fatal(err)
	}
	reply, err := harness.NG{Address: s.media.Address}.Ask(map[string]any{"command": "delete", "call-id": callID, "delete-delay": 0})
	if err != nil || reply["result"] != "ok" {
		t.Fatalf("delete: %v %v", reply, err)
	}
}

func mediaGone(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	s.forget(t, e.caller.callID)
	for _, p := range []*peer{phone, page} {
		p.reply(p.expect("BYE "), "200 OK", body{})
	}
	phone.none("BYE ")
	page.none("BYE ")
	// Whoever hangs up all the same is content.
	page.send(e.caller.request("BYE", body{}))
	if res := page.final(); res.code() != 200 && res.code() != 481 {
		t.Errorf("BYE after the end: %s", res.start())
	}
}

func ownNumbers(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	rr := "<sip:" + carrier.host + ";lr;edge=1>"
	c.invite(plain(), "Record-Route: "+rr)
	inv := phone.expect("INVITE ")
	d := phone.accept(inv, plain())
	c.learn(carrier.expect("SIP/2.0 200"))
	c.routes = c.routes[1:] // its own proxy's
	carrier.send(c.request("ACK", body{}))
	phone.expect("ACK ")
	for range 3 {
		carrier.send(c.request("INFO", body{}))
		phone.reply(phone.expect("INFO "), "200 OK", body{})
		carrier.expect("SIP/2.0 200")
	}
	phone.send(d.request("INFO", body{}))
	carrier.reply(carrier.expect("INFO "), "200 OK", body{})
	phone.expect("SIP/2.0 200")
	s.forget(t, c.callID)
	toPhone, toCarrier := phone.expect("BYE "), carrier.expect("BYE ")
	for _, w := range []struct {
		bye      msg
		cseq     string
		from, to string
		uri      string
		routes   string
	}{
		{toPhone, fmt.Sprintf("%d BYE", c.seq+1), c.local, d.local, phone.contact(), "[]"},
		{toCarrier, fmt.Sprintf("%d BYE", d.seq+1), d.local, c.local, carrier.contact(), "[" + rr + "]"},
	} {
		got := fmt.Sprint(w.bye.get("CSeq"), w.bye.get("From"), w.bye.get("To"), w.bye.uri(), w.bye.all("Route"))
		if want := fmt.Sprint(w.cseq, w.from, w.to, w.uri, w.routes); got != want {
			t.Errorf("BYE\n%s\nwant\n%s", got, want)
		}
	}
	phone.reply(toPhone, "200 OK", body{})
	carrier.reply(toCarrier, "200 OK", body{})
}

func sessionTimers(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain(), "Supported: timer", "Session-Expires: 60")
	res := carrier.final()
	if res.code() != 422 || res.get("Min-SE") != "90" {
		t.Errorf("too short an interval:\n%s", res.text)
	}
	c.ackFailure(res)
	phone.none("INVITE ")
	c = carrier.call(phone.aor())
	c.invite(plain(), "Supported: timer", "Session-Expires: 90;refresher=uac")
	inv := phone.expect("INVITE ")
	if got := inv.get("Session-Expires"); !strings.HasPrefix(got, "90") {
		t.Errorf("Session-Expires: %q", got)
	}
	d := phone.accept(inv, plain(), "Session-Expires: 90;refresher=uac", "Require: timer")
	res = carrier.expect("SIP/2.0 200")
	if got := res.get("Session-Expires"); got != "90;refresher=uac" {
		t.Errorf("Session-Expires: %q", got)
	}
	c.confirm(res, body{})
	phone.expect("ACK ")
	// As JsSIP refreshes.
	carrier.send(c.request("UPDATE", body{}, "Session-Expires: 90;refresher=uac", "Supported: timer"))
	update := phone.expect("UPDATE ")
	if update.body() != "" {
		t.Errorf("SDP out of nothing:\n%s", update.text)
	}
	phone.reply(update, "200 OK", body{}, "Session-Expires: 90;refresher=uac", "Require: timer")
	carrier.expect("SIP/2.0 200")
	d.hangUp(carrier)
}
