//go:build integration

package mission

import (
	"fmt"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	step      = 10 * time.Second // for what one side does to show at the other
	browserHz = 1000.0           // what a page's microphone hears
	otherHz   = 1400.0           // and that of the second page
	phoneHz   = 440.0            // what a phone plays
	margin    = 20.0
)

func TestMission(t *testing.T) {
	s := newSite(t, programs(t))
	for _, daemon := range []string{"rtpengine", "mediad"} {
		t.Run(daemon, func(t *testing.T) {
			s.open(t, daemon)
			t.Run("a phone calls a browser", s.phoneCallsBrowser)
			t.Run("a browser calls a phone", s.browserCallsPhone)
			t.Run("a browser calls a browser", s.browserCallsBrowser)
			if daemon == "mediad" {
				t.Run("a browser calls baresip", s.browserCallsBaresip)
				t.Run("pages reloaded and closed", s.pagesComeAndGo)
			}
		})
	}
}

// listener is a side of a call that can tell what it hears, in Hz.
type listener interface{ hears() (float64, error) }

type pageEar struct{ *harness.Page }

func (p pageEar) hears() (float64, error) { return p.Tone() }

type phoneEar struct{ *harness.Phone }

func (p phoneEar) hears() (float64, error) {
	call, err := p.Last()
	return call.RTP.FrequencyHz, err
}

// hear waits until a side hears a tone of that frequency; 0 is silence.
func hear(t *testing.T, who listener, hz float64) {
	t.Helper()
	if err := harness.Eventually(step, func() error {
		f, err := who.hears()
		if err == nil && (f < hz-margin || f > hz+margin) {
			err = fmt.Errorf("hears %v Hz instead of %v", f, hz)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// talk checks the audio of a call between a page and a phone, both ways.
func talk(t *testing.T, page *harness.Page, phone *harness.Phone) {
	t.Helper()
	hear(t, pageEar{page}, phoneHz)
	hear(t, phoneEar{phone}, browserHz)
}

func (s *site) reset(t *testing.T) {
	t.Helper()
	must(t, s.page.Reset())
	must(t, s.other.Reset())
	must(t, s.phoneA.Reset())
	must(t, s.phoneB.Reset())
}

func until(t *testing.T, p *harness.Page, states ...string) {
	t.Helper()
	if _, err := p.Until(step, states...); err != nil {
		t.Fatal(err)
	}
}

// phoneCallsBrowser is a call from the office through the SIP server: the phone holds, resumes and transfers the page to
// another phone.
func (s *site) phoneCallsBrowser(t *testing.T) {
	s.reset(t)
	must(t, s.phoneA.CallFrom(deskUser, pageUser))
	until(t, s.page, "incoming")
	must(t, s.page.Answer())
	must(t, s.phoneA.Until(step, "established"))
	until(t, s.page, "confirmed")
	talk(t, s.page, s.phoneA)

	must(t, s.phoneA.Hold("sendonly"))
	held(t, s.page, true)
	hear(t, phoneEar{s.phoneA}, 0)
	hear(t, pageEar{s.page}, phoneHz) // its music goes on
	must(t, s.phoneA.Resume())
	held(t, s.page, false)
	talk(t, s.page, s.phoneA)

	must(t, s.phoneA.Transfer(deskUser2))
	must(t, s.phoneB.Until(step, "established"))
	must(t, s.phoneA.Until(step, "ended")) // told by NOTIFY that it worked
	until(t, s.page, "confirmed")
	talk(t, s.page, s.phoneB)
	must(t, s.phoneB.Hangup())
	until(t, s.page, "ended")
	s.idle(t)
}

// browserCallsPhone: the page holds, resumes and hangs up, the phone holds without media.
func (s *site) browserCallsPhone(t *testing.T) {
	s.reset(t)
	must(t, s.page.Call(deskUser))
	until(t, s.page, "confirmed")
	talk(t, s.page, s.phoneA)
	must(t, s.phoneA.Hold("inactive"))
	held(t, s.page, true)
	hear(t, pageEar{s.page}, 0)
	must(t, s.phoneA.Resume())
	held(t, s.page, false)
	talk(t, s.page, s.phoneA)
	must(t, s.page.Hold())
	hear(t, phoneEar{s.phoneA}, 0)
	must(t, s.page.Unhold())
	talk(t, s.page, s.phoneA)
	must(t, s.page.Hangup())
	must(t, s.phoneA.Until(step, "ended"))
	s.idle(t)
}

// browserCallsBrowser passes the border twice with one Call-ID: out of the first page to the SIP server, and from there
// back to the second page.
func (s *site) browserCallsBrowser(t *testing.T) {
	s.reset(t)
	must(t, s.other.Call(pageUser))
	until(t, s.page, "incoming")
	must(t, s.page.Answer())
	until(t, s.page, "confirmed")
	until(t, s.other, "confirmed")
	both := func() {
		t.Helper()
		hear(t, pageEar{s.page}, otherHz)
		hear(t, pageEar{s.other}, browserHz)
	}
	both()
	must(t, s.page.Hold())
	held(t, s.other, true)
	must(t, s.page.Unhold())
	held(t, s.other, false)
	both()
	must(t, s.other.Hangup())
	until(t, s.page, "ended")
	s.idle(t)
}

// browserCallsBaresip is a call with a phone that others have written: the page hears its own voice, which baresip has
// heard and says again.
func (s *site) browserCallsBaresip(t *testing.T) {
	s.reset(t)
	s.baresip(t)
	must(t, s.page.Call(deskUser3))
	until(t, s.page, "confirmed")
	hear(t, pageEar{s.page}, browserHz)
	must(t, s.page.Hangup())
	until(t, s.page, "ended")
	s.idle(t)
}

// pagesComeAndGo: a reloaded page takes its own place, and nobody waits for one that has gone.
func (s *site) pagesComeAndGo(t *testing.T) {
	s.reset(t)
	for range 2 {
		must(t, s.page.Reload())
	}
	if all := s.pbx.contacts(pageUser); len(all) != 1 {
		t.Errorf("the SIP server has %v", all)
	}
	must(t, s.phoneA.CallFrom(deskUser, pageUser))
	until(t, s.page, "incoming")
	must(t, s.page.Answer())
	must(t, s.phoneA.Until(step, "established"))
	talk(t, s.page, s.phoneA)
	must(t, s.phoneA.Hangup())
	until(t, s.page, "ended")

	must(t, s.other.Close())
	if err := harness.Eventually(step, func() error {
		if all := s.pbx.contacts(otherUser); len(all) > 0 {
			return fmt.Errorf("the SIP server still has %v", all)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	must(t, s.phoneA.Reset())
	must(t, s.phoneA.CallFrom(deskUser, otherUser))
	must(t, s.phoneA.Until(2*time.Second, "ended")) // 404 of the SIP server, at once
	s.idle(t)
}

func held(t *testing.T, p *harness.Page, want bool) {
	t.Helper()
	if err := harness.Eventually(step, func() error {
		state, err := p.State()
		if err == nil && state.HeldByPeer != want {
			err = fmt.Errorf("held by the peer: %v", state.HeldByPeer)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
