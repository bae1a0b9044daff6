// Package app puts the media daemon together: it is the one place that knows
// all parts, starts them in order and closes them in reverse.
package app

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/engine/sockets"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
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
	front   *front
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
	a.monitor = limits.NewMonitor(a.limits, func() uint64 {
		_, bytes, _ := a.calls.Received()
		return bytes
	})
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
	if a.front, err = newFront(a, &s.Control); err != nil {
		return nil, errors.Join(err, a.engine.Close())
	}
	return a, nil
}

// Start begins to execute commands.
func (a *App) Start() {
	a.calls.Start()
	a.monitor.Start()
	a.front.start()
}

// Close ends commands, calls and media, in this order, and waits for all that
// was started.
func (a *App) Close() error {
	err := a.front.close()
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
