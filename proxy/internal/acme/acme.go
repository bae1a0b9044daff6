// Package acme obtains and renews a certificate from an ACME server (RFC 8555), proving the names by http-01 or tls-alpn-01.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/acme"
)

// The challenges.
const (
	HTTP01    = "http-01"
	TLSALPN01 = "tls-alpn-01"
)

const (
	// attemptTime bounds one attempt, with the server's own checks.
	attemptTime = 5 * time.Minute
	// After a failure the next attempt waits, twice as long each time.
	firstRetry, longestRetry = time.Minute, 6 * time.Hour
)

// Config says what is obtained from whom.
type Config struct {
	Directory string   // URL of the ACME server
	Names     []string // DNS names, with http-01 also IP addresses; all in one certificate
	Contact   []string // e-mail addresses
	Challenge string   // HTTP01 or TLSALPN01
	HTTP      string   // host:port where http-01 is answered; the server asks at port 80
	Dir       string   // folder of account and certificate
	Roots     *x509.CertPool
	// BindingID and BindingKey bind the account to one that the server's operator knows (RFC 8555 §7.3.4); may be empty.
	BindingID  string
	BindingKey []byte
}

// Client keeps a certificate fresh.
type Client struct {
	config Config
	store  store
	log    *zap.Logger

	certificate atomic.Pointer[tls.Certificate]
	mu          sync.Mutex
	answers     map[string]string           // path → response, of http-01
	proofs      map[string]*tls.Certificate // name → certificate, of tls-alpn-01

	server *http.Server
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// New reads what is kept and begins to obtain what is missing; it does not wait for it. Close ends it.
func New(c Config, log *zap.Logger) (*Client, error) {
	directory, err := url.Parse(c.Directory)
	if err != nil || directory.Host == "" {
		return nil, fmt.Errorf("acme: bad directory %q", c.Directory)
	}
	a := &Client{
		config: c, log: log, store: store{filepath.Join(c.Dir, strings.ReplaceAll(directory.Host, ":", "_"))},
		answers: map[string]string{}, proofs: map[string]*tls.Certificate{},
	}
	if kept, err := a.store.certificate(); err != nil {
		log.Warn("kept certificate cannot be read, a new one is obtained", zap.Error(err))
	} else if kept != nil && covers(kept.Leaf, c.Names) && time.Now().Before(kept.Leaf.NotAfter) {
		a.certificate.Store(kept)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	if c.Challenge == HTTP01 {
		listener, err := net.Listen("tcp", c.HTTP)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("acme: http-01: %w", err)
		}
		a.server = &http.Server{
			Handler: http.HandlerFunc(a.answer), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
			ErrorLog: zap.NewStdLog(zap.NewNop()), // strangers that break off
		}
		a.wg.Go(func() { _ = a.server.Serve(listener) })
	}
	a.wg.Go(func() { a.run(ctx) })
	return a, nil
}

// Close stops and waits.
func (a *Client) Close() {
	a.stop()
	if a.server != nil {
		_ = a.server.Close()
	}
	a.wg.Wait()
}

func covers(leaf *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

// Certificate is the one obtained, for who names one of its names or none; nil if there is none for him.
func (a *Client) Certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	c := a.certificate.Load()
	if c == nil || hello.ServerName != "" && c.Leaf.VerifyHostname(hello.ServerName) != nil {
		return nil
	}
	return c
}

// Challenge answers a handshake of tls-alpn-01; nil if none is under way for that name.
func (a *Client) Challenge(hello *tls.ClientHelloInfo) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.proofs[strings.ToLower(hello.ServerName)]
}

// answer serves http-01 and nothing else.
func (a *Client) answer(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	text, ok := a.answers[r.URL.Path]
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write([]byte(text))
}

// run obtains and renews until ctx ends.
func (a *Client) run(ctx context.Context) {
	failures := 0
	for wait := a.untilRenewal(); ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		c, err := a.obtain(ctx)
		if err == nil {
			a.certificate.Store(c)
			a.log.Info("certificate obtained", zap.Strings("names", a.config.Names), zap.Time("until", c.Leaf.NotAfter))
			failures, wait = 0, a.untilRenewal()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		failures++
		wait = retryAfter(err, failures)
		a.log.Error("certificate not obtained", zap.Strings("names", a.config.Names), zap.String("directory", a.config.Directory),
			zap.Int("attempt", failures), zap.Duration("next", wait.Round(time.Second)), zap.Error(err))
	}
}

// retryAfter is how long to wait after so many failures: what the server asks for, else twice as long each time, with a part by
// chance, so that many proxies do not come at once.
func retryAfter(err error, failures int) time.Duration {
	wait := min(longestRetry, firstRetry<<min(failures-1, 20))
	wait += time.Duration(rand.Int64N(int64(wait / 4)))
	if asked, limited := acme.RateLimit(err); limited {
		wait = max(wait, asked)
	}
	return wait
}

// untilRenewal is the time until two thirds of the certificate's life are over; 0 without one.
func (a *Client) untilRenewal() time.Duration {
	c := a.certificate.Load()
	if c == nil {
		return 0
	}
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	return max(0, time.Until(c.Leaf.NotBefore.Add(life*2/3)))
}

// explain makes an error of the server readable: what it said of which name.
func explain(err error) error {
	var refused *acme.AuthorizationError
	if errors.As(err, &refused) {
		return fmt.Errorf("%s could not be proved: %w", refused.Identifier, errors.Join(refused.Errors...))
	}
	return err
}
