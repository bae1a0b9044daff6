package control

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newHandler() (*Handler, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	calls := call.NewRegistry(call.Config{Log: zap.NewNop()})
	return New(Config{
		Calls: calls, Log: zap.New(core),
		Metrics: &metrics.Source{Calls: calls, Commands: metrics.NewCommands()},
	}), logs
}

func TestReplies(t *testing.T) {
	h, _ := newHandler()
	fatal, below := ng.FlagsOf(ng.FlagFatal), -1
	for _, c := range []struct {
		req  ng.Request
		want ng.Reply
	}{
		{ng.Request{Command: ng.CommandPing}, &ng.Pong{}},
		{ng.Request{}, &ng.Failure{Reason: ng.ReasonUnknownCommand}},
		{ng.Request{Command: "dance"}, &ng.Failure{Reason: ng.ReasonUnknownCommand}},
		{ng.Request{Command: "Ping"}, &ng.Failure{Reason: ng.ReasonUnknownCommand}}, // names are exact
		{ng.Request{Command: ng.CommandPlayMedia}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandPlayMedia, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCall}},
		{ng.Request{Command: ng.CommandStartRecording, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCallID}},
		{ng.Request{Command: ng.CommandPlayDTMF}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandPlayDTMF, CallID: "x", DTMF: ng.DTMF{Code: "5"}}, &ng.Failure{Reason: ng.ReasonUnknownCall}},
		{ng.Request{Command: ng.CommandTransform}, &ng.Failure{Reason: "Transcoding is not available in this version"}},
		{ng.Request{Command: ng.CommandBlockMedia}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandBlockDTMF, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCall}},
		{ng.Request{Command: ng.CommandSubscribeRequest, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCall}},
		{ng.Request{Command: ng.CommandSubscribeAnswer}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandUnsubscribe, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCall}},
		{ng.Request{Command: ng.CommandPublish, CallID: "x"}, &ng.Failure{Reason: ng.ReasonNoSDP}},
		{ng.Request{Command: ng.CommandConnect}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandCreateAnswer, CallID: "x"}, &ng.Failure{Reason: ng.ReasonNoSDP}},
		{ng.Request{Command: ng.CommandCLI, Body: "list"}, &ng.Failure{Reason: ng.ReasonUnknownCommand}},
		{ng.Request{Command: ng.CommandOffer}, &ng.Failure{Reason: ng.ReasonNoSDP}},
		{ng.Request{Command: ng.CommandOffer, Empty: ng.GivenSDP}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandOffer, SDP: "v=0", Empty: ng.GivenCallID}, &ng.Failure{Reason: ng.ReasonNoFromTag}},
		{ng.Request{Command: ng.CommandAnswer, CallID: "x", FromTag: "a", ToTag: "b", SDP: "v=0"}, &ng.Failure{Reason: ng.ReasonUnknownCallID}},
		{ng.Request{Command: ng.CommandQuery, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCallID}},
		{ng.Request{Command: ng.CommandDelete}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandDelete, CallID: "x"}, &ng.CallReply{Warning: string(ng.ReasonNoMatchingTags)}},
		{ng.Request{Command: ng.CommandDelete, CallID: "x", Flags: fatal}, &ng.Failure{Reason: ng.ReasonNoMatchingTags}},
		{ng.Request{Command: ng.CommandList}, &ng.ListReply{Calls: []string{}}},
		{ng.Request{Command: ng.CommandList, Limit: new(int)}, &ng.ListReply{Calls: []string{}}},
		{ng.Request{Command: ng.CommandList, Limit: &below}, &ng.Failure{Reason: ng.ReasonBadLimit}},
	} {
		require.Equal(t, c.want, h.Handle(context.Background(), &c.req), "%+v", c.req.Command)
	}
	ping, failed := h.metrics.Commands.Total(ng.CommandPing)
	require.EqualValues(t, 1, ping)
	require.EqualValues(t, 26, failed)
	deletes, _ := h.metrics.Commands.Total(ng.CommandDelete)
	require.EqualValues(t, 3, deletes)
}

func TestWhatIsNotUnderstoodIsLogged(t *testing.T) {
	h, logs := newHandler()
	h.Handle(context.Background(), &ng.Request{Command: ng.CommandPing, CallID: "x", Unknown: []string{"flags: nonsense"}})
	lines := logs.FilterMessage("not understood in command").All()
	require.Len(t, lines, 1)
	require.Equal(t, []any{"flags: nonsense"}, lines[0].ContextMap()["ignored"])
}

func TestFailuresAreLoggedButNotWithoutEnd(t *testing.T) {
	h, logs := newHandler()
	for range 1000 {
		h.Handle(context.Background(), &ng.Request{Command: ng.CommandQuery, CallID: "x"})
	}
	n := logs.FilterMessage("command failed").Len()
	require.Positive(t, n)
	require.Less(t, n, 100)
	_, failed := h.metrics.Commands.Total(ng.CommandQuery)
	require.EqualValues(t, 1000, failed)
}
