package control

import (
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// statistics adds the counters of commands to those of the calls, under the
// names of rtpengine's tree.
func (h *Handler) statistics() ng.Reply {
	var counts ng.Dict
	for _, c := range served() {
		counts = append(counts, ng.Entry{Key: "total" + shortName(c) + "count", Value: h.counts[c].requests.Load()})
	}
	counts = append(counts, ng.Entry{Key: "totalerrorcount", Value: h.errors.Load()})
	return &ng.StatisticsReply{
		Statistics: append(h.calls.Statistics(), ng.Entry{Key: "controlstatistics", Value: counts}),
	}
}

func shortName(c ng.Command) string {
	if c == ng.CommandStatistics {
		return "stats"
	}
	return string(c)
}
