package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInterruptedRunKeepsItsSamples of the daemons it has measured.
func TestInterruptedRunKeepsItsSamples(t *testing.T) {
	signals := make(chan os.Signal, 1)
	b := &bench{options: &options{}, interrupted: signals, candidates: []candidate{
		{Name: "first", Program: "no such program"}, {Name: "second", Program: "no such program"}, {Name: "third", Program: "no such program"},
	}}
	f := figure{Name: "x", Skip: func(c *candidate) bool {
		if c.Name == "second" {
			signals <- os.Interrupt
		}
		return false
	}}
	samples, err := b.round(f, &site{}, 0)
	require.ErrorIs(t, err, errInterrupted)
	require.Len(t, samples, 1)
	require.Equal(t, "first", samples[0].Daemon)
	samples, err = b.round(f, &site{}, 1)
	require.ErrorIs(t, err, errInterrupted)
	require.Empty(t, samples)
}
