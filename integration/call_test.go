//go:build integration

package integration

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// TestBrowserAndPhone is acceptance lines 1 and 2: in every cell and with both
// libraries a browser calls a plain phone and is called by it; each side hears
// the other's tone, less than 1 % is lost, and each leg speaks its own SDP.
func TestBrowserAndPhone(t *testing.T) {
	forEachStack(t, func(t *testing.T, s *stack) {
		t.Run("browser-calls-phone", func(t *testing.T) {
			defer s.clear(t)
			s.connect(t, fromBrowser)
			s.checkAudio(t)
			s.checkLoss(t)
			s.checkSDP(t)
			s.must(t, s.page.Hangup())
			s.checkEnded(t)
			s.checkRecording(t)
		})
		t.Run("phone-calls-browser", func(t *testing.T) {
			defer s.clear(t)
			s.connect(t, fromPhone)
			s.checkAudio(t)
			s.checkLoss(t)
			s.checkSDP(t)
			s.must(t, s.phone.Hangup())
			s.checkEnded(t)
			s.checkRecording(t)
		})
		t.Run("browser-calls-browser", func(t *testing.T) {
			defer s.clear(t)
			browserCallsBrowser(t, s)
		})
	})
}

// browserCallsBrowser: with a page of the other library as the peer, both legs
// are WebRTC.
func browserCallsBrowser(t *testing.T, s *stack) {
	library := map[string]string{"jssip": "sipjs", "sipjs": "jssip"}[s.library]
	other, err := s.browser.OpenPage(s.cell.String()+" "+s.library+" other", library, harness.OtherUser, s.signalling.WSS, ringLimit)
	s.must(t, err)
	defer func() { s.must(t, other.Close()) }()
	s.must(t, s.page.Reset())
	s.must(t, s.page.Call(harness.OtherUser))
	_, err = other.Until(stepLimit, "incoming")
	s.must(t, err)
	s.must(t, other.Answer())
	for _, page := range []*harness.Page{s.page, other} {
		_, err = page.Until(stepLimit, "confirmed")
		s.must(t, err)
	}
	for _, page := range []*harness.Page{s.page, other} {
		s.must(t, hears(page, browserHz))
		s.must(t, s.media.Busy())
		messages, err := page.Messages()
		s.must(t, err)
		for _, sdp := range received(messages) {
			if err := browserSDP(sdp); err != nil {
				t.Error(err)
			}
		}
	}
	s.must(t, other.Hangup())
	_, err = s.page.Until(stepLimit, "ended")
	s.must(t, err)
	s.must(t, eventually(s.media.Idle))
}

// A caller says which side starts a call.
type caller int

const (
	fromBrowser caller = iota
	fromPhone
)

func (c caller) String() string { return [...]string{"browser", "phone"}[c] }

// must ends the test when err is not nil, and keeps the SIP of both sides.
func (s *stack) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		s.keepMessages(t)
		t.Fatalf("%v\nlogs and SIP: %s", err, s.out)
	}
}

// keepMessages writes the present call's SIP, as each side saw it, to files.
func (s *stack) keepMessages(t *testing.T) {
	name := strings.ReplaceAll(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:], " ", "_")
	for side, messages := range map[string]func() ([]harness.Message, error){
		"page": s.page.Messages, "phone": s.phone.Messages,
	} {
		list, err := messages()
		if err != nil {
			t.Log(err)
			continue
		}
		var text strings.Builder
		for _, m := range list {
			arrow := "received"
			if m.Sent {
				arrow = "sent"
			}
			fmt.Fprintf(&text, "==== %s %s %s\n%s\n", side, arrow, time.UnixMilli(m.Time).Format("15:04:05.000"), m.Text)
		}
		if err := os.WriteFile(filepath.Join(s.out, name+"-"+side+".sip"), []byte(text.String()), 0o644); err != nil {
			t.Log(err)
		}
	}
}

// clear ends what a case that failed has left, so that the next one starts clean.
func (s *stack) clear(t *testing.T) {
	if !t.Failed() {
		return
	}
	_ = s.page.Hangup()
	_ = s.phone.Hangup()
	if err := eventually(s.media.Idle); err != nil {
		t.Log(err)
	}
}

