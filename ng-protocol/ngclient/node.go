package ngclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// pingTries is how many pings in a row a node may leave unanswered.
const pingTries = 2

// Node is one media daemon.
type Node struct {
	client  *Client
	address string
	kick    chan struct{} // wants a ping now

	mu         sync.Mutex
	weight     int
	interfaces map[string]string
	link       *link               // nil if not connected
	disabled   time.Time           // no new calls before; zero = the node works
	heard      time.Time           // since when it runs, at least; zero = not known
	silent     time.Time           // since when pings have had no answer; zero = they have
	told       bool                // that it is lost
	orphans    map[string]struct{} // calls to be deleted when it is back
}

// maxOrphans bounds the calls of a node that is down; more are left to its own
// timeout.
const maxOrphans = 50_000

func newNode(c *Client, cfg NodeConfig) (*Node, error) {
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		return nil, fmt.Errorf("ngclient: node %q: %w", cfg.Address, err)
	}
	return &Node{client: c, address: cfg.Address, kick: make(chan struct{}, 1)}, nil
}

func (n *Node) configure(cfg NodeConfig) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.weight, n.interfaces = cfg.Weight, cfg.Interfaces
}

// Address is host:port as configured.
func (n *Node) Address() string { return n.address }

// remote is the address that the node is reached at, if it is connected.
func (n *Node) remote() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link == nil {
		return netip.Addr{}
	}
	addr, ok := n.link.conn.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	return addr.AddrPort().Addr().Unmap().WithZone("")
}

// Weight is the node's share of new calls.
func (n *Node) Weight() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.weight
}

// SetWeight changes the share; 0 drains the node until SetWeight or
// Client.SetNodes says otherwise.
func (n *Node) SetWeight(weight int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.weight = max(weight, 0)
}

// Calls is how many calls are known to be on the node.
func (n *Node) Calls() int { return n.client.sticky.count(n) }

// isDown reports a node that did not answer lately.
func (n *Node) isDown() bool { return !n.Up() }

// orphan notes calls that the node shall forget; adopt takes one back.
func (n *Node) orphan(calls ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.orphans == nil {
		n.orphans = make(map[string]struct{})
	}
	for _, id := range calls {
		if len(n.orphans) < maxOrphans {
			n.orphans[id] = struct{}{}
		}
	}
}

func (n *Node) adopt(callID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.orphans, callID)
}

// Up reports whether the node may get new calls.
func (n *Node) Up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.disabled.IsZero() {
		return true
	}
	// With pings it is the ping that brings a node back.
	return n.client.cfg.PingInterval < 0 && time.Now().After(n.disabled)
}

// Do sends one command to this node and waits for its reply, at most for
// Config.Deadline. A refusal of the daemon is an error that wraps its ng.Reason.
func (n *Node) Do(ctx context.Context, req *ng.Request) (ng.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, n.client.cfg.Deadline)
	defer cancel()
	return n.do(ctx, req, false)
}

// Ping checks that the node answers.
func (n *Node) Ping(ctx context.Context) error {
	reply, err := n.Do(ctx, &ng.Request{Command: ng.CommandPing})
	if err != nil {
		return err
	}
	if _, ok := reply.(*ng.Pong); !ok {
		return fmt.Errorf("%w: %T", ErrUnexpected, reply)
	}
	return nil
}

// List returns call-ids, at most limit (0 = the daemon's default).
func (n *Node) List(ctx context.Context, limit int) ([]string, error) {
	req := &ng.Request{Command: ng.CommandList}
	if limit > 0 {
		req.Limit = &limit
	}
	reply, err := n.Do(ctx, req)
	if err != nil {
		return nil, err
	}
	l, ok := reply.(*ng.ListReply)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrUnexpected, reply)
	}
	return l.Calls, nil
}

// Statistics returns the node's counters.
func (n *Node) Statistics(ctx context.Context) (ng.Dict, error) {
	reply, err := n.Do(ctx, &ng.Request{Command: ng.CommandStatistics})
	if err != nil {
		return nil, err
	}
	s, ok := reply.(*ng.StatisticsReply)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrUnexpected, reply)
	}
	return s.Statistics, nil
}

