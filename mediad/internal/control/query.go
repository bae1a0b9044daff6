package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

func (h *Handler) query(req *ng.Request) ng.Reply {
	state, err := h.calls.Query(req)
	if err != nil {
		return h.failure(req, err)
	}
	return &ng.CallReply{Call: state}
}
