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

// Count tells how often a command was executed and how long that took.
type Count struct {
	Command  string
	Requests uint64
	Seconds  float64
}

// Counts returns the counters of all served commands, and of failed ones.
func (h *Handler) Counts() (counts []Count, failed uint64) {
	for _, c := range served() {
		n := h.counts[c]
		counts = append(counts, Count{
			Command: string(c), Requests: n.requests.Load(), Seconds: float64(n.microseconds.Load()) / 1e6,
		})
	}
	return counts, h.errors.Load()
}

func shortName(c ng.Command) string {
	if c == ng.CommandStatistics {
		return "stats"
	}
	return string(c)
}
