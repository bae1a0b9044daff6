package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

func (h *Handler) publish(req *ng.Request) ng.Reply {
	body, err := h.calls.Publish(req)
	if err != nil {
		return h.refusal(req, err)
	}
	return &ng.SDPReply{SDP: body}
}

func (h *Handler) subscribeRequest(req *ng.Request) ng.Reply {
	reply, err := h.calls.SubscribeRequest(req)
	if err != nil {
		return h.failure(req, err)
	}
	return reply
}

func (h *Handler) subscribeAnswer(req *ng.Request) ng.Reply {
	if err := h.calls.SubscribeAnswer(req); err != nil {
		return h.failure(req, err)
	}
	return &ng.Ack{}
}

func (h *Handler) unsubscribe(req *ng.Request) ng.Reply {
	if err := h.calls.Unsubscribe(req); err != nil {
		return h.failure(req, err)
	}
	return &ng.Ack{}
}
