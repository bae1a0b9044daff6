package call

import (
	"sync"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Bounds of fragments that are ahead of their offer.
const (
	maxEarlyFragments = 1024 // altogether
	maxEarlyOfParty   = 16
	maxEarlySize      = 8 << 10 // bytes of one body and its names
	earlyLife         = 30 * time.Second
)

// fragments are bodies of trickle ICE (RFC 8840) that have come before the
// offer or the answer they belong to: SIP does not keep INFO and INVITE in
// order. The oldest go when there are too many.
type fragments struct {
	mu    sync.Mutex
	queue []fragment // oldest first
}

type fragment struct {
	req *ng.Request
	at  time.Time
}

// keep takes a fragment. What is beyond the bounds is lost.
func (f *fragments) keep(req *ng.Request, now time.Time) {
	if len(req.SDP)+len(req.CallID)+len(req.FromTag)+len(req.ToTag)+len(req.ViaBranch) > maxEarlySize {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(now)
	count := 0
	for _, e := range f.queue {
		if e.req.CallID == req.CallID && e.req.FromTag == req.FromTag {
			count++
		}
	}
	if count >= maxEarlyOfParty {
		return
	}
	if len(f.queue) >= maxEarlyFragments {
		f.queue = append(f.queue[:0], f.queue[1:]...)
	}
	f.queue = append(f.queue, fragment{trimmed(req), now})
}

// trimmed returns what a fragment needs of a request, so that nothing else that
// came with it takes room while it waits.
func trimmed(req *ng.Request) *ng.Request {
	return &ng.Request{
		Command: req.Command, Peer: req.Peer, CallID: req.CallID, FromTag: req.FromTag, ToTag: req.ToTag, ViaBranch: req.ViaBranch,
		SDP: req.SDP, Empty: req.Empty, Flags: req.Flags,
	}
}

// take returns the fragments of a party, in order, and forgets them.
func (f *fragments) take(callID, tag string, now time.Time) []*ng.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return nil
	}
	f.expire(now)
	var out []*ng.Request
	kept := f.queue[:0]
	for _, e := range f.queue {
		if e.req.CallID == callID && e.req.FromTag == tag {
			out = append(out, e.req)
		} else {
			kept = append(kept, e)
		}
	}
	clear(f.queue[len(kept):])
	f.queue = kept
	return out
}

func (f *fragments) expire(now time.Time) {
	n := 0
	for n < len(f.queue) && now.Sub(f.queue[n].at) > earlyLife {
		n++
	}
	if n > 0 {
		f.queue = append(f.queue[:0], f.queue[n:]...)
	}
}

// postpone keeps a fragment whose party has not sent a body yet; false if it
// has.
func (r *Registry) postpone(req *ng.Request) bool {
	if c := r.find(req.CallID); c != nil {
		known := c.partyByTag(req.FromTag)
		ahead := known == nil || len(known.latest().snapshot.Sides) == 0
		c.mu.Unlock()
		if !ahead {
			return false
		}
	}
	r.early.keep(req, time.Now())
	return true
}

// catchUp gives a call the fragments that were ahead of the body of a party.
func (r *Registry) catchUp(callID, tag string) {
	for _, req := range r.early.take(callID, tag, time.Now()) {
		c := r.find(callID)
		if c == nil {
			return
		}
		if _, rest, err := c.signal(req); err == nil {
			rest.close(r)
		}
	}
}
