package edge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"strconv"
	"sync"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// tableConn is a connection that can be closed by the edge.
type tableConn interface {
	request.Connection
	shut()
}

// table holds all stream and WebSocket connections by id, and those that requests may reuse by where they lead to.
type table struct {
	boot string // makes ids unique over restarts

	mu      sync.Mutex
	next    uint64
	closed  bool
	byID    map[request.ConnectionID]tableConn
	byHop   map[request.Hop]*streamConn
	dialing map[request.Hop]*dialAttempt
}

// dialAttempt is shared by all that want the same hop at the same time.
type dialAttempt struct {
	done chan struct{}
	conn *streamConn
	err  error
}

func newTable() *table {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return &table{
		boot:    hex.EncodeToString(b[:]),
		byID:    map[request.ConnectionID]tableConn{},
		byHop:   map[request.Hop]*streamConn{},
		dialing: map[request.Hop]*dialAttempt{},
	}
}

func (t *table) count(counts map[request.Transport]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.byID {
		counts[c.Transport()]++
	}
}

func (t *table) newID() request.ConnectionID {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	return request.ConnectionID(t.boot + "-" + strconv.FormatUint(t.next, 10))
}

// hopKey says for which hops a connection may be reused. A TLS connection is reused only for the name it was verified
// for, so accepted ones never are; an accepted TCP one is reused towards the very address and port it came from.
func hopKey(c *streamConn) (request.Hop, bool) {
	if c.Transport() == request.TLS && !c.dialled {
		return request.Hop{}, false
	}
	hop := request.Hop{Transport: c.Transport(), Addr: c.remote, Listener: c.l.Name}
	if c.Transport() == request.TLS {
		hop.Host = c.host
	}
	return hop, true
}

// add enters a connection; false when the table is closed already. users, if not nil, is raised by one together with it,
// so that Close waits for a goroutine the edge did not start.
func (t *table) add(c tableConn, users *sync.WaitGroup) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	if users != nil {
		users.Add(1)
	}
	t.byID[c.ID()] = c
	if s, ok := c.(*streamConn); ok {
		if hop, ok := hopKey(s); ok {
			t.byHop[hop] = s
		}
	}
	return true
}

func (t *table) remove(id request.ConnectionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.byID[id].(*streamConn); ok {
		if hop, ok := hopKey(s); ok && t.byHop[hop] == s {
			delete(t.byHop, hop)
		}
	}
	delete(t.byID, id)
}

func (t *table) get(id request.ConnectionID) (request.Connection, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.byID[id]
	if !ok || !request.Alive(c) {
		return nil, false
	}
	return c, true
}

// reach reuses a connection to the hop or dials one; simultaneous calls share one attempt.
func (t *table) reach(ctx context.Context, l *listener, hop request.Hop) (request.Connection, error) {
	key := request.Hop{Transport: hop.Transport, Addr: hop.Addr, Listener: l.Name}
	if hop.Transport == request.TLS {
		key.Host = hop.Host
	}
	t.mu.Lock()
	if c := t.byHop[key]; c != nil && request.Alive(c) {
		t.mu.Unlock()
		return c, nil
	}
	attempt := t.dialing[key]
	if attempt == nil && !t.closed {
		attempt = &dialAttempt{done: make(chan struct{})}
		t.dialing[key] = attempt
		// The attempt outlives a caller that gives up; its own deadline is the edge's dial time.
		l.edge.wg.Go(func() { t.run(attempt, key, l, hop) })
	}
	t.mu.Unlock()
	if attempt == nil {
		return nil, request.ErrConnectionClosed
	}
	select {
	case <-attempt.done:
		if attempt.err != nil {
			return nil, attempt.err
		}
		return attempt.conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run dials, announces the result and then reads from the new connection.
func (t *table) run(attempt *dialAttempt, key request.Hop, l *listener, hop request.Hop) {
	attempt.conn, attempt.err = l.dial(l.edge.ctx, hop)
	if attempt.err == nil && !t.add(attempt.conn, nil) {
		attempt.conn.shut()
		attempt.err = request.ErrConnectionClosed
	}
	t.mu.Lock()
	delete(t.dialing, key)
	t.mu.Unlock()
	close(attempt.done)
	if attempt.err == nil {
		l.edge.serveStream(attempt.conn)
	}
}

func (t *table) closeAll() {
	t.mu.Lock()
	t.closed = true
	conns := make([]tableConn, 0, len(t.byID))
	for _, c := range t.byID {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.shut()
	}
}

// sourceCount bounds accepted connections, in total and by source (an IPv6 /64 is one source).
type sourceCount struct {
	total, each int

	mu       sync.Mutex
	sum      int
	bySource map[netip.Addr]int
}

func newSourceCount(total, each int) *sourceCount {
	return &sourceCount{total: total, each: each, bySource: map[netip.Addr]int{}}
}

func sourceOf(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a.Unmap()
}

func (s *sourceCount) enter(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum >= s.total || s.bySource[a] >= s.each {
		return false
	}
	s.sum++
	s.bySource[a]++
	return true
}

func (s *sourceCount) leave(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum--
	if s.bySource[a]--; s.bySource[a] <= 0 {
		delete(s.bySource, a)
	}
}
