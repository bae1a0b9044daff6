package app

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMemoryIsGivenBackAfterBusyTimes: not while there is garbage, then a few times, then no more.
func TestMemoryIsGivenBackAfterBusyTimes(t *testing.T) {
	m := newMemory()
	m.due() // what was allocated before
	var garbage []byte
	for range 2 {
		for range 64 {
			garbage = append([]byte(nil), make([]byte, 1<<20)...)
		}
		require.False(t, m.due(), "in a busy time")
		for range calmTrims {
			require.True(t, m.due())
		}
		require.False(t, m.due(), "there is nothing more to be given back")
	}
	require.NotEmpty(t, garbage)
}

// TestSmallHeapMayGrow: to the same size however small it is, and a big one by its own size.
func TestSmallHeapMayGrow(t *testing.T) {
	for live, want := range map[uint64]int{8 << 20: 200, 11 << 20: 118, 12 << 20: usualGrowth, 1 << 30: usualGrowth, 0: 1000} {
		require.Equal(t, want, growthOf(live), "%d bytes in use", live)
	}
	t.Setenv("GOGC", "")
	var g growth
	g.start()
	defer g.close()
	for range 100 {
		runtime.GC()
		g.mu.Lock()
		now := g.now
		g.mu.Unlock()
		if now > usualGrowth {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("collections are not noticed")
}
