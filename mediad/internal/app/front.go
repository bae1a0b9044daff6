package app

import (
	"errors"
	"net/netip"

	"github.com/tandem-sbc/tandem/mediad/internal/admin"
	"github.com/tandem-sbc/tandem/mediad/internal/control"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
)

// front is what commands and operators come by.
type front struct {
	log   *zap.Logger
	rates *metrics.Rates
	ng    *ngserver.Server
	admin *admin.Server // nil without an address for it
}

// newFront binds the sockets. What was bound before an error is closed again.
func newFront(a *App, c *settings.Control) (*front, error) {
	f := &front{log: a.log}
	f.rates = metrics.NewRates(func() metrics.Traffic {
		packets, bytes, faulty := a.calls.Received()
		return metrics.Traffic{Packets: packets, Bytes: bytes, Errors: faulty}
	})
	numbers := &metrics.Source{Calls: a.calls, Commands: metrics.NewCommands(), Rates: f.rates}
	handler := control.New(control.Config{
		Calls: a.calls, Metrics: numbers, Log: a.log,
		Templates: func() map[string]string { return a.live.Load().Templates },
	})
	var err error
	if f.ng, err = ngserver.New(ngserver.Config{
		Listen: c.NG, ListenTCP: c.NGTCP, Handler: handler, Allow: a.allowed,
		Log: telemetry.Slog(a.log.Named("ng")), TOS: c.TOS,
	}); err != nil {
		return nil, err
	}
	if len(c.HTTP) == 0 {
		return f, nil
	}
	f.admin, err = admin.New(admin.Config{
		Listen: c.HTTP, Others: f.ng.HTTP(), Log: telemetry.Slog(a.log.Named("http")),
		Metrics: func() []byte { return numbers.Gather().Exposition() },
	})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// allowed reports whether a client may send commands.
func (a *App) allowed(client netip.AddrPort) bool { return a.live.Load().Allows(client.Addr()) }

func (f *front) start() {
	f.rates.Start()
	f.ng.Start()
	f.announce("ng commands", f.ng.Addrs())
	f.announce("ng commands over TCP", f.ng.TCPAddrs())
	if f.admin != nil {
		f.admin.Start()
		f.announce("HTTP", f.admin.Addrs())
	}
}

func (f *front) announce(what string, addrs []netip.AddrPort) {
	for _, addr := range addrs {
		f.log.Info("listening for "+what, zap.Stringer("address", addr))
	}
}

func (f *front) close() error {
	var err error
	if f.admin != nil {
		err = f.admin.Close() // before what it hands requests to
	}
	err = errors.Join(err, f.ng.Close())
	f.rates.Close()
	return err
}

// NG returns the addresses that commands are received on, with the ports that
// the system has chosen for port 0.
func (a *App) NG() []netip.AddrPort { return a.front.ng.Addrs() }

// NGTCP returns the addresses of listen-tcp-ng.
func (a *App) NGTCP() []netip.AddrPort { return a.front.ng.TCPAddrs() }

// HTTP returns the addresses of listen-http.
func (a *App) HTTP() []netip.AddrPort {
	if a.front.admin == nil {
		return nil
	}
	return a.front.admin.Addrs()
}
