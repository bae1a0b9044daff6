package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
)

// Clients is how a listener treats certificates of its peers.
type Clients struct {
	CA       string // PEM file of the authorities; empty: nobody is asked
	Required bool   // no connection without one
}

// ErrNoClientCertificate is the end of a handshake that shows none where one is required.
var ErrNoClientCertificate = errors.New("a client certificate is required")

// Server makes the configuration of a listener that speaks the protocols (ALPN; none: not negotiated). Its session tickets
// are good for this listener alone.
func (s *Store) Server(clients Clients, protocols ...string) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     protocols,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return s.served.Load().find(hello) },
	}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		challenge := s.served.Load().challenge
		if challenge == nil || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != alpnChallenge {
			return nil, nil
		}
		proof := challenge(hello)
		if proof == nil {
			return nil, fmt.Errorf("%w: no challenge is under way for %q", ErrNone, hello.ServerName)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{alpnChallenge}, Certificates: []tls.Certificate{*proof}}, nil
	}
	if clients.CA == "" {
		return c, nil
	}
	roots, err := s.authorities(clients.CA)
	if err != nil {
		return nil, err
	}
	// Verified here, for crypto/tls would keep the authorities of the start.
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			if clients.Required && state.NegotiatedProtocol != alpnChallenge {
				return ErrNoClientCertificate
			}
			return nil
		}
		return verify(state.PeerCertificates, x509.VerifyOptions{
			Roots: roots.Load(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		})
	}
	return c, nil
}

// Peer is how one peer is dialled by TLS.
type Peer struct {
	Certificate, Key string // own certificate towards it, PEM files; empty: that of the proxy
	CA               string // PEM file of the authorities that it is verified by; empty: those of the system
	ServerName       string // name to be found in its certificate; empty: the host that is dialled
}

// Client makes what a peer is dialled with: a function from the host to the configuration.
func (s *Store) Client(p Peer) (func(host string) *tls.Config, error) {
	own, err := s.pair(p.Certificate, p.Key)
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	roots := new(atomic.Pointer[x509.CertPool]) // nil: those of the system
	if p.CA != "" {
		if roots, err = s.authorities(p.CA); err != nil {
			return nil, err
		}
	}
	sessions := tls.NewLRUClientSessionCache(4)
	return func(host string) *tls.Config {
		if p.ServerName != "" {
			host = p.ServerName
		}
		return &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: host, ClientSessionCache: sessions, RootCAs: roots.Load(),
			GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if own != nil {
					return own.Load(), nil
				}
				for _, pair := range s.served.Load().all {
					if info.SupportsCertificate(pair) == nil {
						return pair, nil
					}
				}
				return new(tls.Certificate), nil
			},
		}
	}, nil
}

// pair reads a certificate with its key and follows both files; nil if there is none.
func (s *Store) pair(certificate, key string) (*atomic.Pointer[tls.Certificate], error) {
	if certificate == "" {
		return nil, nil
	}
	own := new(atomic.Pointer[tls.Certificate])
	// Both files change together; whichever comes last makes the pair whole again.
	read := func([]byte) error {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err == nil {
			own.Store(&pair)
		}
		return err
	}
	if err := s.follow(certificate, read); err != nil {
		return nil, err
	}
	return own, s.follow(key, read)
}

// authorities reads a file of authorities and follows it.
func (s *Store) authorities(file string) (*atomic.Pointer[x509.CertPool], error) {
	s.mu.Lock()
	pool := s.pools[file]
	s.mu.Unlock()
	if pool != nil {
		return pool, nil
	}
	pool = new(atomic.Pointer[x509.CertPool])
	err := s.follow(file, func(pem []byte) error {
		next := x509.NewCertPool()
		if !next.AppendCertsFromPEM(pem) {
			return errors.New("no certificate in the file")
		}
		pool.Store(next)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools[file] = pool
	return pool, nil
}

func verify(chain []*x509.Certificate, options x509.VerifyOptions) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	options.Intermediates = x509.NewCertPool()
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(options)
	return err
}

// Names are what a verified certificate says of its owner: the DNS names and URIs of subjectAltName, or the common name if
// there are none (RFC 5922 §7.1). A sip URI stands for its host as well.
func Names(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, u := range c.URIs {
		names = append(names, u.String())
		if u.Scheme == "sip" && u.Opaque != "" {
			names = append(names, u.Opaque)
		}
	}
	if len(names) == 0 && c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}
