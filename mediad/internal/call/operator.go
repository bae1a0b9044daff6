package call

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// operated is what is kept of a call for operators only.
type operated struct {
	proxy    netip.AddrPort // who has made it
	callback string         // address of who is to be told of a timeout (ng: xmlrpc-callback); empty = proxy
	tos      int            // of the last command that gave one
	foreign  bool           // see SetForeign
}

func (o *operated) note(req *ng.Request) {
	if !o.proxy.IsValid() {
		o.proxy = req.Peer
	}
	if req.CallbackURI != "" {
		o.callback = req.CallbackURI
	}
	if req.TOS != nil {
		o.tos = *req.TOS
	}
}

// Session is what an operator sees of a call at a glance.
type Session struct {
	ID         string
	Created    time.Time
	LastSignal time.Time
	Proxy      netip.AddrPort // who has made it
	Deleted    bool           // its end is due
	Foreign    bool           // taken over from another daemon, see SetForeign
	TOS        int
}

// Leg is what an operator sees of a party.
type Leg struct {
	ng.TagState
	Duration time.Duration // since it appeared
	Offerer  bool          // it has made an offer
	Named    bool          // it has a tag
}

// Count is how many calls there are.
func (r *Registry) Count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.calls)
}

// Sessions returns all calls, the newest first.
func (r *Registry) Sessions() []Session {
	var all []Session
	for _, c := range r.snapshot() {
		c.mu.Lock()
		if !c.ended {
			all = append(all, c.sessionLocked())
		}
		c.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Session) int {
		if n := b.Created.Compare(a.Created); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

func (c *Call) sessionLocked() Session {
	return Session{
		ID: c.id, Created: c.created, LastSignal: c.lastSignal, Proxy: c.operated.proxy,
		Deleted: !c.deleteAt.IsZero(), Foreign: c.operated.foreign, TOS: c.operated.tos,
	}
}

// Session returns one call with its parties, false if there is none.
func (r *Registry) Session(id string) (Session, []Leg, bool) {
	c := r.find(id)
	if c == nil {
		return Session{}, nil, false
	}
	defer c.mu.Unlock()
	now := time.Now()
	sum := ng.CallState{SSRC: make(map[uint32]*ng.SSRCState)}
	var legs []Leg
	for i, p := range c.parties {
		legs = append(legs, Leg{
			TagState: *c.partyState(p, &sum), Duration: now.Sub(p.created), Offerer: i == 0, Named: p.tag != "",
		})
	}
	return c.sessionLocked(), legs, true
}

// Terminate ends a call at once, false if there is none.
func (r *Registry) Terminate(id string) bool {
	c := r.find(id)
	if c == nil {
		return false
	}
	c.mu.Unlock()
	r.end(c, endTerminated)
	return true
}

// TerminateAll ends all calls that are chosen and returns how many.
func (r *Registry) TerminateAll(chosen func(Session) bool) int {
	n := 0
	for _, s := range r.Sessions() {
		if chosen(s) && r.Terminate(s.ID) {
			n++
		}
	}
	return n
}

// SetForeign says of all calls whether they are those of another daemon that
// this one stands by for.
func (r *Registry) SetForeign(foreign bool) {
	for _, c := range r.snapshot() {
		c.mu.Lock()
		c.operated.foreign = foreign
		c.mu.Unlock()
	}
}
