package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

func (h *Handler) statistics() ng.Reply {
	return &ng.StatisticsReply{Statistics: h.metrics.Gather().Statistics()}
}
