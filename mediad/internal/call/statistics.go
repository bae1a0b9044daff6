package call

import (
	"fmt"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// add counts what a stream that is gone has received.
func (t *totals) add(st flow.Statistics) {
	t.packets.Add(st.PacketsIn)
	t.bytes.Add(st.BytesIn)
	t.errors.Add(st.ErrorsIn)
}

// count counts a call that has ended.
func (t *totals) count(reason endReason, answered bool, sum traffic, duration time.Duration) {
	switch reason {
	case endTimeout:
		t.timeout.Add(1)
	case endSilent:
		t.silent.Add(1)
	case endFinal:
		t.final.Add(1)
	case endOffer:
		t.offer.Add(1)
	case endShutdown:
		t.forced.Add(1)
	default:
		t.regular.Add(1)
	}
	t.duration.Add(uint64(duration.Microseconds()))
	t.squares.Add(uint64(duration.Seconds() * duration.Seconds() * 1e6))
	switch {
	case !answered || sum.media == 0:
	case sum.silent == sum.media:
		t.zeroWay.Add(1)
	case sum.silent > 0:
		t.oneWay.Add(1)
	}
}

// Numbers are the counters of calls and media, monotonic unless said otherwise.
type Numbers struct {
	Uptime time.Duration
	Calls  int // now
	Medias int // now, with ports

	Managed, Rejected uint64 // calls begun, and refused
	Ended             Ends

	Packets, Bytes, Errors uint64 // received from all peers
	ZeroWay, OneWay        uint64 // answered calls without media at all, or from some side
	Duration               time.Duration
	DurationSquares        float64 // sum of the squares of the durations, in s²
}

// Ends counts ended calls by reason.
type Ends struct{ Timeout, Silent, Final, Offer, Regular, Forced uint64 }

func (e Ends) total() uint64 {
	return e.Timeout + e.Silent + e.Final + e.Offer + e.Regular + e.Forced
}

// AverageDuration is that of the ended calls, in seconds; 0 if there are none.
func (n *Numbers) AverageDuration() float64 {
	if n.Ended.total() == 0 {
		return 0
	}
	return n.Duration.Seconds() / float64(n.Ended.total())
}

// Numbers counts.
func (r *Registry) Numbers() Numbers {
	t := &r.totals
	calls := r.snapshot()
	var live traffic
	medias := 0
	for _, c := range calls {
		c.mu.Lock()
		for _, p := range c.parties {
			for _, m := range p.all() {
				if m.pair == nil {
					continue
				}
				medias++
				for _, s := range m.streams {
					live.add(s.Statistics())
				}
			}
		}
		c.mu.Unlock()
	}
	return Numbers{
		Uptime: time.Since(t.started), Calls: len(calls), Medias: medias,
		Managed: t.managed.Load(), Rejected: t.rejected.Load(),
		Ended: Ends{
			Timeout: t.timeout.Load(), Silent: t.silent.Load(), Final: t.final.Load(),
			Offer: t.offer.Load(), Regular: t.regular.Load(), Forced: t.forced.Load(),
		},
		Packets: t.packets.Load() + live.packets, Bytes: t.bytes.Load() + live.bytes, Errors: t.errors.Load() + live.errors,
		ZeroWay: t.zeroWay.Load(), OneWay: t.oneWay.Load(),
		Duration:        time.Duration(t.duration.Load()) * time.Microsecond,
		DurationSquares: float64(t.squares.Load()) / 1e6,
	}
}

// Statistics returns the counters of calls and media: the part of rtpengine's
// statistics that does not concern commands.
func (r *Registry) Statistics() ng.Dict {
	n := r.Numbers()
	return ng.Dict{
		{Key: "currentstatistics", Value: ng.Dict{
			{Key: "sessionsown", Value: n.Calls},
			{Key: "sessionsforeign", Value: 0},
			{Key: "sessionstotal", Value: n.Calls},
			{Key: "transcodedmedia", Value: 0},
			{Key: "media_userspace", Value: n.Medias},
			{Key: "media_kernel", Value: 0},
			{Key: "media_mixed", Value: 0},
		}},
		{Key: "totalstatistics", Value: ng.Dict{
			{Key: "uptime", Value: fmt.Sprint(int64(n.Uptime.Seconds()))},
			{Key: "managedsessions", Value: n.Managed},
			{Key: "rejectedsessions", Value: n.Rejected},
			{Key: "timeoutsessions", Value: n.Ended.Timeout},
			{Key: "silenttimeoutsessions", Value: n.Ended.Silent},
			{Key: "finaltimeoutsessions", Value: n.Ended.Final},
			{Key: "offertimeoutsessions", Value: n.Ended.Offer},
			{Key: "regularterminatedsessions", Value: n.Ended.Regular},
			{Key: "forcedterminatedsessions", Value: n.Ended.Forced},
			{Key: "relayedpackets_user", Value: n.Packets},
			{Key: "relayedpacketerrors_user", Value: n.Errors},
			{Key: "relayedbytes_user", Value: n.Bytes},
			{Key: "relayedpackets_kernel", Value: 0},
			{Key: "relayedpacketerrors_kernel", Value: 0},
			{Key: "relayedbytes_kernel", Value: 0},
			{Key: "relayedpackets", Value: n.Packets},
			{Key: "relayedpacketerrors", Value: n.Errors},
			{Key: "relayedbytes", Value: n.Bytes},
			{Key: "zerowaystreams", Value: n.ZeroWay},
			{Key: "onewaystreams", Value: n.OneWay},
			{Key: "avgcallduration", Value: fmt.Sprintf("%.6f", n.AverageDuration())},
			{Key: "totalcallsduration", Value: fmt.Sprintf("%.6f", n.Duration.Seconds())},
		}},
		{Key: "interfaces", Value: r.interfaces()},
	}
}

// Ports returns the use of the port pools, in pairs.
func (r *Registry) Ports() []ports.Stats { return r.cfg.Ports.Stats() }

// interfaces describes the port pools. Ports are counted singly, as rtpengine
// does.
func (r *Registry) interfaces() []ng.Dict {
	var out []ng.Dict
	for _, s := range r.cfg.Ports.Stats() {
		out = append(out, ng.Dict{
			{Key: "name", Value: s.Interface},
			{Key: "address", Value: s.Address.Local.String()},
			{Key: "ports", Value: ng.Dict{
				{Key: "min", Value: int(s.Address.Min)},
				{Key: "max", Value: int(s.Address.Max)},
				{Key: "used", Value: 2 * s.Used},
				{Key: "used_pct", Value: fmt.Sprintf("%.2f", 100*float64(s.Used)/float64(max(s.Total, 1)))},
				{Key: "free", Value: 2 * (s.Total - s.Used)},
				{Key: "totals", Value: 2 * s.Total},
			}},
		})
	}
	return out
}
