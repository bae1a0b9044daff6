package connect

import (
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v3"
	"github.com/pion/stun/v2"
)

// renominateAfter is how long a pair must have gone without a nomination before the peer may nominate another one of lower priority. By
// RFC 8445 §8.1.1 it never may, but browsers that lose a network do, and go on to nominate the pair in use every 2.5 seconds.
const renominateAfter = 5 * time.Second

// nomination is what the peer's checks said about the pair in use. It has a lock of its own because pion's loop uses it, for which
// holders of the agent's lock wait.
type nomination struct {
	mu       sync.Mutex
	remote   netip.AddrPort
	priority uint32
	last     time.Time
}

// requestPassed is pion's call for a check whose integrity holds. The result says whether to choose the pair at once. pion's controlled
// agent checks a nominated pair itself before it chooses it, and sticks to a pair of higher priority; its lite agent has to be told.
func (a *Agent) requestPassed(g *generation, m *stun.Message, remote ice.Candidate) bool {
	src, ok := addrPortOf(remote)
	if !ok {
		return false
	}
	a.remember(src)
	if !m.Contains(stun.AttrUseCandidate) {
		return false
	}
	return g.nomination.follow(src, remote.Priority(), a.cfg.Lite, time.Now())
}

// follow decides about a nomination: the first one and better ones count at once with a lite agent (RFC 8445 §8.2), any one when the pair
// in use has been given up.
func (n *nomination) follow(src netip.AddrPort, priority uint32, lite bool, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.remote == src:
		n.last = now
		return false
	case !n.remote.IsValid():
		if !lite {
			return false
		}
	case now.Sub(n.last) > renominateAfter:
	case !lite || priority <= n.priority:
		return false
	}
	n.remote, n.priority, n.last = src, priority, now
	return true
}

// selected takes note of the pair that pion has chosen.
func (n *nomination) selected(src netip.AddrPort, priority uint32, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.remote != src {
		n.remote, n.priority, n.last = src, priority, now
	}
}
