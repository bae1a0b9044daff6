//go:build integration

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// TestCallEvents is acceptance line 3: what happens to calls besides being
// answered and ended. After each case the media daemon is empty.
func TestCallEvents(t *testing.T) {
	cases := []struct {
		name string
		run  func(t *testing.T, s *stack)
	}{
		{"browser-holds", browserHolds},
		{"phone-holds", phoneHolds},
		{"phone-reinvites", phoneReinvites},
		{"late-offer", lateOffer},
		{"ice-restart", iceRestart},
		{"digits", digits},
		{"bye", byes},
		{"cancel", cancels},
		{"cancel-crosses-200", cancelCrossesAnswer},
		{"busy", busy},
		{"no-answer", noAnswer},
		{"page-closed-ringing", pageClosedRinging},
		{"page-closed", pageClosed},
	}
	forEachStack(t, func(t *testing.T, s *stack) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				defer s.clear(t)
				c.run(t, s)
			})
		}
	})
}

func eventually(check func() error) error { return harness.Eventually(stepLimit, check) }

// browserHolds: the phone is told sendonly, so that neither side hears anything
// (the page mutes its microphone too); then all is back.
func browserHolds(t *testing.T, s *stack) {
	for _, from := range []caller{fromBrowser, fromPhone} {
		s.connect(t, from)
		s.checkAudio(t)
		s.must(t, s.page.Hold())
		s.must(t, s.lastToPhone("sendonly"))
		s.must(t, s.phoneHears(0))
		s.must(t, s.pageHears(0))
		s.must(t, s.page.Unhold())
		s.must(t, s.lastToPhone("sendrecv"))
		s.checkAudio(t)
		s.checkSDP(t)
		s.must(t, s.page.Hangup())
		s.checkEnded(t)
	}
}

// phoneHolds: with sendonly the page hears on and is no longer heard, with
// inactive there is silence both ways; the browser's ICE and DTLS stay.
func phoneHolds(t *testing.T, s *stack) {
	for _, from := range []caller{fromBrowser, fromPhone} {
		s.connect(t, from)
		s.checkAudio(t)
		s.must(t, s.phone.Hold("sendonly"))
		s.must(t, s.lastToPage("sendonly"))
		s.must(t, s.phoneHears(0))
		s.must(t, s.pageHears(phoneHz))
		s.must(t, s.phone.Hold("inactive"))
		s.must(t, s.lastToPage("inactive"))
		s.must(t, s.pageHears(0))
		s.must(t, s.phone.Resume())
		s.must(t, s.lastToPage("sendrecv"))
		s.checkAudio(t)
		s.checkSDP(t)
		s.checkSameTransport(t)
		s.must(t, s.phone.Hangup())
		s.checkEnded(t)
	}
}

// phoneReinvites: a re-INVITE with the same media, as session timers send it,
// in calls of either direction, leaves the browser's ICE and DTLS alone.
func phoneReinvites(t *testing.T, s *stack) {
	for _, from := range []caller{fromBrowser, fromPhone} {
		s.connect(t, from)
		s.checkAudio(t)
		before, err := s.toPage()
		s.must(t, err)
		s.must(t, s.phone.Resume())
		s.must(t, eventually(func() error {
			after, err := s.toPage()
			if err == nil && len(after) == len(before) {
				err = fmt.Errorf("no re-INVITE reached the page")
			}
			return err
		}))
		s.checkSameTransport(t)
		settle()
		s.checkAudio(t)
		s.checkSDP(t)
		s.must(t, s.page.Hangup())
		s.checkEnded(t)
	}
}

