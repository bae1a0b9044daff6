package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// Signalling is what moving a call needs of the dialogs and their order.
type Signalling interface {
	// Post runs f in the order of a Call-ID.
	Post(callID string, f func(ctx context.Context)) bool
	// Reinvite sends a re-INVITE in the name of a party; see dialog.Keeper.
	Reinvite(ctx context.Context, callID string, pass int, from, to, sdp string, done func(ctx context.Context, code int, after time.Duration)) error
	// Inform sends INFO in the name of a party; see dialog.Keeper.
	Inform(ctx context.Context, callID string, pass int, from, to, contentType, body string) error
	// End sends BYE to both sides.
	End(callID string)
}

const (
	moveFor   = time.Minute            // how long a call is tried to be moved
	busyAgain = 200 * time.Millisecond // until a dialog is asked again that is busy
	failAgain = time.Second            // and one whose peer, or media daemon, failed
	burst     = 20                     // of a second's calls may be moved at once: one in so many
)

// mover moves calls to another media daemon, so many a second.
type mover struct {
	mu    sync.Mutex
	queue []string // ng call-ids
	wake  chan struct{}
}

// Serve starts to move calls by the signalling; once.
func (s *Step) Serve(signalling Signalling) {
	s.signalling = signalling
	s.wg.Go(s.moveCalls)
}

// Move gives calls, by their ng call-ids, media on another daemon than the one that is lost. The proxy plays each side
// once: it sends a re-INVITE with what that side said last, which gets new media as any re-INVITE does.
func (s *Step) Move(calls ...string) {
	s.mover.mu.Lock()
	s.mover.queue = append(s.mover.queue, calls...)
	s.mover.mu.Unlock()
	select {
	case s.mover.wake <- struct{}{}:
	default:
	}
}

// moveCalls takes calls from the queue at the rate allowed.
func (s *Step) moveCalls() {
	allowed, last := 0.0, time.Now()
	for {
		rate := float64(s.policy.Load().MovesPerSecond)
		now := time.Now()
		allowed = min(allowed+rate*now.Sub(last).Seconds(), max(1, rate/burst))
		last = now
		left := s.mover.waiting()
		for ; allowed >= 1 && left > 0; allowed-- {
			s.beginMove(s.mover.next())
			left = s.mover.waiting()
		}
		var tick <-chan time.Time
		if left > 0 {
			tick = time.After(time.Duration(float64(time.Second) * (1 - allowed) / rate))
		}
		select {
		case <-s.stop:
			return
		case <-s.mover.wake:
		case <-tick:
		}
	}
}

func (m *mover) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

// next takes one call; there is one.
func (m *mover) next() (id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id = m.queue[0]
	if m.queue = m.queue[1:]; len(m.queue) == 0 {
		m.queue = nil
	}
	return id
}

func (s *Step) beginMove(id string) {
	s.mu.Lock()
	c := s.calls[id]
	s.mu.Unlock()
	if c == nil {
		return
	}
	s.signalling.Post(c.sip, func(ctx context.Context) {
		if c.ended {
			return
		}
		m := &move{step: s, call: c, began: time.Now(), log: s.Log.With(zap.String("call-id", c.sip))}
		c.move, c.moved = m, true
		m.next(ctx)
	})
}

// move is a call on its way to another media daemon. All of it runs in the order of the call.
type move struct {
	step     *Step
	call     *call
	log      *zap.Logger
	began    time.Time
	from, to string // tags: in whose name and to whom the re-INVITE is
	renewed  bool   // the first side has agreed with the new daemon; its SDP is the second one's offer
	failed   error  // of the daemon, with the answer to the re-INVITE under way
	tries    int
}

// current reports that the move is still to be done.
func (m *move) current() bool { return m.call.move == m && !m.call.ended }

