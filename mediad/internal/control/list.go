package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// defaultListLimit is how many calls are listed if the client does not say.
const defaultListLimit = 32

func (h *Handler) list(req *ng.Request) ng.Reply {
	limit := defaultListLimit
	if req.Limit != nil {
		limit = *req.Limit
	}
	if limit < 0 {
		return ng.Fail(ng.ReasonBadLimit)
	}
	return &ng.ListReply{Calls: h.calls.List(limit)}
}