// lateOffer: the phone's INVITE has no SDP. The browser's offer in the 200 has to
// become plain, and the phone's answer in the ACK has to become WebRTC.
func lateOffer(t *testing.T, s *stack) {
	s.must(t, s.page.Reset())
	s.must(t, s.phone.Reset())
	s.must(t, s.phone.CallWithoutOffer(harness.PageUser))
	_, err := s.page.Until(stepLimit, "incoming")
	s.must(t, err)
	s.must(t, s.page.Answer())
	_, err = s.page.Until(stepLimit, "confirmed")
	s.must(t, err)
	s.must(t, s.phone.Until(stepLimit, "established"))
	s.checkAudio(t)
	s.checkSDP(t)
	s.must(t, s.phone.Resume())
	s.checkSameTransport(t)
	s.checkAudio(t)
	s.must(t, s.page.Hangup())
	s.checkEnded(t)
}

// iceRestart: the browser comes with new ICE credentials and gets new ones; DTLS
// stays, and so does the phone's side.
func iceRestart(t *testing.T, s *stack) {
	s.connect(t, fromBrowser)
	s.checkAudio(t)
	s.must(t, s.page.RestartICE())
	for side, list := range map[string]func([]harness.Message) []string{"page": sent, "media daemon": received} {
		messages, err := s.page.Messages()
		s.must(t, err)
		bodies := list(messages)
		before, _ := attribute(bodies[0], "ice-ufrag")
		after, _ := attribute(bodies[len(bodies)-1], "ice-ufrag")
		if len(bodies) < 2 || before == after {
			t.Errorf("the %s has not restarted ICE: a=ice-ufrag:%s before, %s after", side, before, after)
		}
	}
	before, err := s.page.Stats()
	s.must(t, err)
	s.must(t, eventually(func() error {
		now, err := s.page.Stats()
		if err == nil && now.Received < before.Received+minPackets {
			err = fmt.Errorf("%d packets reached the page after the restart", now.Received-before.Received)
		}
		return err
	}))
	s.checkAudio(t)
	s.checkLoss(t)
	s.must(t, s.phone.Hangup())
	s.checkEnded(t)
}

// digits: DTMF as telephone-event from the page arrives at the phone.
func digits(t *testing.T, s *stack) {
	const want = "159#"
	s.connect(t, fromBrowser)
	s.checkAudio(t)
	s.must(t, s.page.Digits(want))
	s.must(t, eventually(func() error {
		call, err := s.phone.Last()
		if got := call.RTP.Digits; err == nil && got != want {
			err = fmt.Errorf("the phone got the digits %q, want %q", got, want)
		}
		return err
	}))
	s.must(t, s.page.Hangup())
	s.checkEnded(t)
}

// byes: either side may end a call of either direction.
func byes(t *testing.T, s *stack) {
	for _, from := range []caller{fromBrowser, fromPhone} {
		for _, ender := range []caller{fromBrowser, fromPhone} {
			s.connect(t, from)
			s.hangup(t, ender)
			s.checkEnded(t)
		}
	}
}

func (s *stack) hangup(t *testing.T, who caller) {
	t.Helper()
	if who == fromBrowser {
		s.must(t, s.page.Hangup())
	} else {
		s.must(t, s.phone.Hangup())
	}
}

// cancels: the caller gives up while the callee rings.
func cancels(t *testing.T, s *stack) {
	for _, from := range []caller{fromBrowser, fromPhone} {
		s.ring(t, from, harness.QuietUser)
		s.hangup(t, from)
		s.checkEnded(t)
		s.must(t, s.callerGot(from, "487"))
	}
}

