package harness

import (
	"fmt"
	"time"
)

// Page is one browser phone: a page of the shared Chromium.
type Page struct {
	browser *Browser
	name    string
	account map[string]any
}

// CallState is what a page knows about its present or last call.
type CallState struct {
	State      string // idle, calling, incoming, ringing, confirmed, ended
	Code       int    // SIP status that ended or last moved it; 0 when none
	Cause      string
	By         string // who ended it: local or remote; may be empty
	HeldByPeer bool
}

// Stats counts the RTP of a page's call.
type Stats struct {
	Sent, Received, Lost int     // packets
	Jitter               float64 // seconds
	DTLS, Codec          string
}

// Message is one SIP message on a page's WebSocket, as it went over the wire.
type Message struct {
	Sent bool // by the page
	Time int64
	Text string
}

// Users of pages; each stack has a proxy of its own.
const (
	PageUser  = "page"
	OtherUser = "other" // of a second page
)

// OpenPage opens a page called name and registers user through the proxy at
// server (a WebSocket URL). The page refuses a call unanswered for ring.
func (b *Browser) OpenPage(name, library, user, server string, ring time.Duration) (*Page, error) {
	p := &Page{browser: b, name: name}
	if err := p.do("open", nil, nil); err != nil {
		return nil, err
	}
	p.account = map[string]any{
		"library": library, "server": server, "uri": "sip:" + user + "@" + Domain,
		"user": user, "password": Password, "ringSeconds": int(ring.Seconds()),
	}
	return p, p.do("register", p.account, nil)
}

func (p *Page) do(name string, with, result any) error {
	return p.browser.Do(p.name, name, with, result)
}

// Microphone sets the tone that the page speaks with, 1000 Hz if it is not called;
// before the page's first call.
func (p *Page) Microphone(hz int) error { return p.do("microphone", map[string]any{"hz": hz}, nil) }

// Call calls user; it returns when the INVITE is on its way.
func (p *Page) Call(user string) error {
	return p.do("call", map[string]any{"target": "sip:" + user + "@" + Domain}, nil)
}

// Answer starts to take the incoming call; State tells whether that worked.
func (p *Page) Answer() error { return p.do("answer", nil, nil) }

// Reject refuses the incoming call with a SIP status.
func (p *Page) Reject(code int) error { return p.do("reject", map[string]any{"code": code}, nil) }

// Hangup sends CANCEL or BYE, as the call's state asks.
func (p *Page) Hangup() error { return p.do("hangup", nil, nil) }

// Hold sends a re-INVITE that puts the peer on hold, and waits for its answer.
func (p *Page) Hold() error { return p.do("hold", nil, nil) }

// Unhold takes the hold back.
func (p *Page) Unhold() error { return p.do("unhold", nil, nil) }

// RestartICE sends a re-INVITE with new ICE credentials, as pages do when the
// network has changed, and waits for its answer.
func (p *Page) RestartICE() error { return p.do("restartIce", nil, nil) }

// Transfer asks the peer by REFER to call user instead.
func (p *Page) Transfer(user string) error {
	return p.do("transfer", map[string]any{"target": "sip:" + user + "@" + Domain}, nil)
}

// Reload does what the browser's button does: the connection closes, the page
// starts anew and registers again.
func (p *Page) Reload() error {
	if err := p.do("reload", nil, nil); err != nil {
		return err
	}
	return p.do("register", p.account, nil)
}

// Digits sends DTMF as RTP telephone-events.
func (p *Page) Digits(digits string) error {
	return p.do("digits", map[string]any{"digits": digits}, nil)
}

// State tells how the call stands.
func (p *Page) State() (CallState, error) {
	var s CallState
	return s, p.do("state", nil, &s)
}

// Tone is the dominant frequency of what the page hears, in Hz; 0 is silence.
func (p *Page) Tone() (float64, error) {
	var tone struct{ Hz float64 }
	return tone.Hz, p.do("tone", nil, &tone)
}

// Stats counts the call's packets.
func (p *Page) Stats() (Stats, error) {
	var s Stats
	return s, p.do("stats", nil, &s)
}

// Messages are the SIP messages of the page since Reset, or since it was opened.
func (p *Page) Messages() ([]Message, error) {
	var m []Message
	return m, p.do("messages", nil, &m)
}

// Reset forgets the last call, so that State and Messages tell only of the next.
func (p *Page) Reset() error {
	if err := p.do("forget", nil, nil); err != nil {
		return err
	}
	return p.do("reset", nil, nil)
}

// Close closes the page as a user does: no BYE, no de-registration.
func (p *Page) Close() error { return p.do("close", nil, nil) }

// Until waits for the call to reach one of the states.
func (p *Page) Until(limit time.Duration, states ...string) (CallState, error) {
	var last CallState
	err := Eventually(limit, func() error {
		var err error
		if last, err = p.State(); err != nil {
			return err
		}
		for _, state := range states {
			if last.State == state {
				return nil
			}
		}
		return fmt.Errorf("page %s is in state %+v, not %v", p.name, last, states)
	})
	return last, err
}
