// Package app wires the proxy: it builds all parts in order, and closes them in
// reverse.
package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/ng-protocol/ngclient"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"github.com/tandem-sbc/tandem/proxy/internal/acme"
	"github.com/tandem-sbc/tandem/proxy/internal/admin"
	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/bridge"
	"github.com/tandem-sbc/tandem/proxy/internal/certificate"
	"github.com/tandem-sbc/tandem/proxy/internal/chain"
	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/edge"
	"github.com/tandem-sbc/tandem/proxy/internal/forward"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
	"github.com/tandem-sbc/tandem/proxy/internal/registrar"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/route"
	"github.com/tandem-sbc/tandem/proxy/internal/screen"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
	"github.com/tandem-sbc/tandem/proxy/internal/store/sqlite"
	"github.com/tandem-sbc/tandem/proxy/internal/topology"
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
	file     string // of the configuration; "" = it cannot be read again
	settings atomic.Pointer[settings.Settings]
	log      *zap.Logger
	closers  []func() error // in the order of building

	reloading sync.Mutex
	keys      keys

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

	// Steps that go by a policy.
	gate      *screen.Gate
	screen    *screen.Step
	hiding    *topology.Hiding
	auth      *auth.Step
	registrar *registrar.Step
	route     *route.Step

	counter *counter
	admin   *admin.Server // nil if there is no interface for operators
}

// Start builds and starts a proxy. On error nothing is left running.
func Start(ctx context.Context, s *settings.Settings, log *zap.Logger) (*App, error) {
	return start(ctx, s, "", log)
}

func start(ctx context.Context, s *settings.Settings, file string, log *zap.Logger) (_ *App, err error) {
	a := &App{file: file, log: log, guard: newGuard(s, log), tokens: &tokens{}}
	a.settings.Store(s)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, step := range []func(context.Context) error{
		a.openStore, a.openTokens, a.openCertificates, a.openEdge, a.openMedia, a.openTable, a.openPolicy, a.openEvents, a.openAdmin,
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
	if a.db, err = sqlite.Open(ctx, a.settings.Load().Storage.Path); err != nil {
		return err
	}
	a.closers = append(a.closers, a.db.Close)
	return nil
}

// names are the names and addresses that peers may call the proxy by.
func names(s *settings.Settings) []string {
	names := append([]string(nil), s.Domains...)
	for _, l := range s.Listeners {
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
	s := a.settings.Load()
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

// openPolicy makes what the policy of the steps is compiled with, and compiles it.
func (a *App) openPolicy(ctx context.Context) (err error) {
	if a.keys.nonce, err = a.db.Key(ctx, "nonce"); err != nil {
		return err
	}
	if a.keys.topology, err = a.db.Key(ctx, "topology"); err != nil {
		return err
	}
	a.trunks = trunk.New(a.log.Named("trunk"))
	p, err := a.compile(a.settings.Load())
	if err != nil {
		return err
	}
	if err := a.trunks.Configure(p.trunks); err != nil {
		return err
	}
	a.hiding = topology.New(a.edge)
	if err := a.hiding.Configure(hidingOf(p.settings, a.keys.topology)); err != nil {
		return err
	}
	a.gate = screen.NewGate(p.screen, a.log)
	a.screen = screen.NewStep(p.screen)
	a.auth = auth.New(p.auth)
	a.route = route.New(p.route)
	return a.openChain(ctx, p)
}

// openChain starts the way of a request.
func (a *App) openChain(ctx context.Context, p *policy) (err error) {
	s := p.settings
	a.layer = transaction.New(transaction.Timers{}, transaction.Limits{Transactions: s.Limits.Transactions}, a.edge, a.gate, a.log)
	var c *chain.Chain
	if a.keeper, err = a.newKeeper(ctx, func() *chain.Chain { return c }); err != nil {
		return err
	}
	a.registrar = a.newRegistrar(p.registrar, p.accounts, func(ctx context.Context, r *request.Request) { c.Resume(ctx, r) })
	resolver := newResolver(s)
	steps := chain.Steps{
		Reveal: a.hiding.Reveal(), Hide: a.hiding.Hide(), Refused: a.guard.refused, Screen: a.screen, Dialog: a.keeper, Auth: a.auth,
		Registrar: a.registrar, Trunks: a.trunks, Route: a.route,
		Forward: forward.New(forward.Config{Challenges: a.trunks}, a.layer, a.edge, resolver),
	}
	if a.bridge != nil {
		steps.Bridge = a.bridge
	}
	c = chain.New(steps)
	a.serveMedia()
	a.counter = newCounter(c)
	a.layer.Start(a.counter, func(conn request.Connection) {
		a.table.ConnectionClosed(string(conn.ID()))
		a.registrar.ConnectionClosed(conn.ID())
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

// Run starts a proxy with the configuration in a file, and stops it when ctx ends. With each of hangups the file is read again; so it is
// when an operator asks.
func Run(ctx context.Context, file string, hangups <-chan os.Signal, output io.Writer) error {
	s, err := Load(file)
	if err != nil {
		return err
	}
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
	a, err := start(ctx, s, file, log)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			log.Info("proxy stops")
			return a.Close()
		case <-hangups:
			if err := a.reread(ctx); err != nil {
				log.Error("configuration not taken into use, nothing has changed", zap.Error(err))
			}
		}
	}
}