// do sends a command until its reply arrives or ctx ends. If impatient, a closed
// port ends it at once; otherwise the node may be just restarting.
func (n *Node) do(ctx context.Context, req *ng.Request, impatient bool) (ng.Reply, error) {
	deadline, limited := ctx.Deadline()
	hasty := limited && time.Until(deadline) < n.client.cfg.Interval
	body, err := n.exchange(ctx, n.named(req), impatient)
	if err != nil {
		// A caller who waits for less than one interval learns nothing about the
		// node.
		if unanswered(err) && (impatient || !hasty) {
			n.fail(err)
		}
		return nil, err
	}
	n.recover()
	reply, err := ng.DecodeReply(req.Command, body)
	if err != nil {
		return nil, err
	}
	switch r := reply.(type) {
	case *ng.Failure:
		return nil, fmt.Errorf("node %s: %w", n.address, r.Reason)
	case *ng.LoadLimit:
		reason := r.Message
		if !reason.Overloaded() {
			reason = ng.ReasonLoadLimit
		}
		return nil, fmt.Errorf("node %s: %w", n.address, reason)
	}
	return reply, nil
}

// named is the request with this node's names of interfaces.
func (n *Node) named(req *ng.Request) *ng.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.interfaces) == 0 || req.Direction == [2]string{} {
		return req
	}
	out := *req
	for i, name := range out.Direction {
		if own, ok := n.interfaces[name]; ok {
			out.Direction[i] = own
		}
	}
	return &out
}

// exchange sends the datagram, repeats it every interval and returns the body
// of the reply.
func (n *Node) exchange(ctx context.Context, req *ng.Request, impatient bool) ([]byte, error) {
	body, err := ng.EncodeRequest(req, n.client.cfg.Format)
	if err != nil {
		return nil, err
	}
	cookie := n.client.cookies.next()
	message := append([]byte(cookie+" "), body...)
	repeat := time.NewTicker(n.client.cfg.Interval)
	defer repeat.Stop()
	for {
		l, err := n.connect(ctx)
		if err == nil {
			var reply []byte
			reply, err = l.roundTrip(ctx, cookie, message, repeat.C, impatient)
			if err == nil {
				return reply, nil
			}
		}
		// A broken link (name not resolved, network down, address gone) may heal
		// within the deadline; everything else is final.
		if errors.Is(err, ErrTimeout) || errors.Is(err, ErrRefused) || errors.Is(err, ErrBusy) || ctx.Err() != nil {
			return nil, n.ended(ctx, err)
		}
		n.drop(l)
		select {
		case <-ctx.Done():
			return nil, n.ended(ctx, err)
		case <-n.client.ctx.Done():
			return nil, ErrClosed
		case <-repeat.C:
		}
	}
}

// ended gives the end of ctx its name: the caller's own cancellation is not a
// fault of the node.
func (n *Node) ended(ctx context.Context, err error) error {
	switch {
	case n.client.ctx.Err() != nil:
		return ErrClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil && !unanswered(err):
		return fmt.Errorf("node %s: %w: %w", n.address, ErrTimeout, err)
	}
	return fmt.Errorf("node %s: %w", n.address, err)
}

// post sends one datagram and does not wait for the reply.
func (n *Node) post(req *ng.Request) {
	n.mu.Lock()
	l := n.link
	n.mu.Unlock()
	if l != nil {
		l.send(n.client.cookies.next(), req, n.client.cfg.Format)
	}
}

// connect returns the link, opening it if there is none. Resolving the name may
// take time, so it happens outside of the lock.
func (n *Node) connect(ctx context.Context) (*link, error) {
	n.mu.Lock()
	l := n.link
	n.mu.Unlock()
	if l != nil {
		return l, nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", n.address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.client.ctx.Err() != nil:
		conn.Close()
		return nil, ErrClosed
	case n.link != nil: // another command was faster
		conn.Close()
		return n.link, nil
	}
	n.link = newLink(conn, n.client.cfg.MaxPending)
	n.client.running.Go(n.link.read)
	return n.link, nil
}

// drop closes a link that does not work, so that the next command opens one.
func (n *Node) drop(l *link) {
	if l == nil {
		return
	}
	n.mu.Lock()
	if n.link == l {
		n.link = nil
	}
	n.mu.Unlock()
	l.close()
}

func (n *Node) disconnect() {
	n.mu.Lock()
	l := n.link
	n.mu.Unlock()
	n.drop(l)
}

