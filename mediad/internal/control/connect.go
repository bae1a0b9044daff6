package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// connect executes the commands that change who hears whom among those who take
// part in a call already.
func (h *Handler) connect(req *ng.Request) ng.Reply {
	if err := h.calls.Connect(req); err != nil {
		return h.failure(req, err)
	}
	return &ng.Ack{}
}
