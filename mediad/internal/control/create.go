package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

func (h *Handler) create(req *ng.Request) ng.Reply {
	reply, err := h.calls.Create(req)
	if err != nil {
		return h.refusal(req, err)
	}
	return reply
}

func (h *Handler) createAnswer(req *ng.Request) ng.Reply {
	if err := h.calls.CreateAnswer(req); err != nil {
		return h.failure(req, err)
	}
	return &ng.Ack{}
}
