package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPace(t *testing.T) {
	var p Pace
	now := time.Now()
	turns := func(count, packets int, every time.Duration) {
		for range count {
			now = now.Add(every)
			p.Note(packets, now)
		}
	}
	require.False(t, p.Busy())
	turns(100, 1, 100*time.Microsecond) // 10,000 a second
	require.False(t, p.Busy())
	const most = 300 * time.Microsecond
	turns(100, 5, 200*time.Microsecond) // 25,000
	require.True(t, p.Busy())
	require.Equal(t, most, p.Gather(most))
	turns(100, 16, 150*time.Microsecond)
	require.Equal(t, 150*time.Microsecond, p.Gather(most))
	turns(100, 40, 100*time.Microsecond)
	require.Equal(t, least, p.Gather(most))
	turns(1, 50, time.Second) // a silence, however much ends it
	require.False(t, p.Busy())
	turns(1000, 1, 20*time.Microsecond)
	require.True(t, p.Busy())
	turns(200, 1, 200*time.Microsecond)
	require.False(t, p.Busy())
}
