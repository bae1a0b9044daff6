package connect

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"github.com/pion/stun/v2"
)

// Roles of a guard.
const (
	noRole int32 = iota
	controlling
	controlled
)

// conflict watches for checks of a peer that has the same role as we (RFC 8445 §7.3.1.1), which pion's agent only drops: the two would
// never connect. It can come about when a call is put together from two offers.
type conflict struct {
	credentials Credentials
	role        atomic.Int32
	tieBreaker  atomic.Uint64 // pion's, as seen in its checks; 0 until it sent one
	turn        func() bool   // begins to give the agent the other role; false means try again later. It does not block
}

// sees takes note of a check that we send.
func (c *conflict) sees(pkt []byte) {
	if c.tieBreaker.Load() != 0 {
		return
	}
	if v, ok := roleAttribute(pkt, attrControlling); ok {
		c.tieBreaker.Store(v)
	} else if v, ok := roleAttribute(pkt, attrControlled); ok {
		c.tieBreaker.Store(v)
	}
}

// settles reports whether a request was dealt with because it is in conflict with our role: the one with the larger tie-breaker is
// controlling. pkt is acceptable and, if a request, authenticated.
func (c *conflict) settles(pkt []byte, port Port, src netip.AddrPort) bool {
	role := c.role.Load()
	attr := uint16(attrControlling)
	if role == controlled {
		attr = attrControlled
	}
	if role == noRole || binary.BigEndian.Uint16(pkt) != bindingRequest {
		return false
	}
	theirs, ok := roleAttribute(pkt, attr)
	if !ok {
		return false
	}
	larger := c.tieBreaker.Load() >= theirs
	if larger == (role == controlling) {
		c.refuse(pkt, port, src) // the peer has to turn
		return true
	}
	if c.turn() {
		c.role.Store(noRole) // what comes in until then is for the next agent
	}
	return true
}

// refuse answers a request with 487 (RFC 8445 §7.3.1.1).
func (c *conflict) refuse(request []byte, port Port, src netip.AddrPort) {
	m, err := stun.Build(transactionOf(request), stun.NewType(stun.MethodBinding, stun.ClassErrorResponse),
		stun.CodeRoleConflict, stun.NewShortTermIntegrity(c.credentials.Password), stun.Fingerprint)
	if err == nil {
		_ = port.Sender.Send(m.Raw, src)
	}
}

// roleAttribute finds ICE-CONTROLLING or ICE-CONTROLLED in an acceptable message.
func roleAttribute(pkt []byte, attr uint16) (tieBreaker uint64, ok bool) {
	if len(pkt) < stunHeader {
		return 0, false
	}
	for body := pkt[stunHeader:]; len(body) >= 4; {
		length := int(binary.BigEndian.Uint16(body[2:]))
		padded := 4 + (length+3)&^3
		if padded > len(body) {
			break
		}
		if binary.BigEndian.Uint16(body) == attr && length == 8 {
			return binary.BigEndian.Uint64(body[4:]), true
		}
		body = body[padded:]
	}
	return 0, false
}

// turn begins to change the role of a generation. It runs on the engine's worker, so it does not wait for the lock.
func (a *Agent) turn(g *generation) bool {
	if !a.mu.TryLock() {
		return false
	}
	defer a.mu.Unlock()
	if a.closed || a.generation != g {
		return false
	}
	a.turning.Add(1)
	go a.turnRole(g)
	return true
}

// turnRole gives the agent the other role, in a new pion agent with the same credentials. It runs on a goroutine of the agent.
func (a *Agent) turnRole(g *generation) {
	defer a.turning.Done()
	a.mu.Lock()
	current := !a.closed && a.generation == g
	remote := g.remote
	a.mu.Unlock()
	if !current {
		return
	}
	remote.Controlling = !remote.Controlling
	next, err := a.newGeneration(g.credentials)
	if err != nil {
		return
	}
	a.mu.Lock()
	if a.closed || a.generation != g {
		a.mu.Unlock()
		next.close()
		return
	}
	a.generation = next
	a.guard.Store(a.newGuard(next))
	_ = a.startLocked(remote) // cannot fail: the agent is new and the credentials were good before
	a.mu.Unlock()
	g.close()
}
