package app

import (
	"context"
	"os"
	"runtime"
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
	// smallHeap is how big the heap may grow in any case before garbage is collected, in bytes. While few calls are up, Go would collect
	// after every few megabytes, which takes a tenth of what commands cost.
	smallHeap = 24 << 20
	// usualGrowth is how much a heap that is not small may grow before garbage is collected, in per cent: Go's own value.
	usualGrowth = 100
	// growthStep is the least change of it that is worth stopping the world for.
	growthStep = 10
)

// memory lets a small heap grow without being collected all the time, and gives memory back to the system when a busy time is over. Go's
// runtime by itself keeps what the heap of that time needed until two minutes after the last collection, and a good part of it after.
type memory struct {
	growth  growth
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
	m.growth.start()
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
	m.growth.close()
}

// growth sets after each collection how much the heap may grow until the next one. Who has set GOGC is left alone.
type growth struct {
	mu     sync.Mutex
	active bool
	now    int // per cent
	sample []metrics.Sample
}

func (g *growth) start() {
	if os.Getenv("GOGC") != "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active, g.now = true, usualGrowth
	g.sample = []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	g.await()
}

// await has adapt called when the next collection has found the object that nothing refers to.
func (g *growth) await() {
	runtime.AddCleanup(new([16]byte), func(g *growth) { g.adapt() }, g)
}

func (g *growth) adapt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.active {
		return
	}
	metrics.Read(g.sample)
	if next := growthOf(g.sample[0].Value.Uint64()); next < g.now-growthStep || next > g.now+growthStep {
		debug.SetGCPercent(next)
		g.now = next
	}
	g.await()
}

// growthOf is by how much a heap with so many bytes in use may grow, in per cent.
func growthOf(live uint64) int {
	const most = 1000
	live = max(live, 1)
	if live*(100+usualGrowth)/100 >= smallHeap {
		return usualGrowth
	}
	return int(min((smallHeap-live)*100/live, most))
}

func (g *growth) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active {
		g.active = false
		debug.SetGCPercent(usualGrowth)
	}
}
