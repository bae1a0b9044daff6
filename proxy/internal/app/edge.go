package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/pkg/conf"
	"github.com/tandem-sbc/tandem/proxy/internal/ban"
	"github.com/tandem-sbc/tandem/proxy/internal/certificate"
	"github.com/tandem-sbc/tandem/proxy/internal/edge"
	"github.com/tandem-sbc/tandem/proxy/internal/localca"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

func (a *App) openEdge(context.Context) (err error) {
	s := a.settings.Load()
	listeners := make([]edge.Listener, 0, len(s.Listeners))
	pages := a.pages()
	for _, l := range s.Listeners {
		host, err := netip.ParseAddr(l.Address.Host)
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
		e := edge.Listener{
			Name: l.Name, Transport: request.Transport(l.Transport), Address: netip.AddrPortFrom(host, l.Address.Port),
			AdvertisedHost: l.Advertised.Host, AdvertisedPort: l.Advertised.Port,
			Profile: l.Profile, Path: l.Path, Origins: l.Origins,
			Admit:    a.guard.admit(l.Name),
			BadToken: func(addr netip.Addr) { a.guard.bans.Note(addr, ban.LoginFailed) },
			Faulty:   func(conn request.Connection) { a.guard.blame(conn, ban.Malformed) },
		}
		if e.Transport != request.UDP {
			e.ProxyFrom = a.guard.proxyFrom(l.Name)
		}
		if e.Transport.WebSocket() {
			e.Pages, e.Authenticate = pages, a.tokens.handshake
		}
		if e.Transport.Secure() {
			if err := a.secure(&e, l); err != nil {
				return fmt.Errorf("listener %s: %w", l.Name, err)
			}
		}
		listeners = append(listeners, e)
	}
	l := s.Limits
	a.edge, err = edge.New(listeners, edge.Limits{
		Header: int(l.Header), Body: int(l.Body), Connections: l.Connections, ConnectionsPerSource: l.ConnectionsPerSource,
		Handshake: time.Duration(l.Handshake), Idle: time.Duration(l.Idle), Ping: time.Duration(l.Ping),
	}, a.log)
	if err != nil {
		return err
	}
	a.onClose(a.edge.Close)
	return nil
}

// secure sets what a tls or wss listener serves, believes and dials with.
func (a *App) secure(e *edge.Listener, l settings.Listener) (err error) {
	e.TLS, err = a.certs.Server(certificate.Clients{CA: l.ClientCA, Required: l.ClientCertificate == settings.ClientRequire})
	if err != nil {
		return err
	}
	if l.ClientCA != "" {
		e.PeerNames = certificate.Names
	}
	if e.Transport == request.TLS {
		e.Client, err = a.dialling()
	}
	return err
}

// openCertificates loads what the secure listeners serve.
func (a *App) openCertificates(context.Context) (err error) {
	secure := false
	for _, l := range a.settings.Load().Listeners {
		secure = secure || request.Transport(l.Transport).Secure()
	}
	if !secure {
		return nil
	}
	if err := a.openACME(); err != nil {
		return err
	}
	if a.certs, err = certificate.New(a.certificates(a.settings.Load()), a.log.Named("certificate")); err != nil {
		return err
	}
	a.onClose(a.certs.Close)
	return nil
}

// certificates are the configured ones, or else that of the local CA.
func (a *App) certificates(s *settings.Settings) certificate.Config {
	var c certificate.Config
	if a.acme != nil {
		c.Issued, c.Challenge = a.acme.Certificate, a.acme.Challenge
	}
	for _, p := range s.TLS.Pairs() {
		c.Pairs = append(c.Pairs, certificate.Pair{Certificate: p.Certificate, Key: p.Key, Names: p.Names})
	}
	if len(c.Pairs) > 0 {
		return c
	}
	c.Local = func() (tls.Certificate, error) {
		result, err := localca.Ensure(localca.Config{Dir: s.TLS.LocalCA, Names: names(s)})
		if err != nil {
			return tls.Certificate{}, err
		}
		a.log.Info("certificate of the local CA", zap.String("ca", result.CAFile), zap.Bool("renewed", result.Renewed),
			zap.Time("until", result.Certificate.Leaf.NotAfter))
		return result.Certificate, nil
	}
	return c
}

// dialling makes what hops are dialled with: each trunk's own, chosen by the host that its addresses or routes name.
func (a *App) dialling() (func(request.Hop) *tls.Config, error) {
	standard, err := a.certs.Client(certificate.Peer{})
	if err != nil {
		return nil, err
	}
	type trunk struct {
		*settings.Trunk
		make func(string) *tls.Config
	}
	var trunks []trunk
	s := a.settings.Load()
	for i := range s.Trunks {
		t := &s.Trunks[i]
		if t.TLS == (settings.TrunkTLS{}) {
			continue
		}
		made, err := a.certs.Client(certificate.Peer(t.TLS))
		if err != nil {
			return nil, fmt.Errorf("trunk %s: %w", t.Name, err)
		}
		trunks = append(trunks, trunk{t, made})
	}
	return func(hop request.Hop) *tls.Config {
		host := hop.Host
		if host == "" {
			host = hop.Addr.Addr().String()
		}
		for _, t := range trunks {
			if reachedBy(t.Trunk, host, hop.Addr.Addr()) {
				return t.make(host)
			}
		}
		return standard(host)
	}, nil
}

// reachedBy reports whether a trunk is dialled by this host, as one of its targets or otherwise, or at an address that it
// also calls from.
func reachedBy(t *settings.Trunk, host string, addr netip.Addr) bool {
	target := func(to settings.Target) bool {
		uri := parsed(to.URI)
		return strings.EqualFold(strings.Trim(uri.Host, "[]"), host)
	}
	return slices.ContainsFunc(t.Targets, target) ||
		slices.ContainsFunc(t.TLSNames, func(name string) bool { return strings.EqualFold(name, host) }) ||
		slices.ContainsFunc(t.Sources, func(n conf.Network) bool { return n.Contains(addr) })
}

// checkCertificates adds faults of files that cannot be read.
func checkCertificates(s *settings.Settings, doc *conf.Document) {
	pair := func(key, certificate, private string) {
		if certificate == "" || private == "" {
			return
		}
		if _, err := tls.LoadX509KeyPair(certificate, private); err != nil {
			doc.Fault(key, "%v", err)
		}
	}
	pair("tls.certificate", s.TLS.Certificate, s.TLS.Key)
	for i, c := range s.TLS.Certificates {
		pair(fmt.Sprintf("tls.certificates[%d].certificate", i), c.Certificate, c.Key)
	}
	for i, t := range s.Trunks {
		pair(fmt.Sprintf("trunks[%d].tls.certificate", i), t.TLS.Certificate, t.TLS.Key)
	}
}
