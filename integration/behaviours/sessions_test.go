//go:build integration

package behaviours

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// sessions are the behaviours about SDP, legs and the media daemon.
func sessions() []behaviour {
	return []behaviour{
		{1, "183 and 200 give a browser the same SDP", sameAnswer},
		{2, "200 repeats the answer of an unreliable 183 and may leave out that of a reliable one", answerOnce},
		{3, "late offer of a phone is answered by the browser's ACK", lateOffer},
		{4, "browser offers when called without SDP", browserOffers},
		{5, "PRACK and UPDATE carry offers and answers", pracksAndUpdates},
		{6, "of several parts only SDP is touched and only SDP reaches a browser", multipart},
		{7, "odd SDP keeps its media lines in number and order", oddSDP},
		{8, "flags belong to the leg in re-INVITEs of either side", legs},
		{10, "hold by each of its spellings and resume", hold},
		{11, "failed re-INVITE leaves call and media", failedReinvite},
		{12, "491 is relayed and the next offer passes", glare},
		{13, "media end at the BYE of either side and of an early dialog", mediaEnd},
	}
}

// like reports that SDP is for a browser or for a phone.
func like(t *testing.T, m msg, profile string) {
	t.Helper()
	if got := m.audio(); got != profile {
		t.Errorf("SDP is %q, want %q:\n%s", got, profile, m.text)
	}
	if _, ice := strings.CutPrefix(m.line("a=ice-ufrag:"), " "); ice || (m.line("a=ice-ufrag:") != "") != (profile == savpf) {
		t.Errorf("ICE in %s", m.text)
	}
}

const (
	savpf = "UDP/TLS/RTP/SAVPF"
	avp   = "RTP/AVP"
)

// hasMedia reports whether the daemon knows the call.
func (s *site) hasMedia(callID string) bool {
	calls, err := s.media.Calls()
	return err == nil && slices.Contains(calls, callID)
}

// released waits until the daemon has forgotten the call.
func (s *site) released(t *testing.T, callID string) {
	t.Helper()
	if err := harness.Eventually(3*time.Second, func() error {
		if s.hasMedia(callID) {
			return errors.New("its media are still there")
		}
		return nil
	}); err != nil {
		t.Errorf("%s: %v", callID, err)
	}
}

func sameAnswer(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	c := page.call(phone.aor())
	c.invite(web())
	inv := phone.expect("INVITE ")
	like(t, inv, avp)
	phone.reply(inv, "183 Session Progress", plain())
	early := page.expect("SIP/2.0 183")
	like(t, early, savpf)
	phone.reply(inv, "200 OK", plain())
	final := page.expect("SIP/2.0 200")
	if early.body() != final.body() {
		t.Errorf("the browser hears two answers:\n%s\n%s", early.body(), final.body())
	}
}

func answerOnce(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	c := page.call(phone.aor())
	c.invite(web(), "Supported: 100rel")
	inv := phone.expect("INVITE ")
	phone.reply(inv, "180 Ringing", body{})
	phone.reply(inv, "200 OK", plain())
	first := page.expect("SIP/2.0 200")
	like(t, first, savpf)
	phone.reply(inv, "200 OK", plain()) // repeated, as no ACK has come
	if again := page.expect("SIP/2.0 200"); again.body() != first.body() {
		t.Error("a repeated 200 says something else")
	}

	c = page.call(phone.aor())
	c.invite(web(), "Supported: 100rel")
	inv = phone.expect("INVITE ")
	phone.reply(inv, "183 Session Progress", plain(), "Require: 100rel", "RSeq: 7")
	res := page.expect("SIP/2.0 183")
	like(t, res, savpf)
	c.learn(res)
	page.send(c.request("PRACK", body{}, "RAck: 7 2 INVITE"))
	phone.reply(phone.expect("PRACK "), "200 OK", body{})
	page.expect("SIP/2.0 200")
	phone.reply(inv, "200 OK", body{})
	if res := page.expect("SIP/2.0 200"); res.body() != "" {
		t.Errorf("the proxy has made up an answer:\n%s", res.text)
	}
}

