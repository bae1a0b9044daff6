package traffic

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClassesAreFine(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<36; ns += 1 + ns/200 {
		c := class(ns)
		if c < last {
			t.Fatalf("class of %d is %d, below that of less", ns, c)
		}
		last = c
		if low := lowest(c); low > ns || float64(ns-low) > float64(ns)/60 {
			t.Fatalf("%d ns counts as %d ns", ns, low)
		}
	}
}

func TestQuantilesAreThoseOfTheSortedTimes(t *testing.T) {
	var l Latency
	times := make([]time.Duration, 10000)
	for i := range times {
		times[i] = time.Duration(rand.ExpFloat64() * 1e5)
		l.add(times[i])
	}
	slices.Sort(times)
	for _, q := range []float64{0, .5, .99, .999} {
		want := times[int(q*float64(len(times)))]
		if got := l.Quantile(q); got > want || float64(want-got) > float64(want)/60 {
			t.Errorf("quantile %g is %v, want %v", q, got, want)
		}
	}
}

// TestArrivalsAreTold: against a plain count of what was sent how often and when.
func TestArrivalsAreTold(t *testing.T) {
	var a arrivals
	var got, want Tally
	seen, highest := make(map[int]bool), -1
	arrive := func(n int) {
		a.note(uint16(n), &got)
		switch {
		case seen[n]:
			want.Duplicates++
			return
		case n < highest:
			want.Reordered++
		}
		want.Received++
		seen[n], highest = true, max(highest, n)
	}
	for n := 65000; n < 140000; n++ { // twice around
		switch rand.IntN(10) {
		case 0: // lost
		case 1:
			arrive(n)
			arrive(n)
		case 2:
			arrive(n + 1)
			arrive(n)
			n++
		default:
			arrive(n)
		}
	}
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestOwnCostIsSeen(t *testing.T) {
	before, err := NewMeter(os.Getpid()).Read()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
		sum++
	}
	after, err := NewMeter(os.Getpid()).Read()
	if err != nil {
		t.Fatal(err)
	}
	cost := after.Since(before)
	if cost.Generator < 10*time.Millisecond || cost.Generator > cost.Time*2 || sum == 0 {
		t.Errorf("100 ms of work cost %v", cost.Generator)
	}
	resident, files, err := Memory(os.Getpid())
	if err != nil || resident < 1<<20 || files < 3 {
		t.Errorf("resident %d, %d descriptors, %v", resident, files, err)
	}
}
