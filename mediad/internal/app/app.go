// Package app puts the media daemon together: it is the one place that knows
// all parts, starts them in order and closes them in reverse.
package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/admin"
	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/control"
	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"github.com/tandem-sbc/tandem/pkg/udp"
	"go.uber.org/zap"
)

// ErrNoKernel says that the start was made to depend on kernel forwarding.
var ErrNoKernel = errors.New("no-fallback is set, but there is no kernel forwarding in this version")

// App is the running daemon.
type App struct {
	log     *zap.Logger
	limits  *limits.Live // what CLI and reload change
	monitor *limits.Monitor
	engine  engine.Engine
	calls   *call.Registry
	server  *ngserver.Server
	admin   *admin.Server // nil without an address for it
}

// New builds the daemon and binds its sockets; no command is read before
// Start. What was built before an error is closed again.
func New(s *settings.Settings, log *zap.Logger) (*App, error) {
	if err := checkKernel(s.Kernel, log); err != nil {
		return nil, err
	}
	for _, n := range s.Notes {
		log.Warn(n.Message, zap.String("option", n.Option), zap.String("source", n.Source))
	}
	pool, err := newPorts(&s.Network, log)
	if err != nil {
		return nil, err
	}
	certificate, err := secure.NewCertificate()
	if err != nil {
		return nil, err
	}
	a := &App{log: log, limits: limits.NewLive(s.Limits)}
	a.monitor = limits.NewMonitor(a.limits, func() uint64 { return a.calls.Numbers().Bytes })
	contained := func(v any, stack []byte) {
		log.Error("panic while handling a packet", zap.Any("panic", v), zap.ByteString("stack", stack))
	}
	if a.engine, err = sockets.New(sockets.Config{Workers: s.Network.Workers, OnPanic: contained}); err != nil {
		return nil, err
	}
	a.calls = call.NewRegistry(call.Config{
		Ports: pool, Engine: a.engine, Certificate: certificate,
		Negotiate: negotiateOptions(s, pool),
		Limits:    a.limits, Admit: a.monitor.Admit,
		Log:  log,
		Pion: telemetry.PionFactory{Log: log},
	})
	if err := a.listen(&s.Control); err != nil {
		return nil, errors.Join(err, a.engine.Close())
	}
	return a, nil
}

// listen binds the sockets that commands and operators come by.
func (a *App) listen(c *settings.Control) error {
	handler := control.New(a.calls, a.log)
	server, err := ngserver.New(ngserver.Config{
		Listen: c.NG, ListenTCP: c.NGTCP, Handler: handler,
		Log: telemetry.Slog(a.log.Named("ng")), TOS: c.TOS,
	})
	if err != nil {
		return err
	}
	a.server = server
	if len(c.HTTP) == 0 {
		return nil
	}
	a.admin, err = admin.New(admin.Config{
		Listen: c.HTTP, Others: server.HTTP(), Log: telemetry.Slog(a.log.Named("http")),
		Metrics: admin.Metrics{Calls: a.calls, Requests: requestsOf(handler)},
	})
	if err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// requestsOf gives admin the counters of commands, which it cannot know.
func requestsOf(h *control.Handler) func() ([]admin.Request, uint64) {
	return func() ([]admin.Request, uint64) {
		counts, failed := h.Counts()
		requests := make([]admin.Request, len(counts))
		for i, c := range counts {
			requests[i] = admin.Request{Command: c.Command, Count: c.Requests, Seconds: c.Seconds}
		}
		return requests, failed
	}
}

// Start begins to execute commands.
func (a *App) Start() {
	a.calls.Start()
	a.monitor.Start()
	a.server.Start()
	for _, addr := range a.server.Addrs() {
		a.log.Info("listening for ng commands", zap.Stringer("address", addr), zap.String("engine", a.engine.Name()))
	}
	for _, addr := range a.server.TCPAddrs() {
		a.log.Info("listening for ng commands over TCP", zap.Stringer("address", addr))
	}
	if a.admin == nil {
		return
	}
	a.admin.Start()
	for _, addr := range a.admin.Addrs() {
		a.log.Info("listening for HTTP", zap.Stringer("address", addr))
	}
}

// NG returns the addresses that commands are received on, with the ports that
// the system has chosen for port 0.
func (a *App) NG() []netip.AddrPort { return a.server.Addrs() }

// NGTCP returns the addresses of listen-tcp-ng.
func (a *App) NGTCP() []netip.AddrPort { return a.server.TCPAddrs() }

// HTTP returns the addresses of listen-http.
func (a *App) HTTP() []netip.AddrPort {
	if a.admin == nil {
		return nil
	}
	return a.admin.Addrs()
}

// Close ends commands, calls and media, in this order, and waits for all that
// was started.
func (a *App) Close() error {
	var err error
	if a.admin != nil {
		err = a.admin.Close() // before what it hands requests to
	}
	err = errors.Join(err, a.server.Close())
	a.monitor.Close()
	a.calls.Close()
	return errors.Join(err, a.engine.Close())
}

// checkKernel says what became of the wish for kernel forwarding.
func checkKernel(k settings.Kernel, log *zap.Logger) error {
	switch {
	case k.Table < 0:
		return nil
	case k.NoFallback:
		return ErrNoKernel
	}
	log.Warn("there is no kernel forwarding in this version: media is forwarded in user space", zap.Int("table", k.Table))
	return nil
}

func newPorts(n *settings.Network, log *zap.Logger) (*ports.Registry, error) {
	low, high := n.PortMin, n.PortMax
	if n.AutoPortRange > 0 {
		var err error
		if low, high, err = freeRange(n.AutoPortRange, n.Interfaces); err != nil {
			return nil, err
		}
	}
	var interfaces []ports.Interface
	for _, i := range n.Interfaces {
		interfaces = append(interfaces, ports.Interface{Name: i.Name, Addresses: []ports.Address{{
			Local: i.Address, Advertised: i.Advertised, Min: uint16(low), Max: uint16(high),
		}}})
		log.Info("media address", zap.String("interface", i.Name), zap.Stringer("address", i.Address),
			zap.Stringer("advertised", i.Advertised), zap.Int("port-min", low), zap.Int("port-max", high))
	}
	warnOfDescriptors((high-low+1)*len(n.Interfaces), log)
	registry, err := ports.New(interfaces, ports.Options{Socket: udp.Options{TOS: uint8(n.TOS)}})
	if err != nil {
		return nil, fmt.Errorf("interface: %w", err)
	}
	return registry, nil
}

func negotiateOptions(s *settings.Settings, pool *ports.Registry) negotiate.Options {
	o := negotiate.Options{
		SIPSource: s.Media.SIPSource, DTLSPassive: s.Media.DTLSPassive, Learning: s.Media.EndpointLearning,
		Instance: rand.Text(), Rotate: pool.Rotate,
	}
	for _, name := range pool.Names() {
		i := negotiate.Interface{Name: name}
		for _, a := range pool.Addresses(name) {
			i.IPv4 = i.IPv4 || a.Local.Is4()
			i.IPv6 = i.IPv6 || a.Local.Is6()
		}
		o.Interfaces = append(o.Interfaces, i)
	}
	return o
}
