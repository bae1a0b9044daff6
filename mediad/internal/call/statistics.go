package call

import (
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
)

// add counts what a stream that is gone has received.
func (t *totals) add(st flow.Statistics) {
	n := counters(st)
	t.packets.Add(n.Packets)
	t.bytes.Add(n.Bytes)
	t.errors.Add(n.Errors)
	t.kernelPackets.Add(st.CarriedPackets)
	t.kernelBytes.Add(st.CarriedBytes)
}

// count counts a call that has ended.
func (t *totals) count(reason endReason, sum traffic, duration time.Duration) {
	switch reason {
	case endTimeout:
		t.timeout.Add(1)
	case endSilent:
		t.silent.Add(1)
	case endFinal:
		t.final.Add(1)
	case endOffer:
		t.offer.Add(1)
	case endShutdown, endTerminated:
		t.forced.Add(1)
	default:
		t.regular.Add(1)
	}
	t.duration.Add(uint64(duration.Microseconds()))
	t.squares.Add(uint64(duration.Seconds() * duration.Seconds() * 1e6))
	switch {
	case sum.media == 0:
	case sum.silent == sum.media:
		t.zeroWay.Add(1)
	case sum.silent > 0:
		t.oneWay.Add(1)
	}
}

// Numbers are the counters of calls and media, monotonic unless said otherwise.
type Numbers struct {
	Uptime  time.Duration
	Calls   int // now
	Foreign int // now, those of Calls that belong to another daemon
	Medias  int // now, with ports
	Active  int // medias that have received RTP within the last second
	Kernel  int // of these, those whose RTP the kernel has forwarded

	IPv4, IPv6, Mixed int // answered calls, by the families of their media

	Managed, Rejected uint64 // calls begun, and refused
	Ended             Ends

	Traffic                // received from all peers
	ZeroWay, OneWay uint64 // ended calls without media at all, or from some side
	Duration        time.Duration
	DurationSquares float64      // sum of the squares of the durations, in s²
	MOS             Sampled      // mean opinion scores, 1–5, of all media
	Quality         quality.Sums // of all reports judged; MOS is a part of it
}

// Sampled sums up samples.
type Sampled struct {
	Sum, Squares float64
	Count        uint64
}

// qualityTotals are those of the calls that have ended.
type qualityTotals struct {
	mu   sync.Mutex
	sums quality.Sums
}

func (t *qualityTotals) add(s quality.Sums) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums.Merge(s)
}

func (t *qualityTotals) load() quality.Sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}

// Ends counts ended calls by reason.
type Ends struct{ Timeout, Silent, Final, Offer, Regular, Forced uint64 }

// Total is how many calls have ended.
func (e Ends) Total() uint64 {
	return e.Timeout + e.Silent + e.Final + e.Offer + e.Regular + e.Forced
}

// AverageDuration is that of the ended calls, in seconds; 0 if there are none.
func (n *Numbers) AverageDuration() float64 {
	if n.Ended.Total() == 0 {
		return 0
	}
	return n.Duration.Seconds() / float64(n.Ended.Total())
}

// Numbers counts.
func (r *Registry) Numbers() Numbers {
	t := &r.totals
	calls := r.snapshot()
	now := time.Now()
	var live traffic
	var n Numbers
	for _, c := range calls {
		c.mu.Lock()
		c.numbers(&n, &live, now)
		c.mu.Unlock()
		n.Quality.Merge(c.quality.Sums())
	}
	n.Quality.Merge(t.quality.load())
	return Numbers{
		Uptime: now.Sub(t.started), Calls: len(calls), Medias: n.Medias, Active: n.Active, Kernel: n.Kernel,
		Foreign: n.Foreign, IPv4: n.IPv4, IPv6: n.IPv6, Mixed: n.Mixed,
		Managed: t.managed.Load(), Rejected: t.rejected.Load(),
		Ended: Ends{
			Timeout: t.timeout.Load(), Silent: t.silent.Load(), Final: t.final.Load(),
			Offer: t.offer.Load(), Regular: t.regular.Load(), Forced: t.forced.Load(),
		},
		Traffic: t.received(live),
		ZeroWay: t.zeroWay.Load(), OneWay: t.oneWay.Load(),
		Duration:        time.Duration(t.duration.Load()) * time.Microsecond,
		DurationSquares: float64(t.squares.Load()) / 1e6,
		MOS:             Sampled{n.Quality.MOS.Total, n.Quality.MOS.Squares, n.Quality.MOS.Samples},
		Quality:         n.Quality,
	}
}

// numbers adds what is in the call.
func (c *Call) numbers(n *Numbers, live *traffic, now time.Time) {
	var ipv4, ipv6 bool
	if c.operated.foreign {
		n.Foreign++
	}
	for _, p := range c.parties {
		for _, m := range p.all() {
			if m.pair == nil {
				continue
			}
			n.Medias++
			for component, s := range m.streams {
				st := s.Totals()
				live.add(st)
				if component == componentRTP && now.Sub(st.LastPacket) <= activeTime {
					n.Active++
					if now.Sub(st.LastCarried) <= activeTime {
						n.Kernel++
					}
				}
			}
			is4 := m.pair.Address.Local.Is4()
			ipv4, ipv6 = ipv4 || is4, ipv6 || !is4
		}
	}
	switch {
	case !c.answered:
	case ipv4 && ipv6:
		n.Mixed++
	case ipv4:
		n.IPv4++
	case ipv6:
		n.IPv6++
	}
}

// activeTime is how long a stream counts as active after a packet.
const activeTime = time.Second

// Traffic is received media, monotonic; Kernel… are of Packets and Bytes those that the kernel has forwarded.
type Traffic struct{ Packets, Bytes, Errors, KernelPackets, KernelBytes uint64 }

// sample is room for the calls that Received looks at.
type sample struct {
	mu    sync.Mutex
	calls []*Call
}

// Received sums up what all streams have received since the start.
func (r *Registry) Received() Traffic {
	r.sample.mu.Lock()
	defer r.sample.mu.Unlock()
	r.sample.calls = r.appendCalls(r.sample.calls[:0])
	defer clear(r.sample.calls)
	var live traffic
	for _, c := range r.sample.calls {
		c.mu.Lock()
		for _, p := range c.parties {
			for _, m := range p.all() {
				if m.pair == nil {
					continue
				}
				for _, s := range m.streams {
					live.add(s.Totals())
				}
			}
		}
		c.mu.Unlock()
	}
	return r.totals.received(live)
}

// received adds what streams that are gone have received to what live ones have.
func (t *totals) received(live traffic) Traffic {
	return Traffic{
		Packets: t.packets.Load() + live.packets, Bytes: t.bytes.Load() + live.bytes, Errors: t.errors.Load() + live.errors,
		KernelPackets: t.kernelPackets.Load() + live.kernelPackets, KernelBytes: t.kernelBytes.Load() + live.kernelBytes,
	}
}

// Ports returns the use of the port pools, in pairs.
func (r *Registry) Ports() []ports.Stats { return r.cfg.Ports.Stats() }
