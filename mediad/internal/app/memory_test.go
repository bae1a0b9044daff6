package app

import (
	"testing"

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
