package ports

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// TestSlotsAgainstABookOfStates does thousands of random things to slots and to a plain list of states.
func TestSlotsAgainstABookOfStates(t *testing.T) {
	const n, quarantine = 2500, 50
	r := rand.New(rand.NewPCG(3, 4))
	there := func(slot int) bool { return slot%7 != 0 }
	s := newSlots(n, there)
	type state struct {
		used bool
		rest int // until; 0 = does not
	}
	book := map[int]*state{}
	for i := range n {
		if there(i) {
			book[i] = &state{}
		}
	}
	var used, released []int
	origin := time.Now()
	at := func(now int) time.Time { return origin.Add(time.Duration(now) * time.Second) }
	for now := 1; now < 20000; now++ {
		free := 0
		for _, b := range book {
			if b.rest != 0 && b.rest <= now {
				b.rest = 0
			}
			if !b.used && b.rest == 0 {
				free++
			}
		}
		for len(released) > 0 && book[released[0]].rest == 0 {
			released = released[1:]
		}
		fill := now/4000%2 == 0 // tides
		if r.IntN(10) < 7 == fill || len(used) == 0 {
			slot, ok := s.take(at(now))
			require.Equal(t, free > 0 || len(released) > 0, ok)
			if !ok {
				continue
			}
			require.NotNil(t, book[slot], "slot %d is not there", slot)
			require.False(t, book[slot].used)
			if free == 0 {
				require.Equal(t, released[0], slot, "rested longest")
				released = released[1:]
			} else {
				require.Zero(t, book[slot].rest)
			}
			*book[slot] = state{used: true}
			if r.IntN(20) == 0 {
				s.untake(slot)
				*book[slot] = state{}
			} else {
				used = append(used, slot)
			}
			continue
		}
		i := r.IntN(len(used))
		slot := used[i]
		used = append(used[:i], used[i+1:]...)
		s.wake(at(now))
		s.release(slot, at(now+quarantine))
		*book[slot] = state{rest: now + quarantine}
		released = append(released, slot)
		require.Equal(t, len(used), s.used)
		require.Equal(t, len(released), s.rest.len())
		require.Equal(t, len(book), s.used+s.idle+s.rest.len())
	}
}

// TestTakeIsEven: every free slot is as likely as any other, so that nobody can foretell a port.
func TestTakeIsEven(t *testing.T) {
	const n, rounds = 200, 200_000
	now := time.Now()
	s := newSlots(n, func(slot int) bool { return slot%2 == 0 })
	var hits [n]int
	for range rounds {
		slot, ok := s.take(now)
		require.True(t, ok)
		hits[slot]++
		s.untake(slot)
	}
	for slot, h := range hits {
		if slot%2 == 1 {
			require.Zero(t, h)
			continue
		}
		require.InDelta(t, rounds/(n/2), h, 300, "slot %d", slot) // 2,000 ± 6.7 standard deviations of 45
	}
}

func TestSlotsDoNotAllocate(t *testing.T) {
	s := newSlots(32768, func(int) bool { return true })
	now := time.Now()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		slot, _ := s.take(now)
		s.release(slot, now.Add(5*time.Second))
	}))
}

func BenchmarkTake(b *testing.B) {
	now := time.Now()
	for name, left := range map[string]int{"all free": 15000, "one in a hundred free": 150, "one free": 1} {
		b.Run(name, func(b *testing.B) {
			s := newSlots(15000, func(int) bool { return true })
			for range 15000 - left {
				s.take(now)
			}
			for b.Loop() {
				slot, _ := s.take(now)
				s.untake(slot)
			}
		})
	}
}

// fake is a port that nothing is behind: what is measured is the registry.
type fake struct{ udp.Port }

func (fake) Close() error { return nil }

func BenchmarkAllocate(b *testing.B) {
	r, err := New([]Interface{{Name: "x", Addresses: []Address{{Local: netip.MustParseAddr("192.0.2.1"), Min: 30000, Max: 40000}}}}, Options{
		Open: func(netip.Addr, uint16) (rtp, rtcp udp.Port, err error) { return fake{}, fake{}, nil },
	})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		p, err := r.Allocate("", IPv4)
		if err != nil {
			b.Fatal(err)
		}
		p.Release()
	}
}
