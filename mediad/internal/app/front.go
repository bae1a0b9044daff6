package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/admin"
	"github.com/tandem-sbc/tandem/mediad/internal/cli"
	"github.com/tandem-sbc/tandem/mediad/internal/control"
	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/legacy"
	"github.com/tandem-sbc/tandem/mediad/internal/metrics"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
)

// front is what commands and operators come by.
type front struct {
	log      *zap.Logger
	rates    *metrics.Rates
	graphite *metrics.Graphite // nil without an address for it
	handler  ng.Handler
	ng       *ngserver.Server
	admin    *admin.Server       // nil without an address for it
	legacy   *ngserver.Datagrams // nil without an address for it
	cli      *cli.Server         // nil without an address for it
}

// newFront binds the sockets. What was bound before an error is closed again.
func newFront(a *App, s *settings.Settings) (*front, error) {
	f := &front{log: a.log}
	f.rates = metrics.NewRates(a.calls.Received)
	numbers := &metrics.Source{Calls: a.calls, Commands: metrics.NewCommands(), Rates: f.rates}
	if e, steers := a.engine.(engine.Steering); steers {
		numbers.Dropped = e.Dropped
	}
	if e := &s.Export; e.Graphite.IsValid() {
		f.graphite = metrics.NewGraphite(metrics.GraphiteConfig{
			Address: e.Graphite, Prefix: e.GraphitePrefix, Every: e.GraphiteInterval, Timeout: e.GraphiteTimeout,
			Source: numbers, Log: a.log.Named("graphite"),
		})
		numbers.Graphite = f.graphite
	}
	lines := cli.New(cli.Config{
		Calls: a.calls, Metrics: numbers, Limits: a.limits, Levels: a.levels, Options: optionsOf(s),
		ControlTOS: s.Control.TOS, Reload: a.ReloadFile, Log: a.log.Named("cli"),
	})
	f.handler = control.New(control.Config{
		Calls: a.calls, Metrics: numbers, CLI: lines.Execute, Log: a.log.Named("control"),
		Templates: func() map[string]string { return a.live.Load().Templates },
	})
	if err := f.listen(a, &s.Control, lines, numbers); err != nil {
		return nil, errors.Join(err, f.close())
	}
	warnOfStrangers(&s.Control, a.log)
	return f, nil
}

func (f *front) listen(a *App, c *settings.Control, lines *cli.CLI, numbers *metrics.Source) error {
	var err error
	if f.ng, err = ngserver.New(ngserver.Config{
		Listen: c.NG, ListenTCP: c.NGTCP, Handler: f.handler, Allow: a.allowed,
		Log: telemetry.Slog(a.log.Named("ng")), TOS: c.TOS, Capture: a.capture,
	}); err != nil {
		return fmt.Errorf("listen-ng, listen-tcp-ng: %w", err)
	}
	if len(c.CLI) > 0 {
		if f.cli, err = cli.NewServer(cli.ServerConfig{
			Listen: c.CLI, Execute: lines.Execute, Allow: a.allowed, Log: a.log.Named("cli"),
		}); err != nil {
			return err
		}
	}
	if len(c.Legacy) > 0 {
		old := legacy.New(legacy.Config{
			Handler: f.handler, Log: a.log.Named("legacy"),
			SilentTimeout: func() time.Duration { return a.limits.Load().SilentTimeout },
		})
		if f.legacy, err = ngserver.NewDatagrams(ngserver.DatagramsConfig{
			Listen: c.Legacy, Handle: old.Handle, Allow: a.allowed, TOS: c.TOS, Log: telemetry.Slog(a.log.Named("legacy")),
		}); err != nil {
			return fmt.Errorf("listen-udp: %w", err)
		}
	}
	if len(c.HTTP)+len(c.HTTPS) == 0 {
		return nil
	}
	f.admin, err = admin.New(admin.Config{
		Listen: c.HTTP, ListenTLS: c.HTTPS, CertFile: c.HTTPSCert, KeyFile: c.HTTPSKey,
		Metrics: func() []byte { return numbers.Gather().Exposition() },
		CLI:     lines.Execute, Allow: a.allowed, Others: f.ng.HTTP(),
		Sockets: map[string]admin.SocketHandler{
			ngserver.Subprotocol:      f.ng.WebSocket,
			ngserver.SubprotocolPlain: f.ng.PlainWebSocket,
			"cli.rtpengine.com":       admin.Lines(func(line []byte) []byte { return []byte(lines.Execute(firstLine(line))) }),
			"echo.rtpengine.com":      admin.Lines(func(message []byte) []byte { return message }),
		},
		Log: telemetry.Slog(a.log.Named("http")),
	})
	return err
}

