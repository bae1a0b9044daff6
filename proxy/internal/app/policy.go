package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/tandem-sbc/tandem/proxy/internal/admin"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/ban"
	"github.com/tandem-sbc/tandem/proxy/internal/bridge"
	"github.com/tandem-sbc/tandem/proxy/internal/registrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/route"
	"github.com/tandem-sbc/tandem/proxy/internal/screen"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/trunk"
)

// policy is what the parts take from one configuration. It is compiled as a whole before any part goes by it.
type policy struct {
	settings  *settings.Settings
	accounts  auth.Accounts
	screen    screen.Config
	auth      auth.Config
	registrar registrar.Policy
	trunks    []trunk.Config
	route     route.Config
	media     bridge.Policy
}

// keys are the proxy's own, from the store.
type keys struct{ nonce, topology []byte }

// compile makes the policy of validated settings.
func (a *App) compile(s *settings.Settings) (*policy, error) {
	domains := settings.NewDomains(s.Domains, names(s)...)
	trunks := trunksOf(s)
	p := &policy{
		settings: s, accounts: a.accounts(s), trunks: trunkConfigs(s, trunks), registrar: registrarPolicy(s, domains, a.trunks),
		screen: screen.Config{
			Rate: s.Limits.RequestsPerSecond, Burst: float64(s.Limits.Burst), Owns: a.edge.Owns, Agents: agents(s),
			Trusted: func(conn request.Connection) bool { return trusted(trunks, conn) },
			Scanner: func(conn request.Connection) { a.guard.blame(conn, ban.Scanner) },
		},
	}
	p.auth = auth.Config{
		Accounts: p.accounts, Domains: domains, Trunks: trunks, Key: a.keys.nonce, Nonces: usedNonces, Algorithms: s.Auth.Algorithms,
		Tokens: a.tokens, Ephemeral: a.tokens,
		Failed: func(conn request.Connection) { a.guard.blame(conn, ban.LoginFailed) },
	}
	if s.Registrar.Upstream != "" {
		p.auth.Registered = func(conn request.Connection, user, domain string) bool {
			return a.registrar.Registered(conn, user, domain)
		}
	}
	p.route = route.Config{
		Table: a.table, Domains: domains, Users: existing{p.accounts}, Connections: a.edge, Rules: rulesOf(s), Trunks: a.trunks,
		Upstream: upstreamTargets(s, a.trunks),
	}
	var err error
	p.media, err = mediaPolicy(s)
	return p, err
}

// apply makes the running parts go by a policy. Those that can refuse it come first.
func (a *App) apply(p *policy) error {
	if a.certs != nil {
		if err := a.certs.Configure(a.certificates(p.settings)); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if err := a.tokens.configure(p.settings); err != nil {
		return err
	}
	if err := a.trunks.Configure(p.trunks); err != nil {
		return err
	}
	if err := a.hiding.Configure(hidingOf(p.settings, a.keys.topology)); err != nil {
		return err
	}
	if err := a.keeper.Configure(dialogPolicy(p.settings)); err != nil {
		return err
	}
	if a.bridge != nil {
		if err := a.media.SetNodes(nodesOf(p.settings.Media)); err != nil {
			return err
		}
		a.bridge.Configure(p.media)
	}
	a.guard.configure(p.settings)
	a.gate.Configure(p.screen)
	a.screen.Configure(p.screen)
	a.auth.Configure(p.auth)
	a.registrar.Configure(p.registrar)
	a.route.Configure(p.route)
	a.settings.Store(p.settings)
	return nil
}

// Reload makes the proxy go by other settings; calls and registrations go on. What only a start can change must be as it was. On an
// error, which wraps admin.ErrRefused, everything is as before.
func (a *App) Reload(s *settings.Settings) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	before := a.settings.Load()
	if keys := fixed(before, s); len(keys) > 0 {
		return fmt.Errorf("%w: only a restart can change %s", admin.ErrRefused, strings.Join(keys, ", "))
	}
	next, err := a.compile(s)
	if err != nil {
		return fmt.Errorf("%w: %w", admin.ErrRefused, err)
	}
	if err := a.apply(next); err != nil {
		err = fmt.Errorf("%w: %w", admin.ErrRefused, err)
		if old, again := a.compile(before); again == nil {
			return errors.Join(err, a.apply(old))
		}
		return err
	}
	a.log.Info("configuration taken into use")
	return nil
}

// fixed lists the keys that differ and that only a start reads.
func fixed(old, now *settings.Settings) (keys []string) {
	differ := func(key string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			keys = append(keys, key)
		}
	}
	sockets := func(s *settings.Settings) []settings.Listener {
		out := append([]settings.Listener(nil), s.Listeners...)
		for i := range out { // the guard has these
			out[i].ACL, out[i].ProxyProtocol = settings.ACL{}, settings.ProxyProtocol{}
		}
		return out
	}
	bounds := func(s *settings.Settings) settings.Limits {
		l := s.Limits
		l.RequestsPerSecond, l.Burst, l.Calls = 0, 0, 0
		return l
	}
	timing := func(s *settings.Settings) settings.Media {
		m := s.Media
		m.Nodes, m.MaxCalls, m.Reanchor.CallsPerSecond = nil, 0, 0
		return m
	}
	differ("listeners", sockets(old), sockets(now))
	differ("storage", old.Storage, now.Storage)
	differ("resolver", old.Resolver, now.Resolver)
	differ("tls.acme", old.TLS.ACME, now.TLS.ACME)
	differ("web", old.Web, now.Web)
	differ("admin", old.Admin, now.Admin)
	differ("log", old.Log, now.Log)
	differ("limits", bounds(old), bounds(now))
	differ("media", timing(old), timing(now))
	differ("media.nodes: with or without", len(old.Media.Nodes) > 0, len(now.Media.Nodes) > 0)
	differ("registrar.upstream: with or without", old.Registrar.Upstream != "", now.Registrar.Upstream != "")
	return keys
}

// reread takes the file into use again.
func (a *App) reread(context.Context) error {
	s, err := Load(a.file)
	if err != nil {
		return fmt.Errorf("%w: %w", admin.ErrRefused, err)
	}
	return a.Reload(s)
}
