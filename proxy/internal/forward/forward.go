// Package forward is the stateful forwarding of RFC 3261 §16.6 and §16.7: branches, forking, CANCEL, Timer C and the choice
// of the response, with the corrections of RFC 6026 (2xx), RFC 5393 (loops) and RFC 4320 (no 408 to non-INVITE).
package forward

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"go.uber.org/zap"
)

// Config of the forwarder; zero values take the defaults named.
type Config struct {
	// TimerC is the time an INVITE may ring after its last provisional response (181 s; RFC 3261 §16.6 wants more than 180).
	TimerC time.Duration
	// Observers is the total time all observers may take for one message (5 s).
	Observers time.Duration
	// Datagram is the size in bytes above which a request goes by TCP if the next hop takes it (1300, RFC 3261 §18.1.1).
	Datagram int
	// TryTCP is the time given to that attempt (500 ms).
	TryTCP time.Duration
	// Targets bounds the branches of one request (16).
	Targets int
	// Challenges answers those of trunks; nil: they go upstream.
	Challenges request.Challenges
}

func (c Config) withDefaults() Config {
	if c.TimerC <= 0 {
		c.TimerC = 181 * time.Second
	}
	if c.Observers <= 0 {
		c.Observers = 5 * time.Second
	}
	if c.Datagram <= 0 {
		c.Datagram = 1300
	}
	if c.TryTCP <= 0 {
		c.TryTCP = 500 * time.Millisecond
	}
	if c.Targets <= 0 {
		c.Targets = 16
	}
	return c
}

// Resolver finds next hops; resolve.Resolver is one.
type Resolver interface {
	Resolve(ctx context.Context, uri sip.Uri) ([]request.Hop, error)
	Failed(hop request.Hop)
}

// Forwarder is the last step of the chain.
type Forwarder struct {
	cfg      Config
	layer    *transaction.Layer
	conns    request.Connections
	resolver Resolver
	noTCP    *refusals
}

// New makes a forwarder.
func New(cfg Config, layer *transaction.Layer, conns request.Connections, resolver Resolver) *Forwarder {
	return &Forwarder{cfg: cfg.withDefaults(), layer: layer, conns: conns, resolver: resolver, noTCP: newRefusals()}
}

// Handle implements request.Step.
func (f *Forwarder) Handle(ctx context.Context, r *request.Request) (request.Verdict, error) {
	if len(r.Targets) == 0 {
		return request.Done, request.Fail(sip.StatusNotFound, "Not Found", nil)
	}
	if r.Msg.Method == sip.ACK {
		f.acknowledge(ctx, r)
		return request.Done, nil
	}
	if len(r.Targets) > f.cfg.Targets {
		r.Log.Warn("targets dropped", zap.Int("targets", len(r.Targets)), zap.Int("limit", f.cfg.Targets))
		r.Targets = r.Targets[:f.cfg.Targets]
	}
	x := &exchange{f: f, r: r, hash: request.LoopHash(r.Original), groups: group(r.Targets)}
	if r.Msg.Method == sip.INVITE {
		if err := r.Respond(sip.StatusTrying, "Trying"); err != nil {
			r.Log.Debug("100 not sent", zap.Error(err))
		}
		if tx, ok := r.Responder.(interface{ OnCancel(func()) }); ok {
			// Runs in this call's order, later than this step.
			tx.OnCancel(func() { x.cancel(f.layer.Context()) })
		}
	}
	x.startGroup(ctx)
	x.settle(ctx)
	return request.Done, nil
}

// group sorts targets into those that ring together, highest Q first.
func group(targets []request.Target) [][]request.Target {
	sorted := slices.Clone(targets)
	slices.SortStableFunc(sorted, func(a, b request.Target) int { return b.Q - a.Q })
	var out [][]request.Target
	for i, t := range sorted {
		if i == 0 || t.Q != sorted[i-1].Q {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}

// acknowledge forwards the ACK of a 2xx, which has no transaction, to its one target.
func (f *Forwarder) acknowledge(ctx context.Context, r *request.Request) {
	x := &exchange{f: f, r: r, hash: request.LoopHash(r.Original)}
	b := x.newBranch(r.Targets[0])
	if err := b.prepare(ctx); err != nil {
		r.Log.Info("ACK not forwarded", zap.Error(err))
		return
	}
	octx, cancel := context.WithTimeout(ctx, f.cfg.Observers)
	defer cancel()
	for _, o := range r.Observers {
		if err := o.Outgoing(octx, r, &b.Branch); err != nil {
			r.Log.Warn("observer failed on ACK", zap.Error(err))
		}
	}
	b.base = b.Msg
	for {
		err := b.connect(ctx)
		if err == nil {
			b.authorize()
			err = b.Conn.Send(b.finish(ctx))
		}
		if err == nil {
			return
		}
		if len(b.hops) == 0 {
			r.Log.Info("ACK not forwarded", zap.Error(err))
			return
		}
	}
}

// failure turns an error into the status to answer.
func failure(err error) (code int, reason string, headers []sip.Header) {
	var coded *request.Error
	switch {
	case errors.As(err, &coded):
		return coded.Code, coded.Reason, coded.Headers
	case errors.Is(err, request.ErrConnectionClosed), errors.Is(err, request.ErrNeverDialled):
		return sip.StatusTemporarilyUnavailable, "Temporarily Unavailable", nil
	case errors.Is(err, transaction.ErrTimeout):
		return sip.StatusRequestTimeout, "Request Timeout", nil
	case errors.Is(err, transaction.ErrOverload):
		return sip.StatusServiceUnavailable, "Overload", nil
	default:
		// RFC 3261 §16.9: a transport error counts as 503, which goes upstream as 500.
		return sip.StatusServiceUnavailable, "Next Hop Unreachable", nil
	}
}

// errNoTarget says that a target can not be reached by what it names.
func errNoTarget(target request.Target, err error) error {
	return fmt.Errorf("%s: %w", target.URI.String(), err)
}
