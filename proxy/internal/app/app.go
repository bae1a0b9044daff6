// Package app wires the proxy: it builds all parts in order, and closes them in
// reverse.
package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"github.com/tandem-sbc/tandem/proxy/internal/acme"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/ban"
	"github.com/tandem-sbc/tandem/proxy/internal/bridge"
	"github.com/tandem-sbc/tandem/proxy/internal/certificate"
	"github.com/tandem-sbc/tandem/proxy/internal/chain"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/edge"
	"github.com/tandem-sbc/tandem/proxy/internal/forward"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/route"
	"github.com/tandem-sbc/tandem/proxy/internal/screen"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/store/sqlite"
	"github.com/tandem-sbc/tandem/proxy/internal/transaction"
	"github.com/tandem-sbc/tandem/proxy/internal/trunk"
	"github.com/tandem-sbc/tandem/proxy/internal/uac"
	"github.com/tandem-sbc/tandem/proxy/internal/webphone"
)

// usedNonces is how many used nonces are remembered: at 5 minutes' life and a
// refresh a user every 5 minutes, that many users.
const usedNonces = 100_000

// App is a running proxy.
type App struct {
	settings *settings.Settings
	log      *zap.Logger
	closers  []func() error // in the order of building

	db     *sqlite.DB
	guard  *guard
	tokens *tokens
	acme   *acme.Client       // nil if no certificate is obtained
	certs  *certificate.Store // nil if no listener is secure
	edge   *edge.Edge
	media  *ngclient.Client // nil if no nodes are configured
	bridge *bridge.Step     // nil if no nodes are configured
	table  *location.Table
	layer  *transaction.Layer
	keeper *dialog.Keeper
	trunks *trunk.Trunks
}

