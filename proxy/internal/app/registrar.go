package app

import (
	"context"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/midregistrar"
	"github.com/tandem-sbc/tandem/proxy/internal/registrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

// newRegistrar makes the registrar, with the one behind it if there is one. send takes what it makes itself.
func (a *App) newRegistrar(domains *settings.Domains, accounts auth.Accounts, send func(context.Context, *request.Request)) *registrar.Step {
	s := a.settings.Registrar
	c := registrar.Config{
		Table: a.table, Domains: domains, MaxContacts: s.MaxContacts,
		MinExpires: time.Duration(s.MinExpires), MaxExpires: time.Duration(s.MaxExpires),
		DefaultExpires: time.Duration(s.DefaultExpires), Moved: a.keeper.Move,
	}
	if s.Upstream != "" {
		c.Upstream = &registrar.Upstream{
			Mode: midregistrar.Mode(s.Mode), Expires: time.Duration(s.UpstreamExpires), Domain: settings.Realm(a.settings.Domains[0]),
			Targets: a.upstreamTargets(), Send: send, Post: a.layer, Authorize: authorizer(accounts),
			Grace: grace, Log: a.log.Named("registrar"),
		}
	}
	step := registrar.New(c)
	a.table.OnLost(step.Lost)
	a.onClose(step.Close)
	return step
}

// upstreamTargets gives the targets of the trunk that is the users' registrar, for any request URI, which stays as it is;
// nil if there is no such trunk.
func (a *App) upstreamTargets() func(uri sip.Uri) []request.Target {
	t := a.settings.Trunk(a.settings.Registrar.Upstream)
	if t == nil {
		return nil
	}
	profile := t.Profile
	if profile == "" {
		profile = settings.ProfileSIP
	}
	hops := make([]sip.Uri, len(t.Targets))
	for i := range t.Targets {
		_ = sip.ParseUri(t.Targets[i].URI, &hops[i]) // validated with the file
	}
	return func(uri sip.Uri) []request.Target {
		targets := make([]request.Target, 0, len(hops))
		for i := range hops {
			targets = append(targets, request.Target{
				URI: *uri.Clone(), NextHop: *hops[i].Clone(), Profile: profile, Trunk: t.Name, Q: 1000 - i, Trusted: true,
			})
		}
		return targets
	}
}

// authorizer answers the upstream's challenges for users with an account here.
func authorizer(accounts auth.Accounts) func(context.Context, location.AoR, []string, string) (string, bool) {
	return func(ctx context.Context, aor location.AoR, challenges []string, uri string) (string, bool) {
		account, ok, err := accounts.Account(ctx, aor.User(), aor.Domain())
		if err != nil || !ok {
			return "", false
		}
		for _, text := range challenges {
			c, err := digest.ParseChallenge(text)
			if err != nil || !strings.EqualFold(c.Realm, aor.Domain()) {
				continue // the account's hashes are of its domain
			}
			a1 := account.MD5
			if strings.EqualFold(c.Algorithm, auth.SHA256) {
				a1 = account.SHA256
			} else if c.Algorithm != "" && !strings.EqualFold(c.Algorithm, auth.MD5) {
				continue
			}
			if a1 == "" {
				continue
			}
			answer, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: uri, Username: aor.User(), A1: a1})
			if err == nil {
				return answer.String(), true
			}
		}
		return "", false
	}
}
