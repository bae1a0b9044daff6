package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
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
	Listen []netip.AddrPort
	// Metrics returns the text of GET /metrics, in Prometheus' format 0.0.4.
	Metrics func() []byte
	// Others serves every path that is not one of the server's own; nil = none.
	Others http.Handler
	Log    *slog.Logger // nil discards
}

// Server is the HTTP server. Make it with New, then Start, then Close.
type Server struct {
	http      *http.Server
	listeners []net.Listener
	log       *slog.Logger
	running   sync.WaitGroup
	stop      sync.Once
}

// New binds the addresses. Connections wait until Start.
func New(cfg Config) (*Server, error) {
	if len(cfg.Listen) == 0 {
		return nil, errors.New("admin: no address")
	}
	s := &Server{log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.http = &http.Server{
		Handler: handler(cfg), MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // all of it can be provoked from outside
	}
	for _, addr := range cfg.Listen {
		network := "tcp4"
		switch {
		case addr.Addr() == netip.IPv6Unspecified():
			network = "tcp" // both families
		case addr.Addr().Is6():
			network = "tcp6"
		}
		l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(addr))
		if err != nil {
			s.closeListeners()
			return nil, fmt.Errorf("admin: http %s: %w", addr, err)
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("pong\n"))
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(cfg.Metrics())
	})
	if cfg.Others != nil {
		mux.Handle("/", cfg.Others)
	}
	return mux
}

// Addrs are the bound addresses, with the ports that were chosen for port 0.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

// Start begins to serve.
func (s *Server) Start() {
	for _, l := range s.listeners {
		s.running.Go(func() {
			if err := s.http.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("http listener failed", slog.Any("error", err), slog.String("address", l.Addr().String()))
			}
		})
	}
}

// Close accepts no more, gives running requests a moment to end, cuts off the
// others and waits.
func (s *Server) Close() error {
	s.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
		s.closeListeners() // those that Start was never called for
		s.running.Wait()
	})
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}
