package ngclient

import (
	"context"
	"errors"
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
	node := c.sticky.get(req.CallID)
	if node == nil && req.Command == ng.CommandOffer && req.ToTag == "" {
		return c.place(ctx, req)
	}
	if node == nil {
		// A call from before this client's time: where all clients put it as
		// long as nothing fails. Weight 0 nodes come last.
		node = c.ranked(req.CallID)[0]
	}
	reply, err := node.Do(ctx, req)
	if err == nil && endsCall(req) {
		c.sticky.remove(req.CallID)
	}
	return reply, err
}

// endsCall tells a delete of a call from one of a forked branch.
func endsCall(req *ng.Request) bool {
	return req.Command == ng.CommandDelete && req.ViaBranch == "" && !req.Flags.Has(ng.FlagToTag)
}

// place sends the offer of a new call to the nodes in the order of its hash
// until one takes it. A node that fails gets its share of the remaining time,
// not all of it.
func (c *Client) place(ctx context.Context, req *ng.Request) (ng.Reply, error) {
	candidates := c.candidates(req.CallID)
	if len(candidates) == 0 {
		return nil, ErrNoNode
	}
	var tried []*Node
	var firstErr error
	for i, node := range candidates {
		reply, err := node.offer(ctx, req, len(candidates)-i)
		if err == nil {
			c.sticky.put(req.CallID, node)
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
	ranked := slices.DeleteFunc(c.ranked(callID), func(n *Node) bool { return n.weight == 0 })
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
	scores := make([]scored, len(c.nodes))
	for i, n := range c.nodes {
		scores[i] = scored{n, score(callID, n.address, n.weight)}
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