// Start builds and starts a proxy. On error nothing is left running.
func Start(ctx context.Context, s *settings.Settings, log *zap.Logger) (_ *App, err error) {
	a := &App{settings: s, log: log, guard: newGuard(s, log), tokens: &tokens{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, step := range []func(context.Context) error{
		a.openStore, a.openTokens, a.openCertificates, a.openEdge, a.openMedia, a.openTable, a.openChain, a.openEvents,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	log.Info("proxy ready")
	return a, nil
}

// Listeners tells what is bound, in the order of the configuration.
func (a *App) Listeners() []edge.Bound { return a.edge.Listeners() }

// Close stops everything, what was started last first.
func (a *App) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

func (a *App) onClose(f func()) {
	a.closers = append(a.closers, func() error { f(); return nil })
}

func (a *App) openStore(ctx context.Context) (err error) {
	if a.db, err = sqlite.Open(ctx, a.settings.Storage.Path); err != nil {
		return err
	}
	a.closers = append(a.closers, a.db.Close)
	return nil
}

// names are the names and addresses that peers may call the proxy by.
func (a *App) names() []string {
	names := append([]string(nil), a.settings.Domains...)
	for _, l := range a.settings.Listeners {
		if l.Advertised.Host != "" {
			names = append(names, l.Advertised.Host)
		}
		if addr, err := netip.ParseAddr(l.Address.Host); err == nil && !addr.IsUnspecified() {
			names = append(names, addr.String())
		}
	}
	return names
}

// pages is what WebSocket listeners serve to a browser besides SIP.
func (a *App) pages() http.Handler {
	s := a.settings
	if !s.Web.Phone {
		return nil
	}
	config := webphone.Config{Domain: s.Domains[0]}
	for _, l := range s.Listeners {
		if l.Transport == string(request.WSS) || config.WSPath == "" {
			config.WSPath = l.Path
		}
	}
	if s.Web.Demo {
		for _, name := range s.Web.DemoUsers {
			for _, u := range s.Users {
				if u.Name == name {
					config.Users = append(config.Users, webphone.User{User: u.Name, Password: u.Password.Reveal()})
				}
			}
		}
	}
	for _, d := range s.Web.Dial {
		config.Dial = append(config.Dial, webphone.Suggestion{Number: d.Number, Text: d.Text})
	}
	return webphone.Handler(config)
}

func (a *App) openTable(ctx context.Context) error {
	a.table = location.NewTable(a.db, a.log.Named("location"))
	if err := a.table.Start(ctx); err != nil {
		return err
	}
	a.closers = append(a.closers, a.table.Close)
	return nil
}

func (a *App) openChain(ctx context.Context) error {
	s := a.settings
	nonceKey, err := a.db.Key(ctx, "nonce")
	if err != nil {
		return err
	}
	domains := settings.NewDomains(s.Domains, a.names()...)
	accounts := a.accounts()
	trunks := trunksOf(s)
	screening := screen.Config{
		Rate: s.Limits.RequestsPerSecond, Burst: float64(s.Limits.Burst), Owns: a.edge.Owns,
		Trusted: func(conn request.Connection) bool { return trusted(trunks, conn) },
		Agents:  agents(s),
		Scanner: func(conn request.Connection) { a.guard.blame(conn, ban.Scanner) },
	}
	a.layer = transaction.New(transaction.Timers{}, transaction.Limits{Transactions: s.Limits.Transactions}, a.edge,
		screen.NewGate(screening, a.log), a.log)
	var c *chain.Chain
	if a.keeper, err = a.newKeeper(ctx, func() *chain.Chain { return c }); err != nil {
		return err
	}
	send := func(ctx context.Context, r *request.Request) { c.Resume(ctx, r) }
	a.trunks = trunk.New(a.log.Named("trunk"))
	if err := a.trunks.Configure(trunkConfigs(s, trunks)); err != nil {
		return err
	}
	register := a.newRegistrar(registrarPolicy(s, domains, a.trunks), accounts, send)
	authentication := auth.Config{
		Accounts: accounts, Domains: domains, Trunks: trunks, Key: nonceKey, Nonces: usedNonces,
		Algorithms: s.Auth.Algorithms,
		Tokens:     a.tokens, Ephemeral: a.tokens,
		Failed: func(conn request.Connection) { a.guard.blame(conn, ban.LoginFailed) },
	}
	if s.Registrar.Upstream != "" {
		authentication.Registered = register.Registered
	}
	hiding, err := a.newHiding(ctx)
	if err != nil {
		return err
	}
	resolver := newResolver(s)
	steps := chain.Steps{
		Reveal:    hiding.Reveal(),
		Hide:      hiding.Hide(),
		Refused:   a.guard.refused,
		Screen:    screen.NewStep(screening),
		Dialog:    a.keeper,
		Auth:      auth.New(authentication),
		Registrar: register,
		Trunks:    a.trunks,
		Route: route.New(route.Config{
			Table: a.table, Domains: domains, Users: existing{accounts}, Connections: a.edge, Rules: rulesOf(s),
			Trunks:   a.trunks,
			Upstream: upstreamTargets(s, a.trunks),
		}),
		Forward: forward.New(forward.Config{Challenges: a.trunks}, a.layer, a.edge, resolver),
	}
	if a.bridge != nil {
		steps.Bridge = a.bridge
	}
	c = chain.New(steps)
	a.serveMedia()
	a.layer.Start(c, func(conn request.Connection) {
		a.table.ConnectionClosed(string(conn.ID()))
		register.ConnectionClosed(conn.ID())
		a.keeper.Lost(conn)
	})
	// No more messages come in before the calls' work ends, and that ends
	// before the parts that it uses.
	a.onClose(func() {
		a.trunks.Close()
		a.keeper.Close()
		a.edge.Close()
		a.layer.Close()
	})
	if err := a.loadDialogs(ctx); err != nil {
		return err
	}
	a.edge.Serve(a.layer)
	a.trunks.Start(sender{uac.New(a.layer, a.edge, resolver)})
	return nil
}

// Run starts a proxy and stops it when ctx ends.
func Run(ctx context.Context, s *settings.Settings, output io.Writer) error {
	level, err := telemetry.ParseLevel(s.Log.Level)
	if err != nil {
		return err
	}
	format := telemetry.FormatConsole
	if s.Log.Format == "json" {
		format = telemetry.FormatJSON
	}
	log := telemetry.NewLogger(telemetry.LogConfig{Level: zap.NewAtomicLevelAt(level), Format: format, Output: output})
	p := newPace()
	p.start()
	defer p.close()
	a, err := Start(ctx, s, log)
	if err != nil {
		return err
	}
	<-ctx.Done()
	log.Info("proxy stops")
	return a.Close()
}
