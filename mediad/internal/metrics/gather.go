package metrics

import (
	"math"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
)

// Source is where numbers come from.
type Source struct {
	Calls    *call.Registry
	Commands *Commands
	Rates    *Rates
	Graphite *Graphite // nil = nobody is reported to
	// Dropped tells how many packets the kernel has thrown away because mediad did not keep up, if it can tell; nil = it cannot.
	Dropped func() (packets uint64, ok bool)
}

// Snapshot is all numbers at one moment.
type Snapshot struct {
	call.Numbers
	Rate    call.Traffic
	Proxies []Proxy
	Ports   []Ports
	Dropped *uint64 // nil = nobody can tell

	Interval Interval // what was last reported to Graphite
}

// Ports are those of one address, counted singly.
type Ports struct {
	Interface, Address string
	IPv6               bool
	Min, Max, Last     uint16
	Used, Total        int
}

// Free is how many are not in use, those released lately included.
func (p *Ports) Free() int { return p.Total - p.Used }

// Percent is how many of a hundred are in use.
func (p *Ports) Percent() float64 { return 100 * float64(p.Used) / float64(max(p.Total, 1)) }

// Gather counts.
func (s *Source) Gather() *Snapshot {
	snap := &Snapshot{Numbers: s.Calls.Numbers(), Rate: s.Rates.PerSecond(), Proxies: s.Commands.proxiesSorted(), Interval: s.Graphite.Last()}
	if s.Dropped != nil {
		if n, ok := s.Dropped(); ok {
			snap.Dropped = &n
		}
	}
	type place struct{ name, address string }
	seen := make(map[place]bool)
	for _, p := range s.Calls.Ports() {
		// Addresses that differ only in what they advertise share a pool.
		at := place{p.Interface, p.Address.Local.String()}
		if seen[at] {
			continue
		}
		seen[at] = true
		snap.Ports = append(snap.Ports, Ports{
			Interface: at.name, Address: at.address, IPv6: p.Address.Local.Is6(),
			Min: p.Address.Min, Max: p.Address.Max, Last: p.Last, Used: 2 * p.Used, Total: 2 * p.Total,
		})
	}
	return snap
}

// total is how often all clients have asked for the i-th command.
func (s *Snapshot) total(i int) uint64 {
	var n uint64
	for _, p := range s.Proxies {
		n += p.Counts[i]
	}
	return n
}

// deviation is the standard deviation of n values with these sums of the
// values and of their squares.
func deviation(sum, squares float64, n uint64) float64 {
	if n == 0 {
		return 0
	}
	mean := sum / float64(n)
	return math.Sqrt(max(squares/float64(n)-mean*mean, 0))
}

func mean(sum float64, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}
