// Package control executes the commands of the ng protocol on the calls of
// the daemon: one file a command. It holds no state.
package control

import (
	"context"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
)

// Config holds what commands act on.
type Config struct {
	Calls   *call.Registry
	Metrics *metrics.Source
	// CLI executes a line of the CLI and returns what it prints; nil = the
	// command cli is not served.
	CLI func(line string) string
	// Templates returns the flags that stand before those of a request, by name:
	// "default", a command, or what its key "template" says; nil = none.
	Templates func() map[string]string
	Log       *zap.Logger
}

// Handler is an ng.Handler.
type Handler struct {
	calls     *call.Registry
	metrics   *metrics.Source
	cli       func(string) string
	templates func() map[string]string
	log       *zap.Logger
	noisy     *zap.Logger // for what a client can repeat at will
}

var _ ng.Handler = (*Handler)(nil)

// New returns a handler.
func New(cfg Config) *Handler {
	return &Handler{
		calls: cfg.Calls, metrics: cfg.Metrics, cli: cfg.CLI, templates: cfg.Templates,
		log: cfg.Log, noisy: telemetry.Sampled(cfg.Log, 10, time.Second),
	}
}

// Handle executes a command. Every reply is final: what fails leaves the call
// as it was.
func (h *Handler) Handle(_ context.Context, req *ng.Request) ng.Reply {
	start := time.Now()
	if h.templates != nil {
		req = req.WithTemplates(h.templates())
	}
	if len(req.Unknown) > 0 {
		h.noisy.Warn("not understood in command", zap.String("command", string(req.Command)),
			zap.String("call-id", req.CallID), zap.Strings("ignored", req.Unknown))
	}
	reply := h.execute(req)
	f, failed := reply.(*ng.Failure)
	if failed {
		h.noisy.Warn("command failed", zap.String("command", string(req.Command)), zap.String("call-id", req.CallID),
			zap.String("from-tag", req.FromTag), zap.String("to-tag", req.ToTag), zap.String("reason", string(f.Reason)))
	}
	h.metrics.Commands.Count(req.Peer.Addr(), req.Command, time.Since(start), failed)
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
	case ng.CommandCLI, "CLI":
		return h.command(req)
	}
	return h.executeMedia(req)
}

// executeMedia executes the commands about the media of a call.
func (h *Handler) executeMedia(req *ng.Request) ng.Reply {
	switch req.Command {
	case ng.CommandBlockMedia, ng.CommandUnblockMedia, ng.CommandSilenceMedia, ng.CommandUnsilenceMedia,
		ng.CommandBlockDTMF, ng.CommandUnblockDTMF, ng.CommandStartForwarding, ng.CommandStopForwarding:
		return h.block(req)
	case ng.CommandPublish:
		return h.publish(req)
	case ng.CommandSubscribeRequest:
		return h.subscribeRequest(req)
	case ng.CommandSubscribeAnswer:
		return h.subscribeAnswer(req)
	case ng.CommandUnsubscribe:
		return h.unsubscribe(req)
	case ng.CommandConnect, ng.CommandMesh, ng.CommandInjectStart, ng.CommandInjectStop:
		return h.connect(req)
	case ng.CommandCreate:
		return h.create(req)
	case ng.CommandCreateAnswer:
		return h.createAnswer(req)
	case ng.CommandPlayDTMF:
		return h.playDTMF(req)
	case ng.CommandStartRecording, ng.CommandStopRecording, ng.CommandPauseRecording,
		ng.CommandPlayMedia, ng.CommandStopMedia, ng.CommandTransform:
		return h.later(req)
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
