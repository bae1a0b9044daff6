package call

import (
	"slices"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// endReason is why a call ended, as it stands in the log.
type endReason string

const (
	endDeleted  endReason = "deleted"
	endTimeout  endReason = "no media"
	endSilent   endReason = "no media while on hold"
	endOffer    endReason = "never answered"
	endFinal    endReason = "longest duration reached"
	endShutdown endReason = "shutdown"

	endTerminated endReason = "terminated by an operator"
)

// Delete executes the command delete. It returns what is known of the call, nil
// with the flag "fast" or without a from-tag, and whether any party was meant: if
// not, the reply is a warning, or an error with the flag "fatal".
//
// The end is due after the delete delay; until then the call hears packets,
// and an offer revives it.
func (r *Registry) Delete(req *ng.Request) (*ng.CallState, bool, error) {
	if !req.HasCallID() {
		return nil, false, ng.ReasonNoCallID
	}
	c := r.find(req.CallID)
	if c == nil {
		return nil, false, nil
	}
	target, ok := c.deletionTarget(req)
	if !ok {
		c.mu.Unlock()
		return nil, false, nil
	}
	var state *ng.CallState
	if req.FromTag != "" && !req.Flags.Has(ng.FlagFast) {
		state = c.stateLocked(c.wanted(req))
	}
	now := time.Now()
	delay := r.cfg.Limits.Load().DeleteDelay
	if req.DeleteDelay != nil && *req.DeleteDelay >= 0 {
		delay = time.Duration(*req.DeleteDelay) * time.Second
	}
	whole := c.scheduleDeletion(target, now.Add(max(delay, 0)))
	if line := c.log.Check(zap.InfoLevel, "delete"); line != nil {
		line.Write(zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag),
			zap.Bool("whole call", whole), zap.Duration("delay", delay))
	}
	c.mu.Unlock()
	if delay <= 0 {
		r.expire(c, now)
	}
	return state, true, nil
}

// deletionTarget finds the party that a delete means, nil for the whole call;
// false if there is no such party. Without a from-tag it is the whole call; else
// the to-tag counts if there is one, and the via-branch only without it or when
// the tag is not known.
func (c *Call) deletionTarget(req *ng.Request) (*party, bool) {
	if req.FromTag == "" {
		return nil, true
	}
	branch := c.partyByBranch(req.ViaBranch)
	if branch != nil && req.ToTag == "" {
		return branch, true
	}
	tag := req.ToTag
	if tag == "" {
		tag = req.FromTag
	}
	if p := c.partyByTag(tag); p != nil {
		return p, true
	}
	if branch != nil {
		return branch, true
	}
	// A dialogue that was never answered has no to-tag yet.
	if from := c.partyByTag(req.FromTag); from != nil && from.peer != nil && from.peer.tag == "" {
		return from, true
	}
	return nil, false
}

// scheduleDeletion marks the party for deletion, and those that have nobody to
// talk to without it. It returns true if that is the whole call.
func (c *Call) scheduleDeletion(target *party, at time.Time) bool {
	if target == nil {
		c.deleteAt = at
		return true
	}
	target.deleteAt = at
	for _, p := range c.company(target) {
		if !c.hasPartner(p) {
			p.deleteAt = at
		}
	}
	for _, p := range c.parties {
		if p.deleteAt.IsZero() && c.hasPartner(p) {
			return false
		}
	}
	c.deleteAt = at
	return true
}

// company are those without whom there is nothing to do for p: its partners, and
// those that it publishes for. Who gets a copy of a dialogue does not keep it.
func (c *Call) company(p *party) []*party {
	out := c.partners(p)
	for _, s := range append(slices.Clone(p.subscriptions), p.subscribers...) {
		other := s.source
		if other == p {
			other = s.listener
		}
		if s.published && !s.control && s.source.peer == nil {
			out = append(out, other)
		}
	}
	return out
}

// hasPartner reports whether p has company that is not to be deleted.
func (c *Call) hasPartner(p *party) bool {
	for _, q := range c.company(p) {
		if q.deleteAt.IsZero() {
			return true
		}
	}
	return false
}

// end ends the call now: no command finds it any more, all ports are given
// back. It does nothing to a call that has ended.
func (r *Registry) end(c *Call, reason endReason) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	r.finish(c, reason)
}

// finish ends a call that has not ended. It is called with the lock held and
// frees it.
func (r *Registry) finish(c *Call, reason endReason) {
	record, timedOut := c.record(reason, time.Now()), c.timedOut(reason)
	rest, sum := c.endLocked()
	c.mu.Unlock()
	rest.close(r)
	r.forget(c) // not before: who no longer sees the call may count on its ports
	r.totals.count(reason, sum, time.Since(c.created))
	r.totals.quality.add(c.quality.Sums())
	if record != nil {
		r.cfg.Report.Record(record)
	}
	r.cfg.Teardown.Tell(timedOut)
	line := c.log.Check(zap.InfoLevel, "end")
	if line == nil {
		return
	}
	line.Write(zap.String("reason", string(reason)), zap.Duration("duration", time.Since(c.created)),
		zap.Uint64("packets", sum.packets), zap.Uint64("bytes", sum.bytes), zap.Uint64("errors", sum.errors),
		zap.Int("media", sum.media), zap.Int("media-never-heard", sum.silent))
}

// traffic sums up what the streams of a call have received.
type traffic struct {
	packets, bytes, errors     uint64
	kernelPackets, kernelBytes uint64 // of these, those that the kernel has forwarded
	media, silent              int    // RTP streams in use, and those of them that received nothing
}

func (t *traffic) add(st flow.Statistics) {
	n := counters(st)
	t.packets += n.Packets
	t.bytes += n.Bytes
	t.errors += n.Errors
	t.kernelPackets += st.CarriedPackets
	t.kernelBytes += st.CarriedBytes
}

func (c *Call) endLocked() (leftovers, traffic) {
	c.ended = true
	var all []*media
	var sum traffic
	for _, p := range c.parties {
		for _, m := range p.all() {
			all = append(all, m)
			if m.pair == nil {
				continue
			}
			for component, s := range m.streams {
				st := s.Totals()
				sum.add(st)
				if component == componentRTP {
					sum.media++
					if st.PacketsIn == 0 {
						sum.silent++
					}
				}
			}
		}
	}
	c.parties = nil
	return unused(all, nil), sum
}

// dropParties removes the parties whose deletion is due.
func (c *Call) dropParties(now time.Time) leftovers {
	if !slices.ContainsFunc(c.parties, func(p *party) bool { return !p.deleteAt.IsZero() && !now.Before(p.deleteAt) }) {
		return leftovers{}
	}
	var kept []*party
	var gone []*media
	for _, p := range c.parties {
		if p.deleteAt.IsZero() || now.Before(p.deleteAt) {
			kept = append(kept, p)
		} else {
			gone = append(gone, p.all()...)
			p.withdraw()
		}
	}
	c.parties = kept
	for _, p := range kept {
		if p.peer == nil || slices.Contains(kept, p.peer) {
			continue
		}
		p.peer = nil
		for _, q := range kept { // another branch takes the place
			if q.peer == p {
				p.peer = q
			}
		}
	}
	c.compile()
	return unused(gone, kept)
}
