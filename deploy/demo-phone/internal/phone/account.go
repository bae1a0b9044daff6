package phone

import (
	"fmt"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

// Behaviour is what an account does with a call.
type Behaviour string

const (
	Echo     Behaviour = "echo"     // sends every RTP packet back
	Tone     Behaviour = "tone"     // plays 440 Hz and repeats digits as their DTMF tones
	Callback Behaviour = "callback" // says goodbye, hangs up and calls back; then like Tone
	Silence  Behaviour = "silence"  // sends silence
)

// toneHz is the tone that Tone plays: concert pitch.
const toneHz = 440

// Account is one user of the phone.
type Account struct {
	User, Password string
	Behaviour      Behaviour
	Ring           time.Duration // from 180 to 200
	EarlyMedia     bool          // 183 with SDP in place of 180
	Busy           bool          // 486 at once
	NoAnswer       bool          // 180 and nothing more
}

// ParseAccount reads "user:password:behaviour[,option…]"; options are busy, no-answer, early-media and ring=DURATION.
// What it does not name is taken from defaults. The password may hold colons.
func ParseAccount(text string, defaults Account) (Account, error) {
	user, rest, ok := strings.Cut(text, ":")
	at := strings.LastIndexByte(rest, ':')
	if !ok || at < 0 || user == "" {
		return Account{}, fmt.Errorf("account %q is not user:password:behaviour", user)
	}
	a := defaults
	a.User, a.Password = user, rest[:at]
	behaviour, options, more := strings.Cut(rest[at+1:], ",")
	switch a.Behaviour = Behaviour(behaviour); a.Behaviour {
	case Echo, Tone, Callback, Silence:
	default:
		return Account{}, fmt.Errorf("account %s: unknown behaviour %q (echo, tone, callback, silence)", user, behaviour)
	}
	if !more {
		return a, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "busy":
			a.Busy = true
		case "no-answer":
			a.NoAnswer = true
		case "early-media":
			a.EarlyMedia = true
		case "ring":
			ring, err := time.ParseDuration(value)
			if err != nil || ring < 0 {
				return Account{}, fmt.Errorf("account %s: ring=%q is no duration", user, value)
			}
			a.Ring = ring
		default:
			return Account{}, fmt.Errorf("account %s: unknown option %q", user, option)
		}
	}
	return a, nil
}

// voice makes what a call of this account plays; incoming tells who called.
func (a Account) voice(incoming bool) (player *tone.Player, echo bool) {
	switch {
	case a.Behaviour == Echo:
		return tone.NewPlayer(0), true
	case a.Behaviour == Tone, a.Behaviour == Callback && !incoming:
		return tone.NewPlayer(toneHz), false
	}
	return tone.NewPlayer(0), false
}
