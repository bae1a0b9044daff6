// Package control executes the commands of the ng protocol on the calls of
// the daemon: one file a command. It holds no state but counters.
package control

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
)

// Handler is an ng.Handler.
type Handler struct {
	calls *call.Registry
	log   *zap.Logger
	noisy *zap.Logger // for what a client can repeat at will

	counts map[ng.Command]*counter // read-only after New
	errors atomic.Uint64
}

var _ ng.Handler = (*Handler)(nil)

// counter counts the commands of one kind.
type counter struct {
	requests     atomic.Uint64
	microseconds atomic.Uint64
}

// New returns a handler for the calls in a registry.
func New(calls *call.Registry, log *zap.Logger) *Handler {
	h := &Handler{
		calls: calls, log: log, noisy: telemetry.Sampled(log, 10, time.Second),
		counts: make(map[ng.Command]*counter),
	}
	for _, c := range served() {
		h.counts[c] = &counter{}
	}
	return h
}

// served lists the commands that are executed, in the order of rtpengine's
// statistics.
func served() []ng.Command {
	return []ng.Command{
		ng.CommandPing, ng.CommandOffer, ng.CommandAnswer, ng.CommandDelete,
		ng.CommandQuery, ng.CommandList, ng.CommandStatistics,
	}
}

// Handle executes a command. Every reply is final: what fails leaves the call
// as it was.
func (h *Handler) Handle(_ context.Context, req *ng.Request) ng.Reply {
	start := time.Now()
	if len(req.Unknown) > 0 {
		h.noisy.Warn("not understood in command", zap.String("command", string(req.Command)),
			zap.String("call-id", req.CallID), zap.Strings("ignored", req.Unknown))
	}
	reply := h.execute(req)
	if f, failed := reply.(*ng.Failure); failed {
		h.errors.Add(1)
		h.noisy.Warn("command failed", zap.String("command", string(req.Command)), zap.String("call-id", req.CallID),
			zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag), zap.String("reason", string(f.Reason)))
	}
	if n := h.counts[req.Command]; n != nil {
		n.requests.Add(1)
		n.microseconds.Add(uint64(time.Since(start).Microseconds()))
	}
	return reply
}

func (h *Handler) execute(req *ng.Request) ng.Reply {
	switch req.Command {
	case ng.CommandPing:
		return h.ping()
	case ng.CommandOffer:
		return h.offer(req)
	case ng.CommandAnswer:
		return h.answer(req)
	case ng.CommandDelete:
		return h.delete(req)
	case ng.CommandQuery:
		return h.query(req)
	case ng.CommandList:
		return h.list(req)
	case ng.CommandStatistics:
		return h.statistics()
	case "":
		return ng.Fail(ng.ReasonNoCommand)
	}
	if req.Command.Known() {
		return &ng.Failure{Reason: ng.Reason(fmt.Sprintf("Command %q is not served by this version", req.Command))}
	}
	return ng.Fail(ng.ReasonUnknownCommand)
}

// failure logs why a command failed where the reply says less than that, and
// makes the reply.
func (h *Handler) failure(req *ng.Request, err error) ng.Reply {
	f := ng.Fail(err)
	if text := err.Error(); text != string(f.Reason) {
		h.noisy.Info("details of a failure", zap.String("command", string(req.Command)),
			zap.String("call-id", req.CallID), zap.String("error", text))
	}
	return f
}