// cancelCrossesAnswer: the callee answers and the caller gives up at nearly the
// same time. Whoever wins, both sides end and nothing is left.
func cancelCrossesAnswer(t *testing.T, s *stack) {
	outcomes := map[string]int{}
	for _, early := range []time.Duration{16, 12, 10, 8, 6, 4, 2, 0, -4} {
		s.ring(t, fromBrowser, harness.SlowUser)
		ringing, err := s.ringingSince()
		s.must(t, err)
		time.Sleep(time.Until(ringing.Add(harness.SlowRing - early*time.Millisecond)))
		s.must(t, s.page.Hangup())
		s.leaveAbandoned(t, outcomes)
		s.checkEnded(t)
		s.countOutcome(t, fromBrowser, outcomes)
	}
	for _, delay := range []time.Duration{-160, -140, -120, -60, -35, -20, -5, 5} {
		s.ring(t, fromPhone, "")
		answered := make(chan error, 1)
		go func() {
			time.Sleep(max(0, delay) * time.Millisecond)
			answered <- s.page.Answer()
		}()
		time.Sleep(max(0, -delay) * time.Millisecond)
		s.must(t, s.phone.Hangup())
		s.must(t, <-answered)
		s.checkEnded(t)
		s.countOutcome(t, fromPhone, outcomes)
	}
	t.Log("final responses to the INVITEs: ", outcomes)
}

// leaveAbandoned plays the phone's user where JsSIP (3.13) has sent CANCEL and
// then ignores the 200 that crossed it: no ACK and no BYE come from it. Our
// proxy sends both for it after 4 s; under Kamailio the phone's side stays until
// somebody hangs up.
func (s *stack) leaveAbandoned(t *testing.T, outcomes map[string]int) {
	t.Helper()
	limit := time.Second
	if s.cell.signalling == "proxy" {
		limit = 8 * time.Second
	}
	err := s.phone.Until(limit, "ended")
	if err == nil || s.library != "jssip" {
		return
	}
	if s.cell.signalling == "proxy" {
		t.Errorf("the phone was left alone: %v", err)
	}
	outcomes["phone left alone"]++
	if err := s.phone.Hangup(); err != nil {
		t.Logf("the page does not know the call any more: %v", err)
	}
}

// ringingSince is when the phone sent its 180.
func (s *stack) ringingSince() (time.Time, error) {
	var since time.Time
	err := eventually(func() error {
		messages, err := s.phone.Messages()
		for _, m := range messages {
			if m.Sent && status(m.Text) == "180" {
				since = time.UnixMilli(m.Time)
				return err
			}
		}
		return errors.Join(err, errors.New("the phone has sent no 180"))
	})
	return since, err
}

func (s *stack) countOutcome(t *testing.T, from caller, outcomes map[string]int) {
	t.Helper()
	s.must(t, s.callerGot(from, "200", "487"))
	code, err := s.finalCode(from)
	s.must(t, err)
	messages, err := s.callerMessages(from)
	s.must(t, err)
	for _, m := range messages {
		if m.Sent && strings.HasPrefix(m.Text, "CANCEL ") && code == "200" {
			code += " crossed a CANCEL"
		}
	}
	outcomes[from.String()+" "+code]++
}

// busy: 486 goes back to the caller.
func busy(t *testing.T, s *stack) {
	s.must(t, s.page.Reset())
	s.must(t, s.page.Call(harness.BusyUser))
	_, err := s.page.Until(stepLimit, "ended")
	s.must(t, err)
	s.must(t, eventually(s.media.Idle))
	s.must(t, s.callerGot(fromBrowser, "486"))

	s.ring(t, fromPhone, "")
	s.must(t, s.page.Reject(486))
	s.checkEnded(t)
	s.must(t, s.callerGot(fromPhone, "486"))
}

// noAnswer: the phone rings until the proxy gives up; the page refuses by itself.
func noAnswer(t *testing.T, s *stack) {
	s.ring(t, fromBrowser, harness.QuietUser)
	_, err := s.page.Until(harness.RingTime+stepLimit, "ended")
	s.must(t, err)
	s.checkEnded(t)
	s.must(t, s.callerGot(fromBrowser, "408"))

	s.ring(t, fromPhone, "")
	s.must(t, s.phone.Until(ringLimit+stepLimit, "ended"))
	s.checkEnded(t)
	s.must(t, s.callerGot(fromPhone, map[string]string{"jssip": "408", "sipjs": "480"}[s.library]))
}

