package call

import (
	"fmt"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
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
	switch {
	case !answered || sum.media == 0:
	case sum.silent == sum.media:
		t.zeroWay.Add(1)
	case sum.silent > 0:
		t.oneWay.Add(1)
	}
}

// Statistics returns the counters of calls and media: the part of rtpengine's
// statistics that does not concern commands.
func (r *Registry) Statistics() ng.Dict {
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
	packets, bytes, errors := t.packets.Load()+live.packets, t.bytes.Load()+live.bytes, t.errors.Load()+live.errors
	ended := t.timeout.Load() + t.silent.Load() + t.final.Load() + t.offer.Load() + t.regular.Load() + t.forced.Load()
	duration := float64(t.duration.Load()) / 1e6
	average := 0.0
	if ended > 0 {
		average = duration / float64(ended)
	}
	return ng.Dict{
		{Key: "currentstatistics", Value: ng.Dict{
			{Key: "sessionsown", Value: len(calls)},
			{Key: "sessionsforeign", Value: 0},
			{Key: "sessionstotal", Value: len(calls)},
			{Key: "transcodedmedia", Value: 0},
			{Key: "media_userspace", Value: medias},
			{Key: "media_kernel", Value: 0},
			{Key: "media_mixed", Value: 0},
		}},
		{Key: "totalstatistics", Value: ng.Dict{
			{Key: "uptime", Value: fmt.Sprint(int64(time.Since(t.started).Seconds()))},
			{Key: "managedsessions", Value: t.managed.Load()},
			{Key: "rejectedsessions", Value: t.rejected.Load()},
			{Key: "timeoutsessions", Value: t.timeout.Load()},
			{Key: "silenttimeoutsessions", Value: t.silent.Load()},
			{Key: "finaltimeoutsessions", Value: t.final.Load()},
			{Key: "offertimeoutsessions", Value: t.offer.Load()},
			{Key: "regularterminatedsessions", Value: t.regular.Load()},
			{Key: "forcedterminatedsessions", Value: t.forced.Load()},
			{Key: "relayedpackets_user", Value: packets},
			{Key: "relayedpacketerrors_user", Value: errors},
			{Key: "relayedbytes_user", Value: bytes},
			{Key: "relayedpackets_kernel", Value: 0},
			{Key: "relayedpacketerrors_kernel", Value: 0},
			{Key: "relayedbytes_kernel", Value: 0},
			{Key: "relayedpackets", Value: packets},
			{Key: "relayedpacketerrors", Value: errors},
			{Key: "relayedbytes", Value: bytes},
			{Key: "zerowaystreams", Value: t.zeroWay.Load()},
			{Key: "onewaystreams", Value: t.oneWay.Load()},
			{Key: "avgcallduration", Value: fmt.Sprintf("%.6f", average)},
			{Key: "totalcallsduration", Value: fmt.Sprintf("%.6f", duration)},
		}},
		{Key: "interfaces", Value: r.interfaces()},
	}
}

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