// next sends the re-INVITE that is due.
func (m *move) next(ctx context.Context) {
	switch {
	case !m.current():
		return
	case time.Since(m.began) > moveFor:
		m.giveUp("in time", 0)
		return
	}
	sdp, ok := m.offer()
	if !ok { // still ringing: when it is answered
		m.again(failAgain)
		return
	}
	err := m.step.signalling.Reinvite(ctx, m.call.sip, m.call.pass, m.from, m.to, sdp, m.answered)
	switch {
	case errors.Is(err, request.ErrBusy):
		m.again(busyAgain)
	case err != nil: // the call is over
		m.call.move = nil
	}
}

// offer chooses the side that the next re-INVITE comes from, and its SDP. A side with ICE has to be asked first: what it
// said last belongs to the old daemon, and it begins anew with its answer (RFC 8445 §9).
func (m *move) offer() (sdp string, ok bool) {
	a := m.call.agreed
	if a == nil {
		return "", false
	}
	first, second := a.offer, a.answer
	if m.renewed {
		if first.tag == m.to {
			first, second = second, first
		}
		m.from, m.to = first.tag, second.tag
		return first.sdp, true
	}
	if hasICE(first.sdp) && !hasICE(second.sdp) {
		first, second = second, first
	}
	m.from, m.to = first.tag, second.tag
	return withoutICE(first.sdp), true
}

// answered takes the final response to a re-INVITE.
func (m *move) answered(ctx context.Context, code int, after time.Duration) {
	if !m.current() {
		return
	}
	failed := m.failed
	m.failed = nil
	switch {
	case code < 300 && failed != nil: // another daemon, from the beginning
		if lost(failed) {
			m.step.Media.ReleaseCall(m.call.id)
		}
		m.renewed = false
		m.tries++
		m.again(failAgain << min(m.tries-1, 3))
	case code < 300 && m.renewed:
		m.call.move = nil
		m.log.Info("media moved", zap.Duration("after", time.Since(m.began).Round(time.Millisecond)))
	case code < 300:
		m.renewed, m.tries = true, 0
		m.from, m.to = m.to, m.from
		m.next(ctx)
	case code == sip.StatusRequestPending:
		m.again(max(after, m.glare()))
	case code == sip.StatusCallTransactionDoesNotExists, code == sip.StatusRequestTimeout:
		m.giveUp("as a side has left", code)
		m.step.signalling.End(m.call.sip) // RFC 3261 §12.2.1.2
	case code >= 500 && code < 600:
		m.tries++
		m.again(max(after, failAgain<<min(m.tries-1, 3)))
	default:
		m.giveUp("as a side refuses", code)
	}
}

// glare is how long to wait after 491 (RFC 3261 §14.1): 2.1 to 4 s in the name of the side that made the Call-ID, else up
// to 2 s.
func (m *move) glare() time.Duration {
	const unit = 10 * time.Millisecond
	if m.from == m.call.caller {
		return 210*unit + time.Duration(rand.N(191))*unit
	}
	return time.Duration(rand.N(201)) * unit
}

func (m *move) again(after time.Duration) {
	time.AfterFunc(after, func() { m.step.signalling.Post(m.call.sip, m.next) })
}

func (m *move) giveUp(why string, code int) {
	m.call.move = nil
	m.log.Warn("media not moved "+why, zap.Int("code", code), zap.Bool("one side", m.renewed))
}

func hasICE(sdp string) bool { return strings.Contains(sdp, "a=ice-ufrag:") }

// withoutICE takes the lines of ICE away (RFC 8839): a daemon that has never seen them takes the ones to come as the first.
func withoutICE(sdp string) string {
	if !hasICE(sdp) {
		return sdp
	}
	var b strings.Builder
	for line := range strings.Lines(sdp) {
		switch name, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); name {
		case "a=ice-ufrag", "a=ice-pwd", "a=ice-options", "a=candidate", "a=remote-candidates", "a=end-of-candidates", "a=ice-lite":
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}
