package call

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
)

// speaking is a party whose medias are of these types.
func speaking(tag string, types ...string) *party {
	p := newParty(tag, time.Now())
	for _, t := range types {
		p.present.snapshot.Sides = append(p.present.snapshot.Sides, negotiate.Side{Remote: negotiate.Remote{Type: t}})
	}
	return p
}

// A recorder has agreed to a copy of audio and video of one party, and then to one of the video and audio of another at the same places:
// what is left of the first copy must not run into media of the other kind.
func TestCopiesGoToMediasOfTheirKind(t *testing.T) {
	recorder, first, second := speaking("recorder", "video", "audio"), speaking("first", "audio", "video", "audio"), speaking("second", "video", "audio")
	subscribe(recorder, first, []int{0, 2})
	subscribe(recorder, second, []int{0, 1})
	for _, s := range recorder.subscriptions {
		s.fit()
	}
	require.Equal(t, []int{-1, 2}, recorder.subscriptionTo(first).index)
	require.Equal(t, []int{0, 1}, recorder.subscriptionTo(second).index)
}
