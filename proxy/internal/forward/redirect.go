package forward

import (
	"context"
	"slices"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

const (
	// redirections bounds how many responses of one request are followed, contacts how many addresses of each.
	redirections, contacts = 5, 8
)

// redirected follows a 300, 301 or 302 to where the route step allows (RFC 3261 §16.7 step 4): the best contacts at once,
// the others after them. What is followed is no response to choose from any more.
func (b *branch) redirected(ctx context.Context, res *sip.Response) {
	x := b.x
	if res.StatusCode < 300 || res.StatusCode > 302 || x.r.Redirects == nil || x.r.InDialog || x.cancelled || x.declined {
		return
	}
	if x.redirects >= redirections {
		x.r.Log.Warn("redirection not followed, too many", zap.Int("code", res.StatusCode))
		return
	}
	found, err := request.Addresses(res, "Contact")
	if err != nil {
		x.r.Log.Info("redirection with a contact that cannot be read", zap.Error(err))
	}
	if x.r.Msg.Recipient.Scheme == "sips" { // must stay so (RFC 3261 §16.5)
		found = slices.DeleteFunc(found, func(a request.Address) bool { return a.URI.Scheme != "sips" })
	}
	targets := x.r.Redirects.Redirected(x.r, b.Target, found[:min(len(found), contacts)])
	targets = slices.DeleteFunc(targets, x.tried)
	if room := x.f.cfg.Targets - x.planned(); len(targets) > room {
		targets = targets[:max(room, 0)]
	}
	if len(targets) == 0 {
		return
	}
	x.redirects++
	b.followed = true
	x.r.Log.Info("redirected", zap.Int("code", res.StatusCode), zap.String("branch", b.ID), zap.Int("contacts", len(targets)))
	groups := group(targets)
	x.groups = append(groups[1:len(groups):len(groups)], x.groups...)
	x.startTargets(ctx, groups[0])
}

// tried reports a target that is or was called already, or will be (RFC 3261 §16.5: each URI once).
func (x *exchange) tried(t request.Target) bool {
	same := func(o request.Target) bool { return o.URI.String() == t.URI.String() && o.Conn == t.Conn }
	return slices.ContainsFunc(x.branches, func(b *branch) bool { return same(b.Target) }) ||
		slices.ContainsFunc(x.groups, func(g []request.Target) bool { return slices.ContainsFunc(g, same) })
}

// planned is how many targets the request has had and still has.
func (x *exchange) planned() int {
	n := len(x.branches)
	for _, g := range x.groups {
		n += len(g)
	}
	return n
}

// conceal turns a redirection that was not followed into 480 unless a trunk hears it: its contacts are addresses inside.
func (x *exchange) conceal(res *sip.Response) {
	if res.StatusCode >= 300 && res.StatusCode < 400 && x.r.Trunk == "" {
		res.StatusCode, res.Reason = sip.StatusTemporarilyUnavailable, "Temporarily Unavailable"
		for res.RemoveHeader("Contact") {
		}
	}
}