func lateOffer(t *testing.T, s *site) {
	phone, page := s.phone(t), s.page(t)
	c := page.call(phone.aor())
	c.invite(body{})
	inv := phone.expect("INVITE ")
	if inv.body() != "" {
		t.Errorf("SDP out of nothing:\n%s", inv.text)
	}
	phone.accept(inv, plain())
	res := page.expect("SIP/2.0 200")
	like(t, res, savpf)
	c.confirm(res, webAnswer())
	like(t, phone.expect("ACK "), avp)
}

func browserOffers(t *testing.T, s *site) {
	phone, page := s.phone(t), s.page(t)
	c := phone.call(page.aor())
	c.invite(body{})
	inv := page.expect("INVITE ")
	page.accept(inv, web())
	res := phone.expect("SIP/2.0 200")
	like(t, res, avp)
	c.confirm(res, plain())
	ack := page.expect("ACK ")
	like(t, ack, savpf)
	if setup := ack.line("a=setup:"); setup != "active" && setup != "passive" {
		t.Errorf("setup:%s is no answer", setup)
	}
}

func pracksAndUpdates(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	c := page.call(phone.aor())
	c.invite(body{}, "Supported: 100rel")
	inv := phone.expect("INVITE ")
	phone.reply(inv, "183 Session Progress", plain(), "Require: 100rel", "RSeq: 1")
	res := page.expect("SIP/2.0 183")
	like(t, res, savpf) // an offer
	c.learn(res)
	page.send(c.request("PRACK", webAnswer(), "RAck: 1 2 INVITE"))
	prack := phone.expect("PRACK ")
	like(t, prack, avp)
	phone.reply(prack, "200 OK", body{})
	page.expect("SIP/2.0 200")
	// The early dialog is changed by the callee, then by the caller.
	d := phone.callee(inv, "callee")
	phone.send(d.request("UPDATE", plain("a=sendonly")))
	update := page.expect("UPDATE ")
	like(t, update, savpf)
	page.reply(update, "200 OK", webAnswer("a=recvonly"))
	like(t, phone.expect("SIP/2.0 200"), avp)
	page.send(c.request("UPDATE", web()))
	update = phone.expect("UPDATE ")
	like(t, update, avp)
	phone.reply(update, "200 OK", plain())
	like(t, page.expect("SIP/2.0 200"), savpf)
	phone.reply(inv, "200 OK", body{})
	c.confirm(page.expect("SIP/2.0 200"), body{})
	phone.expect("ACK ")
	// One without SDP, as session timers send it, touches nothing.
	page.send(c.request("UPDATE", body{}))
	update = phone.expect("UPDATE ")
	if update.body() != "" {
		t.Errorf("SDP out of nothing:\n%s", update.text)
	}
	phone.reply(update, "200 OK", body{})
	page.expect("SIP/2.0 200")
}

// isup is binary and has what looks like a boundary and like line ends.
const isup = "\x01\x00\x49\r\n\r\n--x\x00\xff\xfe\n\r\n- -bound\x80"

func mixed(offer body) body {
	return body{`multipart/mixed; boundary="bound"`, "preamble\r\n--bound\r\nContent-Type: application/sdp\r\n\r\n" + offer.text +
		"\r\n--bound\r\nContent-Type: application/isup;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n" + isup + "\r\n--bound--\r\n"}
}

