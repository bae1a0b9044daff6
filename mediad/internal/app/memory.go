package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	calmLook = 5 * time.Second
	// calmRate is the garbage, in bytes a second, below which nothing but media is going on: media makes none.
	calmRate = 128 << 10
	// calmTrims is how often memory is given back when it has become calm: replies are kept for ten seconds, so that the first time is too
	// early for them.
	calmTrims = 3
)

// memory gives memory back to the system when a busy time is over. Go's runtime by itself keeps what the heap of that time needed until
// two minutes after the last collection, and a good part of it after.
type memory struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	sample  []metrics.Sample
	before  uint64 // bytes allocated since the start, at the last look
	left    int    // trims until there is nothing more to be expected
}

func newMemory() *memory {
	return &memory{sample: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}, cancel: func() {}}
}

func (m *memory) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() {
		ticker := time.NewTicker(calmLook)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if m.due() {
					debug.FreeOSMemory()
				}
			}
		}
	})
}

// due reports whether it is calm after a busy time.
func (m *memory) due() bool {
	metrics.Read(m.sample)
	allocated := m.sample[0].Value.Uint64()
	busy := allocated-m.before > calmRate*uint64(calmLook/time.Second)
	m.before = allocated
	if busy {
		m.left = calmTrims
		return false
	}
	m.left--
	return m.left >= 0
}

func (m *memory) close() {
	m.cancel()
	m.running.Wait()
}
