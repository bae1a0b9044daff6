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
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newHandler() (*Handler, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	return New(call.NewRegistry(call.Config{Log: zap.NewNop()}), zap.New(core)), logs
}

func TestReplies(t *testing.T) {
	h, _ := newHandler()
	fatal := ng.FlagsOf(ng.FlagFatal)
	for _, c := range []struct {
		req  ng.Request
		want ng.Reply
	}{
		{ng.Request{Command: ng.CommandPing}, &ng.Pong{}},
		{ng.Request{}, &ng.Failure{Reason: ng.ReasonNoCommand}},
		{ng.Request{Command: "dance"}, &ng.Failure{Reason: ng.ReasonUnknownCommand}},
		{ng.Request{Command: "Ping"}, &ng.Failure{Reason: ng.ReasonUnknownCommand}}, // names are exact
		{ng.Request{Command: ng.CommandPlayMedia}, &ng.Failure{Reason: `Command "play media" is not served by this version`}},
		{ng.Request{Command: ng.CommandOffer}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandAnswer, CallID: "x", FromTag: "a", ToTag: "b", SDP: "v=0"}, &ng.Failure{Reason: ng.ReasonUnknownCallID}},
		{ng.Request{Command: ng.CommandQuery, CallID: "x"}, &ng.Failure{Reason: ng.ReasonUnknownCallID}},
		{ng.Request{Command: ng.CommandDelete}, &ng.Failure{Reason: ng.ReasonNoCallID}},
		{ng.Request{Command: ng.CommandDelete, CallID: "x"}, &ng.CallReply{Warning: string(ng.ReasonNoMatchingTags)}},
		{ng.Request{Command: ng.CommandDelete, CallID: "x", Flags: fatal}, &ng.Failure{Reason: ng.ReasonNoMatchingTags}},
		{ng.Request{Command: ng.CommandList}, &ng.ListReply{Calls: []string{}}},
	} {
		require.Equal(t, c.want, h.Handle(context.Background(), &c.req), "%+v", c.req.Command)
	}
	require.EqualValues(t, 1, h.counts[ng.CommandPing].requests.Load())
	require.EqualValues(t, 2, h.counts[ng.CommandDelete].requests.Load()-1)
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
	require.EqualValues(t, 1000, h.errors.Load())
}
