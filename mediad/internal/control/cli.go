package control

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// command executes a line of the CLI.
func (h *Handler) command(req *ng.Request) ng.Reply {
	if h.cli == nil {
		return ng.Fail(ng.ReasonUnknownCommand)
	}
	return &ng.CLIReply{Response: h.cli(req.Body)}
}