func multipart(t *testing.T, s *site) {
	carrier, phone, page := s.carrier(t), s.phone(t), s.page(t)
	c := carrier.call(phone.aor())
	c.invite(mixed(plain()))
	inv := phone.expect("INVITE ")
	before, after, _ := strings.Cut(inv.body(), "v=0")
	wantBefore, rest, _ := strings.Cut(mixed(plain()).text, "v=0")
	_, wantAfter, _ := strings.Cut(rest, "\r\n--bound")
	_, after, _ = strings.Cut(after, "\r\n--bound")
	if before != wantBefore || after != wantAfter {
		t.Errorf("other parts have changed:\n%q\nwant\n%q", inv.body(), mixed(plain()).text)
	}
	if strings.Contains(inv.body(), "m=audio 4000 ") {
		t.Error("the SDP part did not go to the daemon")
	}
	if got := inv.get("Content-Type"); got != mixed(plain()).kind {
		t.Errorf("Content-Type %q", got)
	}
	c = carrier.call(page.aor())
	c.invite(mixed(plain()))
	inv = page.expect("INVITE ")
	like(t, inv, savpf)
	if inv.get("Content-Type") != "application/sdp" || !strings.HasPrefix(inv.body(), "v=0") || strings.Contains(inv.body(), "isup") {
		t.Errorf("a browser got more than SDP:\n%s", inv.text)
	}
}

func oddSDP(t *testing.T, s *site) {
	carrier, phone := s.carrier(t), s.phone(t)
	offer := plain("m=video 4010 RTP/AVP 96", "a=rtpmap:96 VP8/90000", "m=image 0 udptl t38", "m=audio 4020 RTP/AVP 8 ")
	offer.text = strings.TrimSuffix(offer.text, "\r\n") // no line end at all
	offer.text = strings.Replace(offer.text, "s=-\r\n", "s=- \r\n", 1)
	c := carrier.call(phone.aor())
	c.invite(offer)
	inv := phone.expect("INVITE ")
	kinds := func(m msg) (kinds []string, zero []bool) {
		for _, l := range strings.Split(m.body(), "\r\n") {
			if rest, ok := strings.CutPrefix(l, "m="); ok {
				f := strings.Fields(rest)
				kinds, zero = append(kinds, f[0]), append(zero, f[1] == "0")
			}
		}
		return kinds, zero
	}
	want := []string{"audio", "video", "image", "audio"}
	got, zero := kinds(inv)
	if !slices.Equal(got, want) || !slices.Equal(zero, []bool{false, false, true, false}) {
		t.Errorf("offer has become %v, refused %v", got, zero)
	}
	phone.accept(inv, plain("m=video 0 RTP/AVP 96", "m=image 0 udptl t38", "m=audio 4022 RTP/AVP 8"))
	if got, zero = kinds(carrier.expect("SIP/2.0 200")); !slices.Equal(got, want) || !slices.Equal(zero, []bool{false, true, true, false}) {
		t.Errorf("answer has become %v, refused %v", got, zero)
	}
}

// reinvite sends a re-INVITE, lets the other side accept it, and returns both bodies as they arrived.
func (d *dialog) reinvite(other *peer, offer, answer body) (offered, answered msg) {
	d.p.t.Helper()
	d.p.send(d.request("INVITE", offer))
	offered = other.expect("INVITE ")
	other.reply(offered, "200 OK", answer)
	answered = d.p.expect("SIP/2.0 200")
	d.p.send(d.request("ACK", body{}))
	other.expect("ACK ")
	return offered, answered
}

func legs(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	offered, answered := e.callee.reinvite(page, plain(), webAnswer())
	like(t, offered, savpf)
	like(t, answered, avp)
	offered, answered = e.caller.reinvite(phone, web(), plain())
	like(t, offered, avp)
	like(t, answered, savpf)
	e.caller.hangUp(phone)
}

// direction is what the SDP of a message says about who sends.
func (m msg) direction() string {
	for _, d := range []string{"sendonly", "recvonly", "inactive"} {
		if strings.Contains(m.body(), "a="+d+"\r\n") {
			return d
		}
	}
	return "sendrecv"
}

