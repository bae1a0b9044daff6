package control

import (
	"errors"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func (h *Handler) offer(req *ng.Request) ng.Reply {
	body, err := h.calls.Offer(req)
	switch {
	case err == nil:
		return &ng.SDPReply{SDP: body}
	case errors.Is(err, ng.ReasonSessionLimit) && req.SupportsLoadLimit():
		return &ng.LoadLimit{Message: ng.ReasonSessionLimit}
	}
	return h.failure(req, err)
}