// certificate reads that of HTTPS again; nil without HTTPS.
func (f *front) certificate(c *settings.Control) (*tls.Certificate, error) {
	if f.admin == nil || len(f.admin.TLSAddrs()) == 0 {
		return nil, nil
	}
	return admin.ReadCertificate(c.HTTPSCert, c.HTTPSKey)
}

// firstLine is the line of a message; what follows it is left out.
func firstLine(message []byte) string {
	line, _, _ := strings.Cut(string(message), "\n")
	return line
}

// warnOfStrangers says so if anybody who reaches a public address may send
// commands. Nothing else stands in their way: the protocols know no passwords.
func warnOfStrangers(c *settings.Control, log *zap.Logger) {
	if len(c.Allow) > 0 {
		return
	}
	for _, l := range []struct {
		option string
		addrs  []netip.AddrPort
	}{
		{"listen-ng", c.NG}, {"listen-tcp-ng", c.NGTCP}, {"listen-http", c.HTTP}, {"listen-https", c.HTTPS},
		{"listen-cli", c.CLI}, {"listen-udp", c.Legacy},
	} {
		for _, addr := range l.addrs {
			if a := addr.Addr(); !a.IsLoopback() && !a.IsPrivate() && !a.IsLinkLocalUnicast() {
				log.Warn("whoever reaches this address may send commands: see ng-allow",
					zap.String("option", l.option), zap.Stringer("address", addr))
			}
		}
	}
}

// allowed reports whether a client may send commands.
func (a *App) allowed(client netip.AddrPort) bool { return a.live.Load().Allows(client.Addr()) }

func (f *front) start() {
	f.rates.Start()
	if f.graphite != nil {
		f.graphite.Start()
	}
	f.ng.Start()
	f.announce("ng commands", f.ng.Addrs())
	f.announce("ng commands over TCP", f.ng.TCPAddrs())
	if f.cli != nil {
		f.cli.Start()
		f.announce("CLI", f.cli.Addrs())
	}
	if f.legacy != nil {
		f.legacy.Start()
		f.announce("commands of rtpproxy", f.legacy.Addrs())
	}
	if f.admin != nil {
		f.admin.Start()
		f.announce("HTTP", f.admin.Addrs())
		f.announce("HTTPS", f.admin.TLSAddrs())
	}
}

func (f *front) announce(what string, addrs []netip.AddrPort) {
	for _, addr := range addrs {
		f.log.Info("listening for "+what, zap.Stringer("address", addr))
	}
}

// close ends first what hands commands on.
func (f *front) close() error {
	var errs []error
	if f.admin != nil {
		errs = append(errs, f.admin.Close())
	}
	if f.cli != nil {
		errs = append(errs, f.cli.Close())
	}
	if f.legacy != nil {
		errs = append(errs, f.legacy.Close())
	}
	if f.ng != nil {
		errs = append(errs, f.ng.Close())
	}
	if f.graphite != nil {
		f.graphite.Close()
	}
	f.rates.Close()
	return errors.Join(errs...)
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

// HTTPS returns the addresses of listen-https.
func (a *App) HTTPS() []netip.AddrPort {
	if a.front.admin == nil {
		return nil
	}
	return a.front.admin.TLSAddrs()
}

// CLI returns the addresses of listen-cli.
func (a *App) CLI() []netip.AddrPort {
	if a.front.cli == nil {
		return nil
	}
	return a.front.cli.Addrs()
}

// Legacy returns the addresses of listen-udp.
func (a *App) Legacy() []netip.AddrPort {
	if a.front.legacy == nil {
		return nil
	}
	return a.front.legacy.Addrs()
}
