package traffic

import (
	"math/bits"
	"time"
)

const (
	fine      = 6 // bits of precision within a power of two: 1.6 %
	histogram = 40 << fine
)

// Latency counts times of travel in classes of 1.6 %, from 1 ns to 18 minutes.
type Latency struct {
	counts [histogram]uint32
	total  uint64
}

func class(ns uint64) int {
	if ns < 1<<fine {
		return int(ns)
	}
	e := bits.Len64(ns) - fine - 1
	return min((e+1)<<fine+int(ns>>e)-1<<fine, histogram-1)
}

// lowest is the smallest value of a class.
func lowest(class int) uint64 {
	if class < 1<<fine {
		return uint64(class)
	}
	e := class>>fine - 1
	return uint64(1<<fine+class&(1<<fine-1)) << e
}

func (l *Latency) add(d time.Duration) {
	l.counts[class(uint64(max(d, 0)))]++
	l.total++
}

// Quantile returns the time within which the part q (0 … 1) of the packets arrived, 0 if there were none.
func (l *Latency) Quantile(q float64) time.Duration {
	left := uint64(q * float64(l.total))
	for c, n := range l.counts {
		if uint64(n) > left {
			return time.Duration(lowest(c))
		}
		left -= uint64(n)
	}
	return 0
}
