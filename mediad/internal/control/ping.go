package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// ping says that the daemon is there; there is no more to it.
func (h *Handler) ping() ng.Reply { return &ng.Pong{} }
