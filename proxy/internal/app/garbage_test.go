package app

import (
	"runtime/debug"
	"testing"
)

func TestGarbageFloor(t *testing.T) {
	for live, want := range map[uint64]int{0: 4800, 1 << 20: 4800, 12 << 20: 400, 48 << 20: 100, 1 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes alive: %d %%, want %d %%", live, got, want)
		}
	}
	before := debug.SetGCPercent(garbagePercent)
	defer debug.SetGCPercent(before)
	p := newPace()
	p.start()
	if now := debug.SetGCPercent(garbagePercent); now <= garbagePercent {
		t.Errorf("%d %% while it runs", now)
	}
	p.close()
	if after := debug.SetGCPercent(garbagePercent); after != garbagePercent {
		t.Errorf("%d %% after it has ended", after)
	}
	debug.SetGCPercent(250)
	p = newPace()
	p.start()
	p.close()
	if own := debug.SetGCPercent(garbagePercent); own != 250 {
		t.Errorf("an operator's GOGC of 250 became %d", own)
	}
}
