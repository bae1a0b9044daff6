package control

import (
	"errors"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

func (h *Handler) offer(req *ng.Request) ng.Reply {
	body, err := h.calls.Offer(req)
	if err != nil {
		return h.refusal(req, err)
	}
	return &ng.SDPReply{SDP: body}
}

// refusal is the reply to a command that may make a call and has failed. A
// client that knows of load limits is told which one was reached.
func (h *Handler) refusal(req *ng.Request, err error) ng.Reply {
	limit, ok := limitOf(err)
	switch {
	case !ok:
		return h.failure(req, err)
	case req.SupportsLoadLimit():
		return &ng.LoadLimit{Message: limit}
	}
	return h.failure(req, ng.ReasonSessionLimit) // the only one that all clients know
}

// limitOf returns the limit that err says was reached, false if it is something
// else.
func limitOf(err error) (ng.Reason, bool) {
	for _, r := range []ng.Reason{ng.ReasonSessionLimit, ng.ReasonLoadLimit, ng.ReasonCPULimit, ng.ReasonBandwidthLimit} {
		if errors.Is(err, r) {
			return r, true
		}
	}
	return "", false
}
