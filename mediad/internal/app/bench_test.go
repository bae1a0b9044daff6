package app

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/mediad/internal/control"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"go.uber.org/zap"
)

// BenchmarkPlainCall measures offer, answer and delete of a plain call, without
// the datagrams around them.
func BenchmarkPlainCall(b *testing.B) {
	s, err := settings.Load([]string{"--config-file=none", "-i", "127.0.0.1", "-n", "127.0.0.1:0", "--auto-port-range=4000", "-d", "0"})
	require.NoError(b, err)
	a, err := New(Config{Settings: s, Log: zap.NewNop()})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, a.Close()) })
	numbers := &metrics.Source{Calls: a.calls, Commands: metrics.NewCommands()}
	h := control.New(control.Config{Calls: a.calls, Metrics: numbers, Log: zap.NewNop()})
	const body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		req := ng.Request{CallID: fmt.Sprint(i), FromTag: "a", SDP: body, ICE: ng.ICERemove, Replace: ng.ReplaceOrigin}
		for _, c := range []ng.Command{ng.CommandOffer, ng.CommandAnswer, ng.CommandDelete} {
			r := req
			r.Command = c
			if c == ng.CommandAnswer {
				r.ToTag = "b"
			}
			if f, failed := h.Handle(context.Background(), &r).(*ng.Failure); failed {
				b.Fatal(f.Reason)
			}
		}
	}
}
