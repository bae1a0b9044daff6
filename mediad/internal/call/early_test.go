package call

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func TestFragmentsAheadOfTheirOffer(t *testing.T) {
	var f fragments
	now := time.Now()
	for i := range 3 {
		f.keep(&ng.Request{CallID: "c", FromTag: "a", SDP: fmt.Sprint(i)}, now)
	}
	f.keep(&ng.Request{CallID: "c", FromTag: "b", SDP: "other party"}, now)
	require.Empty(t, f.take("d", "a", now))
	got := f.take("c", "a", now)
	require.Len(t, got, 3)
	require.Equal(t, "0", got[0].SDP, "in order")
	require.Empty(t, f.take("c", "a", now), "once")
	require.Empty(t, f.take("c", "b", now.Add(earlyLife+time.Second)), "too old")
	require.Empty(t, f.queue)
}

// TestEarlyFragmentsAreBounded: neither one call-id nor many nor long bodies fill the memory.
func TestEarlyFragmentsAreBounded(t *testing.T) {
	var f fragments
	now := time.Now()
	for range 10 * maxEarlyOfParty {
		f.keep(&ng.Request{CallID: "c", FromTag: "a"}, now)
	}
	require.Len(t, f.queue, maxEarlyOfParty)
	f.keep(&ng.Request{CallID: "long", SDP: strings.Repeat("x", maxEarlySize+1)}, now)
	require.Len(t, f.queue, maxEarlyOfParty)
	for i := range 2 * maxEarlyFragments {
		f.keep(&ng.Request{CallID: fmt.Sprint(i)}, now)
	}
	require.Len(t, f.queue, maxEarlyFragments)
	require.Len(t, f.take(fmt.Sprint(2*maxEarlyFragments-1), "", now), 1, "the latest is there")
}

func TestPostpone(t *testing.T) {
	r := NewRegistry(Config{})
	require.True(t, r.postpone(&ng.Request{CallID: "nobody", FromTag: "a"}))
	require.Len(t, r.early.queue, 1)
	r.catchUp("nobody", "a") // the call has ended meanwhile
	require.Empty(t, r.early.queue)
}
