package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

func (h *Handler) answer(req *ng.Request) ng.Reply {
	body, err := h.calls.Answer(req)
	if err != nil {
		return h.failure(req, err)
	}
	return &ng.SDPReply{SDP: body}
}