func (s *stack) callerMessages(from caller) ([]harness.Message, error) {
	messages, err := s.phone.Messages()
	if from == fromBrowser {
		messages, err = s.page.Messages()
	}
	return ofFirstCall(messages), err
}

// finalCode is the last final response to INVITE that the caller got.
func (s *stack) finalCode(from caller) (string, error) {
	messages, err := s.callerMessages(from)
	last := ""
	for _, m := range messages {
		if code := status(m.Text); !m.Sent && method(m.Text) == "INVITE" && code >= "200" {
			last = code
		}
	}
	return last, err
}

// callerGot waits for the caller's INVITE to be answered with one of the codes. A
// page tells that its call has ended when it sends CANCEL, not when 487 comes.
func (s *stack) callerGot(from caller, want ...string) error {
	return eventually(func() error {
		got, err := s.finalCode(from)
		if err == nil && !slices.Contains(want, got) {
			err = fmt.Errorf("the %v's INVITE was answered %q, want %v", from, got, want)
		}
		return err
	})
}

// pageClosedRinging: the browser is gone before the call is answered. The proxy
// cancels its call, and ends a call to it at the latest when ringing is over.
func pageClosedRinging(t *testing.T, s *stack) {
	s.ring(t, fromBrowser, harness.QuietUser)
	s.must(t, s.page.Close())
	s.must(t, s.phone.Until(stepLimit, "ended"))
	s.must(t, eventually(s.media.Idle))
	s.openPage(t)

	s.ring(t, fromPhone, "")
	s.must(t, s.page.Close())
	s.must(t, s.phone.Until(stepLimit, "ended"))
	s.must(t, s.callerGot(fromPhone, "480", "408"))
	s.must(t, eventually(s.media.Idle))
	s.openPage(t)
}

// pageClosed: the browser is gone without a word. The proxy owns the connection
// and tells the phone; then a new page of the same user can be called.
func pageClosed(t *testing.T, s *stack) {
	for _, from := range []caller{fromBrowser, fromPhone} {
		s.connect(t, from)
		s.checkAudio(t)
		s.must(t, s.page.Close())
		s.must(t, s.phone.Until(stepLimit, "ended"))
		s.must(t, eventually(s.media.Idle))
		s.openPage(t)
	}
	s.connect(t, fromPhone)
	s.checkAudio(t)
	s.must(t, s.phone.Hangup())
	s.checkEnded(t)
}

// toPage and toPhone are the SDP bodies that came to a side in its last call.
func (s *stack) toPage() ([]string, error) {
	messages, err := s.page.Messages()
	return received(messages), err
}

func (s *stack) toPhone() ([]string, error) {
	messages, err := s.phone.Messages()
	return received(messages), err
}

func (s *stack) lastToPage(want string) error { return lastDirection(s.toPage, "page", want) }

func (s *stack) lastToPhone(want string) error { return lastDirection(s.toPhone, "phone", want) }

func lastDirection(to func() ([]string, error), side, want string) error {
	return eventually(func() error {
		bodies, err := to()
		if err != nil {
			return err
		}
		if len(bodies) == 0 {
			return fmt.Errorf("no SDP came to the %s", side)
		}
		if got := direction(bodies[len(bodies)-1]); got != want {
			return fmt.Errorf("the %s was told %s, want %s", side, got, want)
		}
		return nil
	})
}

// checkSameTransport: all SDP towards the browser in this call names the same
// ICE credentials and the same DTLS certificate.
func (s *stack) checkSameTransport(t *testing.T) {
	t.Helper()
	bodies, err := s.toPage()
	s.must(t, err)
	for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		first, _ := attribute(bodies[0], name)
		for _, sdp := range bodies[1:] {
			if now, _ := attribute(sdp, name); now != first {
				t.Errorf("a=%s towards the browser changed from %q to %q", name, first, now)
			}
		}
	}
}