// ring starts a call, to user when the browser calls, and waits until the callee
// rings.
func (s *stack) ring(t *testing.T, from caller, user string) {
	t.Helper()
	s.must(t, s.page.Reset())
	s.must(t, s.phone.Reset())
	if from == fromBrowser {
		s.must(t, s.page.Call(user))
		s.must(t, s.phone.Until(stepLimit, "ringing", "established"))
		return
	}
	s.must(t, s.phone.Call(harness.PageUser))
	_, err := s.page.Until(stepLimit, "incoming")
	s.must(t, err)
}

// connect makes a call and waits until both sides have it.
func (s *stack) connect(t *testing.T, from caller) {
	t.Helper()
	s.ring(t, from, harness.ToneUser)
	if from == fromPhone {
		s.must(t, s.page.Answer())
	}
	_, err := s.page.Until(stepLimit, "confirmed")
	s.must(t, err)
	s.must(t, s.phone.Until(stepLimit, "established"))
}

// checkAudio waits until each side hears the other's tone.
func (s *stack) checkAudio(t *testing.T) {
	t.Helper()
	s.must(t, s.pageHears(phoneHz))
	s.must(t, s.phoneHears(browserHz))
	s.must(t, s.media.Busy())
}

func (s *stack) pageHears(want float64) error { return hears(s.page, want) }

func hears(page *harness.Page, want float64) error {
	return eventually(func() error {
		got, err := page.Tone()
		if err == nil && math.Abs(got-want) > toneMargin {
			err = fmt.Errorf("the page hears %.0f Hz, want %.0f Hz", got, want)
		}
		return err
	})
}

func (s *stack) phoneHears(want float64) error {
	return eventually(func() error {
		call, err := s.phone.Last()
		if got := call.RTP.FrequencyHz; err == nil && math.Abs(got-want) > toneMargin {
			err = fmt.Errorf("the phone hears %.0f Hz, want %.0f Hz", got, want)
		}
		return err
	})
}

// checkRecording looks for the browser's tone in the PCM that the phone recorded
// of a call that has ended.
func (s *stack) checkRecording(t *testing.T) {
	t.Helper()
	sound, err := s.phone.Heard()
	s.must(t, err)
	if hz := sound.Last(1).Dominant(); math.Abs(hz-browserHz) > toneMargin {
		t.Errorf("the phone's recording has %.0f Hz, want %.0f Hz", hz, browserHz)
	}
}

// minPackets is how many packets a loss is counted over: 2 s of 20 ms packets.
const minPackets = 100

// checkLoss counts the packets of both directions once there are enough.
func (s *stack) checkLoss(t *testing.T) {
	t.Helper()
	s.must(t, eventually(func() error {
		page, err := s.page.Stats()
		if err != nil {
			return err
		}
		if page.Received < minPackets {
			return fmt.Errorf("the page has got only %d packets", page.Received)
		}
		if page.Lost*100 >= page.Received {
			return fmt.Errorf("lost towards the page: %d of %d", page.Lost, page.Received)
		}
		call, err := s.phone.Last()
		if err != nil {
			return err
		}
		phone := call.RTP
		if phone.Received < minPackets {
			return fmt.Errorf("the phone has got only %d packets", phone.Received)
		}
		if phone.Lost*100 >= phone.Received {
			return fmt.Errorf("lost towards the phone: %d of %d", phone.Lost, phone.Received)
		}
		t.Logf("page: %d received, %d lost, %s; phone: %d received, %d lost",
			page.Received, page.Lost, page.Codec, phone.Received, phone.Lost)
		return nil
	}))
}

// checkSDP checks every body that came to either side.
func (s *stack) checkSDP(t *testing.T) {
	t.Helper()
	toPage, err := s.page.Messages()
	s.must(t, err)
	toPhone, err := s.phone.Messages()
	s.must(t, err)
	if len(received(toPage)) == 0 || len(received(toPhone)) == 0 {
		t.Fatal("no SDP on the wire")
	}
	for _, sdp := range received(toPage) {
		s.must(t, browserSDP(sdp))
	}
	for _, sdp := range received(toPhone) {
		s.must(t, phoneSDP(sdp))
	}
}

// checkEnded waits until both sides know that the call is over and the media
// daemon holds neither call nor port.
func (s *stack) checkEnded(t *testing.T) {
	t.Helper()
	_, err := s.page.Until(stepLimit, "ended")
	s.must(t, err)
	s.must(t, s.phone.Until(stepLimit, "ended"))
	s.must(t, eventually(s.media.Idle))
}

// settle lets a tone that has just changed fill the listeners' windows.
func settle() { time.Sleep(700 * time.Millisecond) }
