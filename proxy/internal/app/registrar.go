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
	"github.com/tandem-sbc/tandem/proxy/internal/trunk"
)

// registrarPolicy compiles what the file says of the registrar. trunks give the targets of the one behind it.
func registrarPolicy(s *settings.Settings, domains *settings.Domains, trunks *trunk.Trunks) registrar.Policy {
	r := s.Registrar
	p := registrar.Policy{
		Domains: domains, MaxContacts: r.MaxContacts, MinExpires: time.Duration(r.MinExpires),
		MaxExpires: time.Duration(r.MaxExpires), DefaultExpires: time.Duration(r.DefaultExpires),
	}
	if r.Upstream != "" {
		p.Upstream = &registrar.Upstream{
			Mode: midregistrar.Mode(r.Mode), Expires: time.Duration(r.UpstreamExpires), Domain: settings.Realm(s.Domains[0]),
			Targets: func(uri sip.Uri) []request.Target {
				targets := trunks.Through(r.Upstream, uri)
				for i := range targets {
					targets[i].Trunk = "" // or the trunk's credentials would answer for the user
				}
				return targets
			},
		}
	}
	return p
}

// newRegistrar makes the registrar. send takes what it makes itself.
func (a *App) newRegistrar(p registrar.Policy, accounts auth.Accounts, send func(context.Context, *request.Request)) *registrar.Step {
	step := registrar.New(registrar.Config{
		Policy: p, Table: a.table, Moved: a.keeper.Move,
		Way: registrar.Way{Send: send, Post: a.layer, Authorize: authorizer(accounts), Grace: time.Duration(a.settings.Load().Dialogs.Grace), Log: a.log.Named("registrar")},
	})
	a.table.OnLost(step.Lost)
	a.onClose(step.Close)
	return step
}

// upstreamTargets gives the targets of the trunk that is the users' registrar, for requests that no route takes; nil if
// there is no such trunk.
func upstreamTargets(s *settings.Settings, trunks *trunk.Trunks) func(uri sip.Uri) []request.Target {
	name := s.Registrar.Upstream
	if name == "" {
		return nil
	}
	return func(uri sip.Uri) []request.Target { return trunks.Through(name, uri) }
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
