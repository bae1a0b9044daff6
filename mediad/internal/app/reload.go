package app

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/tandem-sbc/tandem/mediad/internal/limits"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"go.uber.org/zap"
)

var errNoReload = errors.New("there is nothing to reload from")

// Reload puts other settings in force without touching calls: timers and
// bounds, log levels, interfaces, templates, the allow-list and the certificate of HTTPS. Calls on an
// interface that is gone keep its ports until they end. What cannot change at
// run time is named in the log. After an error everything is as it was.
func (a *App) Reload(s *settings.Settings) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	for _, n := range s.Notes {
		a.log.Warn(n.Message, zap.String("option", n.Option), zap.String("source", n.Source))
	}
	if s.Network.AutoPortRange > 0 && s.Network.AutoPortRange == a.settings.Network.AutoPortRange {
		s.Network.PortMin, s.Network.PortMax = a.settings.Network.PortMin, a.settings.Network.PortMax
	}
	certificate, err := a.front.certificate(&s.Control)
	if err != nil {
		return err
	}
	interfaces := interfacesOf(&s.Network, a.log)
	if err := a.claim(interfaces); err != nil {
		return err
	}
	if err := a.ports.Replace(interfaces); err != nil {
		return fmt.Errorf("interface: %w", err)
	}
	if certificate != nil {
		a.front.admin.SetCertificate(certificate)
	}
	a.calls.SetNegotiate(a.negotiateOptions(s))
	a.limits.Change(func(v *limits.Values) { *v = s.Limits })
	setLevels(a.levels, &s.Log)
	a.live.Store(&s.Control)
	for _, name := range unchangeable(a.settings, s) {
		a.log.Warn("option needs a restart to take effect", zap.String("option", name))
	}
	a.settings = s
	return nil
}

// ReloadFile reads the command line and the file again and puts them in force.
// A fault leaves everything as it was and is logged, too.
func (a *App) ReloadFile() error {
	if a.load == nil {
		return errNoReload
	}
	notify("RELOADING=1")
	defer notify("READY=1")
	s, err := a.load()
	if err == nil {
		err = a.Reload(s)
	}
	if err != nil {
		a.log.Error("configuration not reloaded, the old one stays in force", zap.Error(err))
		return err
	}
	a.log.Info("configuration reloaded", zap.String("config-file", s.Process.ConfigFile))
	return nil
}

// unchangeable names the options that differ between two settings and cannot
// change at run time.
func unchangeable(old, new *settings.Settings) []string {
	var names []string
	for _, o := range []struct {
		name     string
		old, new any
	}{
		{"listen-ng", old.Control.NG, new.Control.NG},
		{"listen-tcp-ng", old.Control.NGTCP, new.Control.NGTCP},
		{"listen-http", old.Control.HTTP, new.Control.HTTP},
		{"listen-https", old.Control.HTTPS, new.Control.HTTPS},
		{"listen-cli", old.Control.CLI, new.Control.CLI},
		{"listen-udp", old.Control.Legacy, new.Control.Legacy},
		{"control-tos", old.Control.TOS, new.Control.TOS},
		{"engine", old.Engine.Name, new.Engine.Name},
		{"table", old.Engine.Table, new.Engine.Table},
		{"no-fallback", old.Engine.NoFallback, new.Engine.NoFallback},
		{"num-threads", old.Engine.Workers, new.Engine.Workers},
		{"io-uring", old.Engine.Ring, new.Engine.Ring},
		{"save-interface-ports", old.Network.SavePorts, new.Network.SavePorts},
		{"auto-port-range", old.Network.AutoPortRange, new.Network.AutoPortRange},
		{"tos", old.Network.TOS, new.Network.TOS},
		{"pidfile", old.Process.PIDFile, new.Process.PIDFile},
		{"log-stderr", old.Log.ToStderr, new.Log.ToStderr},
		{"log-facility", old.Log.Facility, new.Log.Facility},
		{"log-facility-cdr", old.Log.CDRFacility, new.Log.CDRFacility},
		{"log-facility-rtcp", old.Log.RTCPFacility, new.Log.RTCPFacility},
		{"log-facility-dtmf", old.Log.DTMFFacility, new.Log.DTMFFacility},
		{"log-format", old.Log.JSON, new.Log.JSON},
		{"log-name", old.Log.Name, new.Log.Name},
		{"dtls-cert-cipher", old.DTLS, new.DTLS},
		{"dtmf-log-dest, graphite, homer, b2b-url", old.Export, new.Export},
		{"rtcp-interval", old.Media.RTCPInterval, new.Media.RTCPInterval},
		{"mos", old.Media.MOS, new.Media.MOS},
		{"ssrc-reporting", old.Media.SSRCReporting, new.Media.SSRCReporting},
	} {
		if !reflect.DeepEqual(o.old, o.new) {
			names = append(names, o.name)
		}
	}
	return names
}
