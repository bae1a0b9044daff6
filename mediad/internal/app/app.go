// Package app puts the media daemon together: it is the one place that knows
// all parts, starts them in order and closes them in reverse.
package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/engine"
	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/negotiate"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
)

// Config holds what the daemon is made of.
type Config struct {
	Settings *settings.Settings
	Version  string
	Log      *zap.Logger
	// Levels are those that Log obeys; nil = they cannot be changed.
	Levels *telemetry.Levels
	// Load reads the settings again; nil = they cannot be read again.
	Load func() (*settings.Settings, error)
}

// App is the running daemon.
type App struct {
	log  *zap.Logger
	load func() (*settings.Settings, error)

	// What CLI and reload change.
	limits    *limits.Live
	levels    *telemetry.Levels
	ports     *ports.Registry
	claims    ports.Claims
	live      atomic.Pointer[settings.Control] // allow-list and templates are read from here
	instance  string                           // names this daemon in the marker of loop protect
	reloading sync.Mutex                       // guards settings
	settings  *settings.Settings

	monitor *limits.Monitor
	exports *exports
	engine  engine.Engine
	calls   *call.Registry
	front   *front
	memory  *memory
}

// New builds the daemon and binds its sockets; no command is read before
// Start. What was built before an error is closed again.
func New(cfg Config) (*App, error) {
	s, log := cfg.Settings, cfg.Log
	for _, n := range s.Notes {
		log.Warn(n.Message, zap.String("option", n.Option), zap.String("source", n.Source))
	}
	a := &App{
		log: log, load: cfg.Load, limits: limits.NewLive(s.Limits), levels: cfg.Levels, settings: s, instance: newInstance(),
		memory: newMemory(),
	}
	a.live.Store(&s.Control)
	if a.levels == nil {
		a.levels = newLevels(&s.Log)
	}
	certificate, err := newCertificate(&s.DTLS)
	if err != nil {
		return nil, err
	}
	a.monitor = limits.NewMonitor(a.limits, func() uint64 {
		return a.calls.Received().Bytes
	})
	if a.engine, err = (engines{&s.Engine, &s.Network, log}).start(); err != nil {
		return nil, err
	}
	if err = a.openPorts(&s.Network); err != nil {
		return nil, errors.Join(err, a.closeEngine())
	}
	if a.exports, err = newExports(s, a.notify, log); err != nil {
		return nil, errors.Join(err, a.closeEngine())
	}
	a.calls = call.NewRegistry(call.Config{
		Ports: a.ports, Engine: a.engine, Certificate: certificate,
		Negotiate: a.negotiateOptions(s),
		Limits:    a.limits, Admit: a.admit,
		Log: log,
		MOS: model(s.Media.MOS), RTCPInterval: s.Media.RTCPInterval, Report: a.exports.Reporter, Teardown: a.exports.teardown,
		DTLSMTU: s.DTLS.MTU,
		SSRCs:   reporting(s.Media.SSRCReporting),
		Pion:    telemetry.PionFactory{Log: log},
	})
	if a.front, err = newFront(a, s); err != nil {
		return nil, errors.Join(err, a.exports.close(), a.closeEngine())
	}
	return a, nil
}

// notify hands a message to all ng clients that are connected.
func (a *App) notify(d ng.Dict) {
	if err := a.front.ng.Notify(d); err != nil {
		a.log.Error("notification not encoded", zap.Error(err))
	}
}

// admit returns nil if there is room for one more call. More calls than pairs of
// ports could not carry media: without this bound, calls whose media are all
// refused would take memory until they time out.
func (a *App) admit(calls int) error {
	if calls >= a.ports.Capacity() {
		return ng.ReasonOutOfPorts
	}
	return a.monitor.Admit(calls)
}

// Start begins to execute commands.
func (a *App) Start() {
	a.calls.Start()
	a.monitor.Start()
	a.front.start()
	a.memory.start()
}

// Close ends commands, calls and media, in this order, and waits for all that
// was started.
func (a *App) Close() error {
	a.memory.close()
	err := a.front.close()
	a.monitor.Close()
	a.calls.Close()
	return errors.Join(err, a.exports.close(), a.closeEngine())
}

// newInstance names this daemon in the marker of loop protect, in the form of
// rtpengine's.
func newInstance() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func newCertificate(d *settings.DTLS) (*secure.Certificate, error) {
	if d.CertCipher == settings.CipherRSA {
		return secure.NewRSACertificate(d.RSAKeySize)
	}
	return secure.NewCertificate()
}

// interfacesOf puts settings in the words of package ports.
func interfacesOf(n *settings.Network, log *zap.Logger) []ports.Interface {
	var out []ports.Interface
	for _, i := range n.Interfaces {
		low, high := n.Ports(i)
		a := ports.Address{Local: i.Address, Advertised: i.Advertised, Min: uint16(low), Max: uint16(high)}
		for _, r := range i.Exclude {
			a.Exclude = append(a.Exclude, ports.Range(r))
		}
		out = append(out, ports.Interface{Name: i.Name, Addresses: []ports.Address{a}})
		log.Info("media address", zap.String("interface", i.Name), zap.Stringer("address", i.Address),
			zap.Stringer("advertised", i.Advertised), zap.Int("port-min", low), zap.Int("port-max", high))
	}
	return out
}

func (a *App) negotiateOptions(s *settings.Settings) negotiate.Options {
	o := negotiate.Options{
		SIPSource: s.Media.SIPSource, DTLSPassive: s.DTLS.Passive, Learning: s.Media.EndpointLearning,
		Instance: a.instance, Rotate: a.ports.Rotate, Software: s.Process.SoftwareID, RejectBlank: s.Media.RejectInvalidSDP,
	}
	for _, name := range a.ports.Names() {
		i := negotiate.Interface{Name: name}
		for _, address := range a.ports.Addresses(name) {
			i.IPv4 = i.IPv4 || address.Local.Is4()
			i.IPv6 = i.IPv6 || address.Local.Is6()
		}
		o.Interfaces = append(o.Interfaces, i)
	}
	return o
}
