package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// block executes the commands that keep media or telephone events from being
// heard, and their opposites.
func (h *Handler) block(req *ng.Request) ng.Reply {
	if err := h.calls.Block(req); err != nil {
		return h.failure(req, err)
	}
	return &ng.Ack{}
}
