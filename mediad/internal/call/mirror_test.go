package call

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/ports"
)

func TestMirrorIsTheWayBackOfControl(t *testing.T) {
	now := time.Unix(1000, 0)
	source, listener := newParty("a", now), newParty("s", now)
	pair := &ports.Pair{}
	audio, video, copied := &media{pair: pair}, &media{pair: pair}, &media{pair: pair}
	source.present.medias, listener.present.medias = []*media{audio, video}, []*media{copied}
	subscribe(listener, source, []int{1}) // only the video
	listener.subscriptionTo(source).mirror()
	back := source.subscriptionTo(listener)
	require.NotNil(t, back)
	require.True(t, back.control)
	require.Equal(t, []*media{video}, back.receives(0))
	c := &Call{parties: []*party{source, listener}}
	require.Nil(t, c.speaker(source, video), "a mirror carries no media")
	require.Same(t, video, c.speaker(listener, copied))
}
