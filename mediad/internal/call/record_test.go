package call

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/report"
)

func TestRecordNamesWhoTalkedToWhom(t *testing.T) {
	r, err := report.New(report.Config{CDR: func(string) {}, Log: zap.NewNop()})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	now := time.Unix(1000, 0)
	c := newCall(NewRegistry(Config{Log: zap.NewNop(), Report: r}), "id", now)
	a, b, silent := newParty("a", now), newParty("b", now.Add(time.Second)), newParty("", now)
	a.peer, b.peer = b, a
	c.parties = []*party{a, b, silent}
	b.present.medias = []*media{{side: new(negotiate.Side)}} // refused
	for reason, word := range map[endReason]string{
		endDeleted: "REGULAR", endTimeout: "TIMEOUT", endSilent: "SILENT_TIMEOUT", endFinal: "FINAL_TIMEOUT",
		endOffer: "OFFER_TIMEOUT", endShutdown: "FORCED", endTerminated: "FORCED",
	} {
		got := c.record(reason, now.Add(time.Minute))
		require.Len(t, got.Legs, 3)
		require.Equal(t, report.Leg{Start: now, End: now.Add(time.Minute), Termination: word, Tag: "a", Peer: "b", Role: "FROM_TAG"}, got.Legs[0])
		require.Equal(t, "TO_TAG", got.Legs[1].Role)
		require.Equal(t, "UNKNOWN", got.Legs[2].Role)
		require.Len(t, got.Legs[1].Medias, 1)
		require.Equal(t, b.created, got.Legs[1].Medias[0].RTP.Last)
	}
	c.registry.cfg.Report = nil
	require.Nil(t, c.record(endDeleted, now), "nobody wants it")
}
