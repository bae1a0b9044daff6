package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of the HTTP server.
const (
	maxConnections = 1024     // per address; more wait in the backlog
	maxHeader      = 16 << 10 // bytes
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second // a whole request
	writeTimeout   = 20 * time.Second // from the request's header to the reply's end
	idleTimeout    = 2 * time.Minute
	closeTimeout   = 3 * time.Second // for requests that run when the daemon ends
)

// Config holds what the HTTP server serves. At least one address is required.
type Config struct {
	Listen    []netip.AddrPort
	ListenTLS []netip.AddrPort
	// CertFile and KeyFile hold the certificate for ListenTLS, in PEM; without
	// KeyFile the key is in CertFile.
	CertFile, KeyFile string
	// Metrics returns the text of GET /metrics, in Prometheus' format 0.0.4.
	Metrics func() []byte
	// CLI executes a line and returns what it prints.
	CLI func(line string) string
	// Sockets serve WebSocket connections, by subprotocol.
	Sockets map[string]SocketHandler
	// Others serves every path that is not one of the server's own; nil = none.
	Others http.Handler
	// Allow, if set, tells who may ask; others get status 403.
	Allow func(netip.AddrPort) bool
	Log   *slog.Logger // nil discards
}

// Server is the HTTP server. Make it with New, then Start, then Close.
type Server struct {
	http        *http.Server
	listeners   []net.Listener
	tls         []net.Listener // with TLS around each
	certificate atomic.Pointer[tls.Certificate]
	log         *slog.Logger
	sockets     *sockets
	running     sync.WaitGroup
	stop        sync.Once
}

// New binds the addresses. Connections wait until Start.
func New(cfg Config) (*Server, error) {
	if len(cfg.Listen)+len(cfg.ListenTLS) == 0 {
		return nil, errors.New("admin: no address")
	}
	s := &Server{log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.sockets = newSockets(cfg.Sockets)
	s.http = &http.Server{
		Handler: s.handler(cfg), MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // all of it can be provoked from outside
	}
	if err := s.bind(cfg); err != nil {
		s.closeListeners()
		return nil, err
	}
	return s, nil
}

func (s *Server) bind(cfg Config) error {
	for _, addr := range cfg.Listen {
		l, err := listen(addr)
		if err != nil {
			return fmt.Errorf("listen-http: %w", err)
		}
		s.listeners = append(s.listeners, l)
	}
	if len(cfg.ListenTLS) == 0 {
		return nil
	}
	certificate, err := ReadCertificate(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return err
	}
	s.SetCertificate(certificate)
	s.http.TLSConfig = &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil },
		MinVersion:     tls.VersionTLS12,
	}
	for _, addr := range cfg.ListenTLS {
		l, err := listen(addr)
		if err != nil {
			return fmt.Errorf("listen-https: %w", err)
		}
		s.tls = append(s.tls, l)
	}
	return nil
}

// ReadCertificate reads a certificate for HTTPS. keyFile may be empty, see Config.
func ReadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	if keyFile == "" {
		keyFile = certFile
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("https-cert, https-key: %w", err)
	}
	return &certificate, nil
}

// SetCertificate gives connections another certificate from now on.
func (s *Server) SetCertificate(c *tls.Certificate) { s.certificate.Store(c) }

func listen(addr netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	switch {
	case addr.Addr() == netip.IPv6Unspecified():
		network = "tcp" // both families
	case addr.Addr().Is6():
		network = "tcp6"
	}
	return net.ListenTCP(network, net.TCPAddrFromAddrPort(addr))
}

// Addrs are the bound addresses, with the ports that were chosen for port 0.
func (s *Server) Addrs() []netip.AddrPort { return addrsOf(s.listeners) }

// TLSAddrs are the bound addresses of HTTPS.
func (s *Server) TLSAddrs() []netip.AddrPort { return addrsOf(s.tls) }

func addrsOf(listeners []net.Listener) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(listeners))
	for i, l := range listeners {
		addrs[i] = l.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

// Start begins to serve.
func (s *Server) Start() {
	for _, l := range s.listeners {
		s.running.Go(func() { s.serve(l, s.http.Serve) })
	}
	for _, l := range s.tls {
		s.running.Go(func() {
			s.serve(l, func(l net.Listener) error { return s.http.ServeTLS(l, "", "") })
		})
	}
}

func (s *Server) serve(l net.Listener, serve func(net.Listener) error) {
	if err := serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("http listener failed", slog.Any("error", err), slog.String("address", l.Addr().String()))
	}
}

// Close accepts no more, gives running requests a moment to end, cuts off the
// others and all WebSocket connections, and waits.
func (s *Server) Close() error {
	s.stop.Do(func() {
		s.sockets.close()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
		s.closeListeners() // those that Start was never called for
		s.running.Wait()
		s.sockets.wait()
	})
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range append(s.listeners, s.tls...) {
		_ = l.Close()
	}
}
