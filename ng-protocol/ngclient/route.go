package ngclient

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// route sends a command to the call's node, or finds a node for a new call.
func (c *Client) route(ctx context.Context, req *ng.Request) (ng.Reply, error) {
	if len(req.Supports) == 0 && req.Command == ng.CommandOffer {
		req.Supports = []string{ng.SupportsLoadLimit}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Deadline)
	defer cancel()
	at, known := c.sticky.get(req.CallID)
	switch {
	case req.Command == ng.CommandOffer && (at.released || !known && req.ToTag == ""):
		return c.place(ctx, req, at.node)
	case at.released && req.Command == ng.CommandDelete:
		c.sticky.remove(req.CallID)
		return &ng.CallReply{Warning: ErrReleased.Error()}, nil
	case at.released:
		return nil, fmt.Errorf("%w: was on node %s", ErrReleased, at.node.address)
	case !known:
		var found bool
		if at.node, found = c.locate(ctx, req.CallID); !found && req.Command == ng.CommandOffer && at.node.isDown() {
			return c.place(ctx, req, at.node)
		}
	}
	node := at.node
	if req.Command == ng.CommandDelete && node.isDown() {
		// Whoever ends a call must not wait for a dead node (Kamailio #3370).
		node.post(req)
		if endsCall(req) {
			node.orphan(req.CallID)
			c.sticky.remove(req.CallID)
		}
		return nil, fmt.Errorf("node %s: %w", node.address, ErrDown)
	}
	reply, err := node.Do(ctx, req)
	if err == nil && endsCall(req) {
		c.sticky.remove(req.CallID)
	}
	return reply, err
}

// locate finds the node of a call from before this client's time: it asks all,
// and takes, if none knows it, the one where all clients put it as long as
// nothing fails. Nodes of weight 0 come last.
func (c *Client) locate(ctx context.Context, callID string) (node *Node, found bool) {
	nodes := c.ranked(callID)
	asked := slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return n.isDown() })
	if len(nodes) == 1 || len(asked) == 0 {
		return nodes[0], false
	}
	limit := c.cfg.Interval
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/3)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := make(chan *Node, len(asked))
	for _, n := range asked {
		c.running.Go(func() {
			if _, err := n.do(ctx, &ng.Request{Command: ng.CommandQuery, CallID: callID}, true); err == nil {
				answers <- n
				return
			}
			answers <- nil
		})
	}
	for range asked {
		if n := <-answers; n != nil {
			c.sticky.put(callID, place{node: n})
			return n, true
		}
	}
	return nodes[0], false
}

// endsCall tells a delete of a call from one of a forked branch.
func endsCall(req *ng.Request) bool {
	return req.Command == ng.CommandDelete && req.ViaBranch == "" && !req.Flags.Has(ng.FlagToTag)
}

// place sends the offer of a new call to the nodes in the order of its hash
// until one takes it; the one that it has left comes last. A node that fails gets
// its share of the remaining time, not all of it.
func (c *Client) place(ctx context.Context, req *ng.Request, left *Node) (ng.Reply, error) {
	candidates := c.candidates(req.CallID)
	if i := slices.Index(candidates, left); i >= 0 {
		candidates = append(slices.Delete(candidates, i, i+1), left)
	}
	if len(candidates) == 0 {
		return nil, ErrNoNode
	}
	var tried []*Node
	var firstErr error
	for i, node := range candidates {
		node.adopt(req.CallID) // before its reply says that the node is back
		reply, err := node.offer(ctx, req, len(candidates)-i)
		if err == nil {
			c.sticky.put(req.CallID, place{node: node})
			c.forget(req, tried)
			return reply, nil
		}
		if firstErr == nil {
			firstErr = err
		}
		if unanswered(err) {
			tried = append(tried, node)
		}
		if !another(err) || ctx.Err() != nil {
			break
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "ng offer refused by node", slog.String("node", node.Address()),
			slog.String("call-id", req.CallID), slog.Any("error", err))
	}
	c.forget(req, tried)
	return nil, firstErr
}

// offer sends req within this node's share of the remaining time.
func (n *Node) offer(ctx context.Context, req *ng.Request, left int) (ng.Reply, error) {
	if left > 1 {
		if deadline, ok := ctx.Deadline(); ok {
			share := max(time.Until(deadline)/time.Duration(left), min(n.client.cfg.Interval, time.Until(deadline)))
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, share)
			defer cancel()
		}
	}
	return n.do(ctx, req, left > 1)
}

// forget tells nodes that did not answer to delete the call: they may have
// executed the offer and only the reply was lost. One datagram, no waiting.
func (c *Client) forget(req *ng.Request, nodes []*Node) {
	for _, n := range nodes {
		n.post(&ng.Request{Command: ng.CommandDelete, CallID: req.CallID, FromTag: req.FromTag, ViaBranch: req.ViaBranch})
	}
}

// another reports whether another node may do better.
func another(err error) bool {
	var reason ng.Reason
	if errors.As(err, &reason) {
		return reason.Overloaded()
	}
	return unanswered(err) || errors.Is(err, ErrBusy)
}

func unanswered(err error) bool { return errors.Is(err, ErrTimeout) || errors.Is(err, ErrRefused) }

// candidates are the nodes that may take a new call, best first: those that
// work, else (none does) all of them, since one may have come back.
func (c *Client) candidates(callID string) []*Node {
	ranked := slices.DeleteFunc(c.ranked(callID), func(n *Node) bool { return n.Weight() == 0 })
	up := slices.DeleteFunc(slices.Clone(ranked), func(n *Node) bool { return !n.Up() })
	if len(up) > 0 {
		return up
	}
	return ranked
}

// ranked sorts the nodes by weighted rendezvous hashing: every client ranks
// them alike, each node is first for its share of calls, and taking a node away
// moves only the calls of that node.
func (c *Client) ranked(callID string) []*Node {
	type scored struct {
		node  *Node
		score float64
	}
	all := c.list()
	scores := make([]scored, len(all))
	for i, n := range all {
		scores[i] = scored{n, score(callID, n.address, n.Weight())}
	}
	slices.SortStableFunc(scores, func(a, b scored) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	nodes := make([]*Node, len(scores))
	for i := range scores {
		nodes[i] = scores[i].node
	}
	return nodes
}

// score is −weight / ln(u), u uniform in (0,1) by a hash of call and node.
func score(callID, node string, weight int) float64 {
	if weight <= 0 {
		return 0
	}
	h := fnv.New64a()
	io.WriteString(h, callID)
	h.Write([]byte{0})
	io.WriteString(h, node)
	x := h.Sum64()
	// Spread the low entropy of FNV's last bytes over all bits.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	u := (float64(x>>11) + 0.5) / (1 << 53)
	return -float64(weight) / math.Log(u)
}