// fail takes the node out for a while. Failures within that time do not make it
// longer. One command without an answer may be the command's own fault, so a ping
// follows at once and puts the node back.
func (n *Node) fail(err error) {
	n.mu.Lock()
	first := n.disabled.IsZero()
	if now := time.Now(); now.After(n.disabled) {
		n.disabled = now.Add(n.client.cfg.DisableFor)
	}
	n.mu.Unlock()
	if first {
		n.client.log.Warn("ng node failed", slog.String("node", n.address), slog.Any("error", err))
		select {
		case n.kick <- struct{}{}:
		default:
		}
	}
}

// recover puts the node back: it answered.
func (n *Node) recover() {
	n.mu.Lock()
	back := !n.disabled.IsZero()
	n.disabled, n.silent, n.told = time.Time{}, time.Time{}, false
	orphans := make([]string, 0, len(n.orphans))
	for id := range n.orphans {
		orphans = append(orphans, id)
	}
	n.mu.Unlock()
	if back {
		n.client.log.Info("ng node is back", slog.String("node", n.address))
	}
	for _, id := range orphans {
		n.disown(id)
	}
}

// disown deletes a call if the node has not got it anew; an offer of adopt's is
// then behind the delete.
func (n *Node) disown(callID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, still := n.orphans[callID]; !still || n.link == nil {
		return
	}
	delete(n.orphans, callID)
	now := 0
	n.link.send(n.client.cookies.next(), &ng.Request{Command: ng.CommandDelete, CallID: callID, DeleteDelay: &now}, n.client.cfg.Format)
}

// watch pings the node until the client closes. A node that failed is pinged over
// a new link, as its address may have changed.
func (n *Node) watch() {
	ctx := n.client.ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-timer.C:
		}
		began := time.Now()
		if n.isDown() {
			n.disconnect()
		}
		pingCtx, cancel := context.WithTimeout(ctx, pingTries*n.client.cfg.Interval)
		_, err := n.do(pingCtx, &ng.Request{Command: ng.CommandPing}, true)
		cancel()
		gone := err != nil && ctx.Err() == nil && n.lost(began, err)
		if err == nil {
			gone = n.restarted(ctx, n.client.sticky.sample(n, 2))
		}
		if gone && n.client.cfg.Lost != nil {
			n.client.cfg.Lost(n)
		}
		timer.Reset(n.client.cfg.PingInterval)
	}
}

// uptimeSlack is how far a node's uptime, in seconds, may lie behind what is known
// of it.
const uptimeSlack = 2 * time.Second

// restarted reports, once, that a node which answers knows none of these calls of
// its and has begun anew.
func (n *Node) restarted(ctx context.Context, calls []string) bool {
	n.mu.Lock()
	if n.heard.IsZero() {
		n.heard = time.Now()
	}
	heard := n.heard
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, pingTries*n.client.cfg.Interval)
	defer cancel()
	for _, id := range calls {
		if _, err := n.do(ctx, &ng.Request{Command: ng.CommandQuery, CallID: id}, false); !errors.Is(err, ng.ReasonUnknownCallID) {
			return false
		}
	}
	if len(calls) == 0 {
		return false
	}
	// The daemon's own timeout may have ended them.
	reply, err := n.do(ctx, &ng.Request{Command: ng.CommandStatistics}, false)
	statistics, ok := reply.(*ng.StatisticsReply)
	if err != nil || !ok {
		return false
	}
	if uptime, ok := uptimeOf(statistics.Statistics); !ok || uptime+uptimeSlack > time.Since(heard) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.heard != heard {
		return false // told by another one
	}
	n.heard = time.Now()
	n.client.log.Warn("ng node has begun anew", slog.String("node", n.address))
	return true
}

// uptimeOf reads totalstatistics.uptime, in whole seconds.
func uptimeOf(statistics ng.Dict) (uptime time.Duration, ok bool) {
	total, _ := statistics.Get("totalstatistics").(ng.Dict)
	seconds, err := strconv.ParseInt(fmt.Sprint(total.Get("uptime")), 10, 64)
	return time.Duration(seconds) * time.Second, err == nil
}

// lost reports, once, that a ping without answer means the end of the node's
// calls: nothing listens there any more, or it has been silent for too long.
func (n *Node) lost(began time.Time, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.silent.IsZero() {
		n.silent = began
	}
	if errors.Is(err, ErrRefused) {
		n.heard = time.Time{}
	}
	if n.told || !errors.Is(err, ErrRefused) && time.Since(n.silent) < n.client.cfg.LostAfter {
		return false
	}
	n.told = true
	n.client.log.Warn("ng node lost", slog.String("node", n.address), slog.Any("error", err))
	return true
}
