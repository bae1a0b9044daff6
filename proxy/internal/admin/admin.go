// Package admin is the HTTP interface for operators and their programs: what the proxy holds as JSON, what may be done with it, and
// metrics. It knows none of the parts: they are resources that the wiring gives it.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Errors of resources that have an HTTP status of their own; all others are 500, and those that wrap ErrRefused 409.
var (
	ErrNotFound = errors.New("not found")
	ErrRefused  = errors.New("refused")
)

// Resource is one kind of thing that the proxy holds.
type Resource struct {
	// Name is the path, "calls" for /calls and /calls/ID.
	Name string
	// List is what GET shows, as JSON.
	List func() any
	// Remove is DELETE /NAME/ID; nil if nothing can be removed.
	Remove func(ctx context.Context, id string) error
	// Actions are POST /NAME/ID/ACTION.
	Actions map[string]func(ctx context.Context, id string) error
}

// Config of a server.
type Config struct {
	Address netip.AddrPort // port 0 takes a free one
	// Token is what clients show as "Authorization: Bearer TOKEN"; empty: whoever reaches the address is an operator.
	Token string
	// Metrics writes the exposition format of Prometheus, version 0.0.4.
	Metrics   func(w io.Writer)
	Resources []Resource
	// Reload reads the configuration again (POST /reload); its error is the reason why nothing was changed.
	Reload func(ctx context.Context) error
	// Explain tells what would become of a SIP request (POST /explain, the message as body); source and listener come as
	// parameters "from" and "listener".
	Explain func(ctx context.Context, message []byte, from netip.AddrPort, listener string) (string, error)
}

// Bounds of the server.
const (
	maxBody       = 64 << 10
	maxHeader     = 16 << 10
	requestLimit  = 30 * time.Second
	closeLimit    = 2 * time.Second
	maxConcurrent = 64
)

// Server is a running interface.
type Server struct {
	http    *http.Server
	address netip.AddrPort
	running sync.WaitGroup
	log     *zap.Logger
}

// Start listens and serves until Close.
func Start(c Config, log *zap.Logger) (*Server, error) {
	l, err := net.Listen("tcp", c.Address.String())
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s := &Server{log: log, address: l.Addr().(*net.TCPAddr).AddrPort()}
	s.http = &http.Server{
		Handler: s.guarded(c.Token, s.mux(c)), ReadHeaderTimeout: requestLimit, ReadTimeout: requestLimit, WriteTimeout: 2 * requestLimit,
		MaxHeaderBytes: maxHeader, ErrorLog: zap.NewStdLog(log),
	}
	s.running.Go(func() {
		if err := s.http.Serve(&bounded{Listener: l, free: make(chan struct{}, maxConcurrent)}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin interface ended", zap.Error(err))
		}
	})
	log.Info("admin interface", zap.Stringer("address", s.address), zap.Bool("token", c.Token != ""))
	return s, nil
}

// Address is where it listens.
func (s *Server) Address() netip.AddrPort { return s.address }

// Close ends it; requests in progress have two seconds.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.running.Wait()
	return err
}

// guarded lets in who has the token. Pages of other sites are kept out even where there is none: a browser may reach more than the
// page's author.
func (s *Server) guarded(token string, next http.Handler) http.Handler {
	sameSite := http.NewCrossOriginProtection()
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(shown))
		switch {
		case token != "" && (!bearer || subtle.ConstantTimeCompare(want[:], got[:]) != 1):
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "Authorization: Bearer TOKEN is needed")
		case token == "" && foreign(r), sameSite.Check(r) != nil:
			fail(w, http.StatusForbidden, "not for pages of other sites")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// foreign reports a request that a browser makes for a page of another host, or for a name that such a page has made mean this machine.
func foreign(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && host != "localhost"
}

func (s *Server) mux(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		c.Metrics(w)
	})
	for _, r := range c.Resources {
		mux.HandleFunc("GET /"+r.Name, func(w http.ResponseWriter, _ *http.Request) { reply(w, r.List()) })
		if r.Remove != nil {
			mux.HandleFunc("DELETE /"+r.Name+"/{id}", s.change("removed", r.Name, r.Remove))
		}
		for action, do := range r.Actions {
			mux.HandleFunc("POST /"+r.Name+"/{id}/"+action, s.change(action, r.Name, do))
		}
	}
	if c.Reload != nil {
		mux.HandleFunc("POST /reload", s.change("reload", "configuration", func(ctx context.Context, _ string) error { return c.Reload(ctx) }))
	}
	if c.Explain != nil {
		mux.HandleFunc("POST /explain", explain(c.Explain))
	}
	return mux
}

// change lets do change something, and says so in the log.
func (s *Server) change(action, what string, do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		err := do(r.Context(), id)
		s.log.Info("asked by an operator", zap.String("action", action), zap.String("of", what), zap.String("id", id), zap.String("by", r.RemoteAddr), zap.Error(err))
		switch {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, ErrNotFound):
			fail(w, http.StatusNotFound, err.Error())
		case errors.Is(err, ErrRefused):
			fail(w, http.StatusConflict, err.Error())
		default:
			fail(w, http.StatusInternalServerError, err.Error())
		}
	}
}

func explain(f func(context.Context, []byte, netip.AddrPort, string) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.URL.Query().Get("from"))
		if err != nil {
			fail(w, http.StatusBadRequest, "from: the address and port that the request would come from is needed: "+err.Error())
			return
		}
		message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			fail(w, http.StatusRequestEntityTooLarge, err.Error())
			return
		}
		text, err := f(r.Context(), message, from, r.URL.Query().Get("listener"))
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func fail(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": reason})
}

// bounded is a listener with a bound of connections at the same time; further ones wait in the kernel's queue.
type bounded struct {
	net.Listener
	free chan struct{}
}

func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &counted{Conn: c, gone: func() { <-b.free }}, nil
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.gone)
	return err
}
