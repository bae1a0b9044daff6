package call

import (
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// Defaults and bounds of play DTMF, rtpengine's.
const (
	digitDuration    = 250 * time.Millisecond
	minDigitDuration = 100 * time.Millisecond
	maxDigitDuration = 5 * time.Second
	digitPause       = 100 * time.Millisecond
	digitVolume      = 8 // −dBm0
	playSlack        = 2 * time.Second
)

// reasonNoEvents says that nobody who hears the party has agreed to telephone events; tones in the sound need a transcoder.
const reasonNoEvents ng.Reason = "No telephone-event to play DTMF by"

// PlayDTMF plays a digit as a telephone event to those who hear the party that is named, or to everybody. The error is an
// ng.Reason.
func (r *Registry) PlayDTMF(req *ng.Request, code uint8) error {
	c, err := r.lookup(req)
	if err != nil {
		return err
	}
	defer c.mu.Unlock()
	p, err := c.participant(req)
	if err != nil {
		return err
	}
	if p == nil && !req.Flags.Has(ng.FlagAll) {
		return ng.ReasonNoParticipant
	}
	digit := digitOf(req, code)
	played := false
	for _, q := range c.parties {
		if p == nil || p == q {
			played = c.playTo(q, digit) || played
		}
	}
	if !played {
		return reasonNoEvents
	}
	c.compile()
	c.log.Info("play DTMF", zap.String("from-tag", req.FromTag), zap.Duration("duration", digit.Duration))
	return nil
}

func digitOf(req *ng.Request, code uint8) flow.Digit {
	d := flow.Digit{Code: code, Volume: digitVolume, Duration: digitDuration, Pause: digitPause}
	if ms := req.DTMF.Duration; ms != nil {
		d.Duration = min(max(time.Duration(*ms)*time.Millisecond, minDigitDuration), maxDigitDuration)
	}
	if ms := req.DTMF.Pause; ms != nil {
		d.Pause = min(max(time.Duration(*ms)*time.Millisecond, digitPause), maxDigitDuration)
	}
	if v := req.DTMF.Volume; v != nil {
		d.Volume = uint8(min(max(*v, -*v), 63))
	}
	return d
}

// playTo gives a digit to the players towards the listeners of a party; false if there is none.
func (c *Call) playTo(p *party, digit flow.Digit) (played bool) {
	for _, s := range p.subscribers {
		if !s.heard() {
			continue
		}
		for i, m := range p.present.medias {
			if m.pair == nil || m.side.Local.Raw {
				continue
			}
			for _, to := range s.receives(i) {
				y := s.players[to]
				if y == nil {
					if y = newPlayer(m, to); y == nil {
						continue
					}
					if s.players == nil {
						s.players = make(map[*media]*flow.Player)
					}
					s.players[to] = y
				}
				if y.Play(digit) {
					played = true
					time.AfterFunc(digit.Duration+digit.Pause+playSlack, func() { c.endPlay(s, to, y) })
				}
			}
		}
	}
	return played
}

// endPlay takes a player away that has nothing left to play, or nothing to play into.
func (c *Call) endPlay(s *subscription, to *media, y *flow.Player) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended || s.players[to] != y:
		return
	case !y.Idle() && !y.Stuck(): // digits before it took their time
		time.AfterFunc(playSlack, func() { c.endPlay(s, to, y) })
		return
	}
	delete(s.players, to)
	c.compile()
}

// newPlayer makes the player of a listener, nil if it has not agreed to telephone events. Those at the clock of the sound are
// preferred (RFC 4733 §2.4.1).
func newPlayer(m, to *media) *flow.Player {
	payloads := payloadsOf(m)
	sound := 0
	for _, p := range to.side.Remote.Payloads {
		if p.Clock > 0 && !isEvent(p.Encoding) && !strings.EqualFold(p.Encoding, "CN") {
			sound = p.Clock
			break
		}
	}
	if sound == 0 {
		sound = 8000 // a static payload type without a=rtpmap
	}
	event, clock := -1, 0
	for _, p := range to.side.Remote.Payloads {
		if isEvent(p.Encoding) && (event < 0 || p.Clock == sound) {
			event, clock = int(p.Type), p.Clock
		}
	}
	if event < 0 {
		return nil
	}
	if clock <= 0 {
		clock = 8000
	}
	return flow.NewPlayer(uint8(event), uint32(clock), uint32(sound), payloads)
}

func isEvent(encoding string) bool { return strings.EqualFold(encoding, "telephone-event") }

// payloadsOf tells which payload types of a media are telephone events already.
func payloadsOf(m *media) *flow.Payloads {
	var out flow.Payloads
	for _, p := range m.side.Remote.Payloads {
		if isEvent(p.Encoding) {
			out.Events[p.Type&127] = true
		}
	}
	return &out
}
