package ngclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// Defaults of Config.
const (
	DefaultInterval     = time.Second
	DefaultTries        = 5
	DefaultPingInterval = 5 * time.Second
	DefaultDisableFor   = 10 * time.Second
	DefaultStickyFor    = 12 * time.Hour
	DefaultStickyMax    = 200_000
	DefaultMaxPending   = 16384
	DefaultLostAfter    = 2 * time.Second
)

// Errors of the client. The daemon's own refusals wrap their ng.Reason.
var (
	// ErrTimeout means that no node answered in time. It wraps
	// context.DeadlineExceeded.
	ErrTimeout = fmt.Errorf("ngclient: no answer: %w", context.DeadlineExceeded)
	// ErrRefused means that the node's host reports the port as closed.
	ErrRefused = errors.New("ngclient: port closed")
	// ErrBusy means that too many commands wait for one node.
	ErrBusy = errors.New("ngclient: too many commands waiting")
	// ErrClosed means that the client was closed.
	ErrClosed = errors.New("ngclient: closed")
	// ErrNoNode means that no node may take new calls.
	ErrNoNode = errors.New("ngclient: no node")
	// ErrDown means that the call's node does not answer. A delete is carried out
	// when the node is back.
	ErrDown = errors.New("ngclient: node is down")
	// ErrReleased means that the call has left its node and has not been offered
	// to another one yet.
	ErrReleased = errors.New("ngclient: call is on no node")
	// ErrUnexpected means that the reply is none of this command.
	ErrUnexpected = errors.New("ngclient: unexpected reply")
)

// NodeConfig names one media daemon.
type NodeConfig struct {
	// Address is host:port of the daemon's ng listener, UDP.
	Address string
	// Weight is the node's share of new calls. With 0 it gets none, but goes on
	// serving the calls it has: the way to drain it.
	Weight int
	// Interfaces gives names of interfaces in "direction" the names that this
	// node has for them; others go out as they are.
	Interfaces map[string]string
}

// Config configures a Client. Nodes is required.
type Config struct {
	Nodes []NodeConfig
	// Interval is the time between repetitions of a command.
	Interval time.Duration
	// Deadline is the longest time a command may take over all repetitions and
	// nodes; a shorter one of the caller's context wins. Default: Interval ×
	// DefaultTries.
	Deadline time.Duration
	// PingInterval is how often each node is pinged; negative = never.
	PingInterval time.Duration
	// DisableFor is how long a node that did not answer gets no new calls if there
	// are no pings; with pings it comes back when it answers one.
	DisableFor time.Duration
	// LostAfter is how long a node may leave pings unanswered until Lost is told.
	LostAfter time.Duration
	// Lost is told once that the calls of a node are lost: it is silent for
	// LostAfter, or its port is closed. It runs on the goroutine of the node's
	// pings; nil = nobody. See Client.Release.
	Lost func(node *Node)
	// StickyFor is how long an unused call keeps its node, at least. StickyMax
	// bounds the calls that are remembered; a forgotten call is found by its
	// hash.
	StickyFor time.Duration
	StickyMax int
	// MaxPending bounds the commands that wait for one node.
	MaxPending int
	// Format of requests; bencode if zero.
	Format ng.Format
	// Log gets one line when a node fails or comes back; nil discards.
	Log *slog.Logger
}

// Client calls nodes. It is safe for concurrent use.
type Client struct {
	cfg     Config
	log     *slog.Logger
	mu      sync.RWMutex
	nodes   []*Node // guarded by mu; see list
	sticky  *sticky
	cookies cookies

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	stop    sync.Once
}

// New starts to ping. A node whose name does not resolve or that does not answer
// is no error: it fails its pings and gets no new calls until it answers.
func New(cfg Config) (*Client, error) {
	if len(cfg.Nodes) == 0 {
		return nil, ErrNoNode
	}
	setDefault(&cfg.Interval, DefaultInterval)
	setDefault(&cfg.Deadline, cfg.Interval*DefaultTries)
	setDefault(&cfg.PingInterval, DefaultPingInterval)
	setDefault(&cfg.DisableFor, DefaultDisableFor)
	setDefault(&cfg.StickyFor, DefaultStickyFor)
	setDefault(&cfg.StickyMax, DefaultStickyMax)
	setDefault(&cfg.MaxPending, DefaultMaxPending)
	setDefault(&cfg.LostAfter, DefaultLostAfter)
	c := &Client{cfg: cfg, log: cfg.Log, sticky: newSticky(cfg.StickyMax, cfg.StickyFor)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.cookies.seed(); err != nil {
		return nil, fmt.Errorf("ngclient: %w", err)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.SetNodes(cfg.Nodes); err != nil {
		c.cancel()
		return nil, err
	}
	return c, nil
}

// SetNodes replaces the nodes while calls run. A node that is named again, by
// its address, keeps its calls and gets the new weight; one that is left out
// gets no new calls. On error nothing changes.
func (c *Client) SetNodes(configs []NodeConfig) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(configs) == 0 {
		return ErrNoNode
	}
	known := make(map[string]*Node, len(c.nodes))
	for _, n := range c.nodes {
		known[n.address] = n
	}
	seen := make(map[string]bool)
	nodes := make([]*Node, 0, len(configs))
	for _, nc := range configs {
		if nc.Weight < 0 || seen[nc.Address] {
			return fmt.Errorf("ngclient: node %q: negative weight or listed twice", nc.Address)
		}
		seen[nc.Address] = true
		n := known[nc.Address]
		if n == nil {
			var err error
			if n, err = newNode(c, nc); err != nil {
				return err
			}
		}
		nodes = append(nodes, n)
	}
	for i, n := range nodes {
		n.configure(configs[i])
		if known[n.address] == nil && c.cfg.PingInterval > 0 {
			c.running.Go(n.watch)
		}
		delete(known, n.address)
	}
	for _, n := range c.nodes {
		if known[n.address] != nil {
			n.configure(NodeConfig{Address: n.address})
			nodes = append(nodes, n)
		}
	}
	c.nodes = nodes
	return nil
}

// list returns the nodes, those that SetNodes has left out last.
func (c *Client) list() []*Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes
}

func setDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Close ends all commands with ErrClosed and waits for the client's goroutines.
func (c *Client) Close() error {
	c.stop.Do(func() {
		c.cancel()
		for _, n := range c.list() {
			n.disconnect()
		}
		c.running.Wait()
	})
	return nil
}

// Nodes returns the nodes in the order of the configuration.
func (c *Client) Nodes() []*Node { return c.list() }

// Node is where a call is; nil if that is not known, or nowhere.
func (c *Client) Node(callID string) *Node {
	if at, ok := c.sticky.get(callID); ok && !at.released {
		return at.node
	}
	return nil
}

// Knows reports whether the call's node still has it. An error says that this is
// not known: the node does not answer, has begun anew (Config.Lost is told of it),
// or the call moves.
func (c *Client) Knows(ctx context.Context, callID string) (bool, error) {
	_, err := c.Query(ctx, &ng.Request{CallID: callID})
	if !errors.Is(err, ng.ReasonUnknownCallID) {
		return err == nil, err
	}
	n := c.Node(callID)
	if n == nil {
		return false, nil
	}
	if n.restarted(ctx, []string{callID}) {
		if c.cfg.Lost != nil {
			c.cfg.Lost(n)
		}
		return false, fmt.Errorf("%w: node %s has begun anew", ErrReleased, n.address)
	}
	return false, nil
}

// Release takes all calls from a node and returns their call-ids. The next offer
// of each goes to another node if there is one that takes it, to-tag or not; the
// node forgets them when it is back.
func (c *Client) Release(node *Node) []string {
	calls := c.sticky.release(node)
	node.orphan(calls...)
	return calls
}

// ReleaseCall does the same with one call, which the node has forgotten.
func (c *Client) ReleaseCall(callID string) {
	if at, ok := c.sticky.get(callID); ok {
		c.sticky.put(callID, place{at.node, true})
	}
}

// Offer sends an offer. If the call is new (no to-tag, and no node known for it)
// other nodes are tried when the chosen one does not answer or is full.
func (c *Client) Offer(ctx context.Context, req *ng.Request) (*ng.SDPReply, error) {
	return call[*ng.SDPReply](ctx, c, ng.CommandOffer, req)
}

// Answer sends an answer to the call's node.
func (c *Client) Answer(ctx context.Context, req *ng.Request) (*ng.SDPReply, error) {
	return call[*ng.SDPReply](ctx, c, ng.CommandAnswer, req)
}

// Delete ends the call, or the branch that req names, at the call's node.
func (c *Client) Delete(ctx context.Context, req *ng.Request) (*ng.CallReply, error) {
	return call[*ng.CallReply](ctx, c, ng.CommandDelete, req)
}

// Query asks for the state of a call.
func (c *Client) Query(ctx context.Context, req *ng.Request) (*ng.CallReply, error) {
	return call[*ng.CallReply](ctx, c, ng.CommandQuery, req)
}

// PlayDTMF plays a digit into what the party that req names sends.
func (c *Client) PlayDTMF(ctx context.Context, req *ng.Request) error {
	sent := *req
	sent.Command = ng.CommandPlayDTMF
	if _, err := c.route(ctx, &sent); err != nil {
		return fmt.Errorf("ng %s: %w", sent.Command, err)
	}
	return nil
}

// IsNode reports whether a node's commands go to this address.
func (c *Client) IsNode(addr netip.Addr) bool {
	return slices.ContainsFunc(c.list(), func(n *Node) bool { return n.remote() == addr.Unmap().WithZone("") })
}

// List returns the call-ids of all nodes, at most limit of each (0 = the
// daemon's default). The call-ids of those that answered come with the error of
// those that did not.
func (c *Client) List(ctx context.Context, limit int) ([]string, error) {
	var calls []string
	var mu sync.Mutex
	err := c.each(func(n *Node) error {
		l, err := n.List(ctx, limit)
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, l...)
		return err
	})
	return calls, err
}

// Ping pings all nodes and returns the errors of those that did not answer.
func (c *Client) Ping(ctx context.Context) error {
	return c.each(func(n *Node) error { return n.Ping(ctx) })
}

// Statistics returns the counters of each node that answers, by its address,
// with the errors of those that do not.
func (c *Client) Statistics(ctx context.Context) (map[string]ng.Dict, error) {
	all := make(map[string]ng.Dict)
	var mu sync.Mutex
	err := c.each(func(n *Node) error {
		s, err := n.Statistics(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all[n.Address()] = s
		return nil
	})
	return all, err
}

// each runs f for all nodes at a time and joins the errors.
func (c *Client) each(f func(*Node) error) error {
	nodes := c.list()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if err := f(n); err != nil {
				errs[i] = fmt.Errorf("node %s: %w", n.Address(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// call sends a command of one call and returns its reply as the wanted type.
func call[T ng.Reply](ctx context.Context, c *Client, command ng.Command, req *ng.Request) (T, error) {
	var none T
	sent := *req
	sent.Command = command
	reply, err := c.route(ctx, &sent)
	if err != nil {
		return none, fmt.Errorf("ng %s: %w", command, err)
	}
	typed, ok := reply.(T)
	if !ok {
		return none, fmt.Errorf("ng %s: %w: %T", command, ErrUnexpected, reply)
	}
	return typed, nil
}
