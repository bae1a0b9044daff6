package call

import (
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// expire looks at the timers of a call: it ends the call, or removes parties,
// if their time has come.
func (r *Registry) expire(c *Call, now time.Time) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	if reason := c.due(now, r.cfg.Limits.Load()); reason != "" {
		r.finish(c, reason) // without letting go of the lock: nobody is to revive the call in between
		return
	}
	rest := c.dropParties(now)
	c.pierce(now)
	reporting := c.reporting()
	c.mu.Unlock()
	rest.close(r)
	if len(reporting) > 0 {
		r.cfg.Engine.Report(reporting...)
	}
}

// due returns why the call has to end now, or nothing.
func (c *Call) due(now time.Time, l *limits.Values) endReason {
	after := func(start time.Time, d time.Duration) bool { return d > 0 && now.Sub(start) >= d }
	switch {
	case !c.deleteAt.IsZero():
		if !now.Before(c.deleteAt) {
			return endDeleted
		}
		return ""
	case after(c.created, l.FinalTimeout):
		return endFinal
	case now.Before(c.quietAt) && c.quietBy == l:
		return ""
	}
	limit, reason := l.Timeout, endTimeout
	switch {
	case c.held():
		limit, reason = l.SilentTimeout, endSilent
	case !c.answered && l.OfferTimeout > 0:
		limit, reason = max(l.Timeout, l.OfferTimeout), endOffer // the longer one, as in rtpengine
	case !c.answered:
		limit = 0
	}
	last := c.lastPacket()
	if after(last, limit) {
		return reason
	}
	// Packets may come, but not go back in time: no need to look before.
	c.quietAt, c.quietBy = last.Add(limit), l
	return ""
}

// lastPacket returns when media last came in anywhere in the call, or when it
// was last signalled.
func (c *Call) lastPacket() time.Time {
	last := c.lastSignal
	for _, p := range c.parties {
		for _, m := range p.all() {
			if m.pair == nil {
				continue
			}
			for _, s := range m.streams {
				if at := s.Totals().LastPacket; at.After(last) {
					last = at
				}
			}
		}
	}
	return last
}

// held reports whether a side of the call has media that does not go both ways,
// or all of it has been refused.
func (c *Call) held() bool {
	refused, active := false, false
	for _, p := range c.parties {
		for _, m := range p.present.medias {
			r := &m.side.Remote
			if m.pair == nil {
				refused = true
				continue
			}
			if active = true; r.Hold || r.Direction != sdp.SendRecv {
				return true
			}
		}
	}
	return refused && !active
}
