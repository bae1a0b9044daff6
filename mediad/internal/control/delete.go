package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// delete is content with a call that is not there, since deletes get repeated,
// unless the client asks for an error by the flag "fatal".
func (h *Handler) delete(req *ng.Request) ng.Reply {
	state, found, err := h.calls.Delete(req)
	switch {
	case err != nil:
		return h.failure(req, err)
	case found:
		return &ng.CallReply{Call: state}
	case req.Flags.Has(ng.FlagFatal):
		return ng.Fail(ng.ReasonNoMatchingTags)
	}
	return &ng.CallReply{Warning: string(ng.ReasonNoMatchingTags)}
}
