package forward_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/forward"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// number is the one of CSeq.
func number(t *testing.T, m msg) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Fields(m.get("CSeq"))[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A call that the proxy ends: one BYE to each side, above the last number of that direction, and one to the living side
// when the connection of the other is dead.
func TestProxyHangsUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, dialog: dialog.Config{Grace: time.Minute}})
	web, phone := r.ws("web"), r.udp("phone")
	r.to("phone", 0, phone)
	c, inv := r.established(web, phone)
	web.send(c.request("INFO", "z9hG4bKhup1", ""))
	info := phone.expect("INFO")
	phone.reply(info, "200 OK", "", "")
	web.expect("SIP/2.0 200")
	if !r.keeper.End(inv.get("Call-ID")) {
		t.Fatal("no such call")
	}
	bye := phone.expect("BYE")
	if number(t, bye) <= number(t, info) || bye.tag("To") != "b" {
		t.Errorf("BYE to the phone:\n%v", bye)
	}
	phone.reply(bye, "200 OK", "", "")
	bye = web.expect("BYE")
	if bye.tag("From") != "b" {
		t.Errorf("BYE to the page:\n%v", bye)
	}
	web.reply(bye, "200 OK", "", "")
	r.dialogs(0, 0)
	phone.silent("BYE", 100*time.Millisecond)

	_, inv = r.established(web, phone)
	web.close()
	time.Sleep(50 * time.Millisecond) // the proxy sees it
	r.keeper.End(inv.get("Call-ID"))
	phone.reply(phone.expect("BYE"), "200 OK", "", "")
	r.dialogs(0, 0)
	phone.silent("BYE", 100*time.Millisecond)
}

// keys are credentials at the trunk "carrier".
type keys struct{}

func (keys) Authorize(string, *sip.Request) {}
func (keys) Answer(trunk string, req *sip.Request, _ *sip.Response) (bool, error) {
	if trunk != "carrier" {
		return false, nil
	}
	req.AppendHeader(sip.NewHeader("Authorization", "Digest answered"))
	return true, nil
}

// A trunk challenges the proxy's own BYE: it is answered with the trunk's credentials, by a higher number.
func TestProxyHangsUpAtATrunk(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{timers: fast, forward: forward.Config{Challenges: keys{}}})
	alice, carrier := r.udp("alice"), r.udp("carrier")
	r.to("carrier", 0, carrier)
	r.mu.Lock()
	r.routes["carrier"][0].Trunk = "carrier"
	r.mu.Unlock()
	_, inv := r.established(alice, carrier)
	r.keeper.End(inv.get("Call-ID"))
	bye := carrier.expect("BYE")
	carrier.reply(bye, "407 Proxy Authentication Required", "", "", `Proxy-Authenticate: Digest realm="c", nonce="n"`)
	again := carrier.expect("BYE")
	if again.get("Authorization") != "Digest answered" || number(t, again) <= number(t, bye) {
		t.Errorf("second BYE:\n%v", again)
	}
	carrier.reply(again, "200 OK", "", "")
	alice.reply(alice.expect("BYE"), "200 OK", "", "")
	r.dialogs(0, 0)
}

var _ request.Challenges = keys{}
