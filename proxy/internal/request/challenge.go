package request

import "github.com/emiago/sipgo/sip"

// Challenges holds the proxy's credentials at trunks. forward uses it for every request to a target of a trunk, those that
// the proxy makes itself included.
type Challenges interface {
	// Authorize adds credentials for what the trunk has asked for before, so that it need not ask again.
	Authorize(trunk string, req *sip.Request)
	// Answer puts credentials for a 401 or 407 into req, in place of those that it carries. It returns false when the proxy
	// has none to give: the challenge is for somebody else; and an error when those given were refused.
	Answer(trunk string, req *sip.Request, res *sip.Response) (bool, error)
}