func hold(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	for _, h := range []struct {
		offer, answer body
		want          string
	}{
		{plain("a=sendonly"), webAnswer("a=recvonly"), "sendonly"},
		{plain("a=inactive"), webAnswer("a=inactive"), "inactive"},
		{plain(), webAnswer(), "sendrecv"},
	} {
		offered, answered := e.callee.reinvite(page, h.offer, h.answer)
		like(t, offered, savpf)
		like(t, answered, avp)
		if offered.direction() != h.want {
			t.Errorf("hold %s has become %s", h.want, offered.direction())
		}
	}
	old := plain()
	old.text = strings.Replace(old.text, "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1)
	offered, _ := e.callee.reinvite(page, old, webAnswer("a=recvonly"))
	if offered.direction() == "sendrecv" && !strings.Contains(offered.body(), "0.0.0.0") {
		t.Errorf("hold by 0.0.0.0 does not arrive:\n%s", offered.body())
	}
	// Resumed by a re-INVITE without SDP: the browser offers, the phone answers in the ACK.
	phone.send(e.callee.request("INVITE", body{}))
	inv := page.expect("INVITE ")
	if inv.body() != "" {
		t.Errorf("SDP out of nothing:\n%s", inv.text)
	}
	page.reply(inv, "200 OK", web())
	like(t, phone.expect("SIP/2.0 200"), avp)
	phone.send(e.callee.request("ACK", plain()))
	like(t, page.expect("ACK "), savpf)
	e.callee.hangUp(page)
}

func failedReinvite(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	phone.send(e.callee.request("INVITE", plain("a=sendonly")))
	inv := page.expect("INVITE ")
	page.reply(inv, "488 Not Acceptable Here", body{})
	page.expect("ACK ")
	e.callee.ackFailure(phone.expect("SIP/2.0 488"))
	if !s.hasMedia(e.caller.callID) {
		t.Error("a refused re-INVITE has cost the call its media")
	}
	offered, _ := e.callee.reinvite(page, plain(), webAnswer())
	like(t, offered, savpf)
	e.callee.hangUp(page)
}

func glare(t *testing.T, s *site) {
	page, phone := s.page(t), s.phone(t)
	e := page.connect(phone, web(), plain())
	page.send(e.caller.request("INVITE", web("a=sendonly")))
	phone.send(e.callee.request("INVITE", plain("a=sendonly")))
	toPhone, toPage := phone.expect("INVITE "), page.expect("INVITE ")
	phone.reply(toPhone, "491 Request Pending", body{})
	page.reply(toPage, "491 Request Pending", body{})
	e.caller.ackFailure(page.expect("SIP/2.0 491"))
	e.callee.ackFailure(phone.expect("SIP/2.0 491"))
	page.expect("ACK ")
	phone.expect("ACK ")
	page.none("INVITE ") // the proxy does not try again by itself
	offered, answered := e.callee.reinvite(page, plain(), webAnswer())
	like(t, offered, savpf)
	like(t, answered, avp)
	e.callee.hangUp(page)
}

func mediaEnd(t *testing.T, s *site) {
	for _, byCaller := range []bool{true, false} {
		page, phone := s.page(t), s.phone(t)
		e := page.connect(phone, web(), plain())
		if !s.hasMedia(e.caller.callID) {
			t.Fatal("a call without media proves nothing")
		}
		if byCaller {
			e.caller.hangUp(phone)
		} else {
			e.callee.hangUp(page)
		}
		s.released(t, e.caller.callID)
	}
	// RFC 3261 §15: the caller may end an early dialog by BYE.
	carrier, phone := s.carrier(t), s.phone(t)
	c := carrier.call(phone.aor())
	c.invite(plain())
	inv := phone.expect("INVITE ")
	phone.reply(inv, "183 Session Progress", plain())
	c.learn(carrier.expect("SIP/2.0 183"))
	carrier.send(c.request("BYE", body{}))
	phone.reply(phone.expect("BYE "), "200 OK", body{})
	carrier.expect("SIP/2.0 200")
	phone.reply(inv, "487 Request Terminated", body{})
	carrier.expect("SIP/2.0 487")
	s.released(t, c.callID)
}
