// Package certificate keeps the certificates that the proxy serves and those that it shows and trusts when it dials:
// several by name (SNI), read anew when their files change.
package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// checkEvery is how often the files are looked at; localEvery how often the local certificate is asked for.
const (
	checkEvery = time.Minute
	localEvery = time.Hour
)

// Pair is a certificate in files.
type Pair struct {
	Certificate, Key string   // PEM files; the first holds the chain, the own certificate first
	Names            []string // for which server names (SNI) it is served; none: those in the certificate
}

// Config says which certificates there are.
type Config struct {
	Pairs []Pair
	// Local gives the certificate that is served when no other fits; nil: the first of Pairs. It is called again every hour.
	Local func() (tls.Certificate, error)
	// Issued gives certificates that were obtained by ACME, nil when there is none for the hello; may be nil itself.
	Issued func(*tls.ClientHelloInfo) *tls.Certificate
	// Challenge answers a handshake of an ACME server (RFC 8737), nil for any other; may be nil itself.
	Challenge func(*tls.ClientHelloInfo) *tls.Certificate
}

// Store serves certificates. Its methods are safe for concurrent use.
type Store struct {
	log    *zap.Logger
	served atomic.Pointer[set]

	mu     sync.Mutex // of everything below
	config Config
	pairs  []*loaded
	local  *tls.Certificate
	asked  time.Time // when local was
	files  []*watched
	pools  map[string]*atomic.Pointer[x509.CertPool]

	now  func() time.Time
	stop context.CancelFunc
	done chan struct{}
}

// loaded is a pair as it was last read without error.
type loaded struct {
	Pair
	certificate *tls.Certificate
	stamps      [2]stamp
}

// watched is another file of certificates, as an authority's.
type watched struct {
	file  string
	stamp stamp
	read  func([]byte) error
}

// stamp tells versions of a file apart.
type stamp struct {
	at   time.Time
	size int64
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// New loads everything; it fails if anything cannot be read. Close ends the watch over the files.
func New(c Config, log *zap.Logger) (*Store, error) {
	s := &Store{log: log, now: time.Now, pools: map[string]*atomic.Pointer[x509.CertPool]{}, done: make(chan struct{})}
	if err := s.Configure(c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		defer close(s.done)
		s.watch(ctx)
	}()
	return s, nil
}

// Close ends the watch.
func (s *Store) Close() {
	s.stop()
	<-s.done
}

// Configure changes what is served. On error all stays as it was.
func (s *Store) Configure(c Config) error {
	var pairs []*loaded
	for _, p := range c.Pairs {
		l := &loaded{Pair: p}
		if err := l.load(); err != nil {
			return err
		}
		pairs = append(pairs, l)
	}
	var local *tls.Certificate
	if c.Local != nil {
		got, err := c.Local()
		if err != nil {
			return err
		}
		local = &got
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config, s.pairs, s.local, s.asked = c, pairs, local, s.now()
	s.publish()
	for _, w := range s.files {
		if err := w.load(); err != nil {
			s.log.Error("certificate not read again, the old one stays", zap.Error(err))
		}
	}
	return nil
}

// Reload reads all files again, changed or not. What cannot be read stays as it was and is part of the error.
func (s *Store) Reload() error { return s.refresh(true) }

func (s *Store) watch(ctx context.Context) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.refresh(false); err != nil {
				s.log.Error("certificate not read again, the old one stays", zap.Error(err))
			}
		}
	}
}

// refresh reads what has changed, or everything.
func (s *Store) refresh(all bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i, old := range s.pairs {
		if !all && old.stamps == old.current() {
			continue
		}
		next := &loaded{Pair: old.Pair}
		if err := next.load(); err != nil {
			errs = append(errs, err)
			old.stamps = old.current() // said once, until the files change again
			continue
		}
		s.pairs[i] = next
		s.log.Info("certificate read", zap.String("file", next.Certificate), zap.Time("until", next.certificate.Leaf.NotAfter))
	}
	for _, w := range s.files {
		if now := stampOf(w.file); all || now != w.stamp {
			w.stamp = now
			errs = append(errs, w.load())
		}
	}
	if s.config.Local != nil && (all || s.now().Sub(s.asked) >= localEvery) {
		s.asked = s.now()
		got, err := s.config.Local()
		if err == nil {
			s.local = &got
		}
		errs = append(errs, err)
	}
	s.publish()
	return errors.Join(errs...)
}

// follow reads a further file, and again whenever it changes; read gets its content and keeps what it had on error.
func (s *Store) follow(file string, read func([]byte) error) error {
	w := &watched{file: file, stamp: stampOf(file), read: read}
	if err := w.load(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, w)
	return nil
}

func (w *watched) load() error {
	data, err := os.ReadFile(w.file)
	if err != nil {
		return err
	}
	if err := w.read(data); err != nil {
		return fmt.Errorf("%s: %w", w.file, err)
	}
	return nil
}

func (l *loaded) current() [2]stamp { return [2]stamp{stampOf(l.Certificate), stampOf(l.Key)} }

func (l *loaded) load() error {
	l.stamps = l.current()
	c, err := tls.LoadX509KeyPair(l.Certificate, l.Key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", l.Certificate, err)
	}
	l.certificate = &c
	return nil
}

// publish makes the new set visible to handshakes. The lock is held.
func (s *Store) publish() {
	next := &set{byName: map[string][]*tls.Certificate{}, issued: s.config.Issued, challenge: s.config.Challenge}
	for _, p := range s.pairs {
		next.add(p.certificate, p.Names)
	}
	if s.local != nil {
		next.all = append(next.all, s.local)
	}
	s.served.Store(next)
}
