package certificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs certificates and keeps their files in a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T, name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	a := &authority{t: t, dir: t.TempDir(), key: key}
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.write(name+".pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(file, kind string, der []byte) {
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	require.NoError(a.t, os.WriteFile(filepath.Join(a.dir, file), data, 0o600))
}

// issue writes a certificate of the template's names and its key; serial tells them apart.
func (a *authority) issue(file string, serial int64, withRSA bool, template x509.Certificate) Pair {
	var key crypto.Signer
	var err error
	if withRSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	require.NoError(a.t, err)
	template.SerialNumber = big.NewInt(serial)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	a.write(file+".pem", "CERTIFICATE", der)
	a.write(file+".key", "PRIVATE KEY", private)
	return Pair{Certificate: filepath.Join(a.dir, file+".pem"), Key: filepath.Join(a.dir, file+".key")}
}

func (a *authority) file() string { return filepath.Join(a.dir, a.cert.Subject.CommonName+".pem") }

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func names(n ...string) x509.Certificate { return x509.Certificate{DNSNames: n} }

// meet makes a handshake and returns what each side has seen.
func meet(t *testing.T, server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		c := tls.Server(raw, server)
		err = c.HandshakeContext(ctx)
		if err == nil {
			atServer = c.ConnectionState()
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp4", listener.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	c := tls.Client(raw, client)
	err = c.HandshakeContext(ctx)
	if err == nil {
		atClient = c.ConnectionState()
		_, err = c.Read(make([]byte, 1)) // TLS 1.3 refuses client certificates after the client's handshake
	}
	return atServer, atClient, errors.Join(<-done, err)
}

func newStore(t *testing.T, c Config) (*Store, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	s, err := New(c, zap.New(core))
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, logs
}

func server(t *testing.T, s *Store, clients Clients) *tls.Config {
	c, err := s.Server(clients)
	require.NoError(t, err)
	return c
}

func serial(s tls.ConnectionState) int64 { return s.PeerCertificates[0].SerialNumber.Int64() }

// Each name gets its certificate, by the kind of key that the client understands.
func TestServerNames(t *testing.T) {
	a := newAuthority(t, "ca")
	extra := a.issue("extra", 5, false, names("whatever"))
	extra.Names = []string{"Alias.example"}
	s, _ := newStore(t, Config{Pairs: []Pair{
		a.issue("one", 1, false, names("one.example")), a.issue("one-rsa", 2, true, names("one.example")),
		a.issue("wild", 3, false, names("*.two.example")), a.issue("two", 4, false, names("exact.two.example")), extra,
	}})
	cfg := server(t, s, Clients{})
	onlyRSA := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for _, c := range []struct {
		name   string
		suites []uint16
		want   int64
	}{
		{"one.example", nil, 1}, {"ONE.example", nil, 1}, {"one.example", onlyRSA, 2}, {"a.two.example", nil, 3},
		{"exact.two.example", nil, 4}, {"alias.example", nil, 5}, {"unknown.example", nil, 1}, {"", nil, 1}, {"a.b.two.example", nil, 1},
	} {
		client := &tls.Config{ServerName: c.name, InsecureSkipVerify: true} // only the choice matters
		if c.suites != nil {
			client.MaxVersion, client.CipherSuites = tls.VersionTLS12, c.suites
		}
		_, state, err := meet(t, cfg, client)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, serial(state), c.name)
	}
	_, _, err := meet(t, cfg, &tls.Config{ServerName: "one.example", RootCAs: a.pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	require.Error(t, err, "older than TLS 1.2")
}

// New files are served without a restart; broken ones leave the old certificate in use, and the log says so once.
func TestFilesChange(t *testing.T) {
	a := newAuthority(t, "ca")
	pair := a.issue("one", 1, false, names("one.example"))
	s, logs := newStore(t, Config{Pairs: []Pair{pair}})
	cfg := server(t, s, Clients{})
	served := func() int64 {
		_, state, err := meet(t, cfg, &tls.Config{ServerName: "one.example", RootCAs: a.pool()})
		require.NoError(t, err)
		return serial(state)
	}
	later := func(n int) { // file systems with coarse times
		at := time.Now().Add(time.Duration(n) * time.Minute)
		require.NoError(t, os.Chtimes(pair.Certificate, at, at))
	}
	require.EqualValues(t, 1, served())
	a.issue("one", 2, false, names("one.example"))
	later(1)
	require.EqualValues(t, 1, served())
	require.NoError(t, s.refresh(false))
	require.EqualValues(t, 2, served())

	require.NoError(t, os.WriteFile(pair.Certificate, []byte("nonsense"), 0o600))
	require.ErrorContains(t, s.refresh(false), "one.pem")
	require.NoError(t, s.refresh(false), "said once")
	require.ErrorContains(t, s.Reload(), "one.pem", "but again when asked")
	require.EqualValues(t, 2, served())
	a.issue("one", 3, false, names("one.example"))
	require.NoError(t, s.Reload())
	require.EqualValues(t, 3, served())
	require.NotZero(t, logs.FilterMessage("certificate read").Len())

	require.Error(t, s.Configure(Config{Pairs: []Pair{{Certificate: "/nowhere", Key: "/nowhere"}}}))
	require.EqualValues(t, 3, served(), "a bad configuration changes nothing")
	require.NoError(t, s.Configure(Config{Local: func() (tls.Certificate, error) { return tls.LoadX509KeyPair(pair.Certificate, pair.Key) }}))
	require.EqualValues(t, 3, served())
	_, err := New(Config{Pairs: []Pair{{Certificate: "/nowhere", Key: "/nowhere"}}}, zap.NewNop())
	require.Error(t, err)
}

func TestClientCertificates(t *testing.T) {
	ours, theirs, strange := newAuthority(t, "ours"), newAuthority(t, "theirs"), newAuthority(t, "strange")
	s, _ := newStore(t, Config{Pairs: []Pair{ours.issue("proxy", 1, false, names("proxy.example"))}})
	uri, err := url.Parse("sip:carrier.example")
	require.NoError(t, err)
	show := func(a *authority, template x509.Certificate) *tls.Config {
		c := &tls.Config{ServerName: "proxy.example", RootCAs: ours.pool()}
		if a != nil {
			p := a.issue("client", 7, false, template)
			pair, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
			require.NoError(t, err)
			c.Certificates = []tls.Certificate{pair}
		}
		return c
	}
	good := show(theirs, x509.Certificate{DNSNames: []string{"sbc.carrier.example"}, URIs: []*url.URL{uri}, Subject: pkix.Name{CommonName: "not this"}})
	asked, required := server(t, s, Clients{CA: theirs.file()}), server(t, s, Clients{CA: theirs.file(), Required: true})
	for _, cfg := range []*tls.Config{asked, required} {
		state, _, err := meet(t, cfg, good)
		require.NoError(t, err)
		require.Equal(t, []string{"sbc.carrier.example", "sip:carrier.example", "carrier.example"}, Names(state.PeerCertificates[0]))
		_, _, err = meet(t, cfg, show(strange, names("sbc.carrier.example")))
		require.Error(t, err, "of an authority that is not believed")
	}
	_, _, err = meet(t, asked, show(nil, names()))
	require.NoError(t, err)
	_, _, err = meet(t, required, show(nil, names()))
	require.ErrorIs(t, err, ErrNoClientCertificate)
	require.Equal(t, []string{"cn.example"}, Names(&x509.Certificate{Subject: pkix.Name{CommonName: "cn.example"}}))

	// An authority is exchanged while the listener runs, and a ticket of before does not help.
	resuming := good.Clone()
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	_, _, err = meet(t, asked, resuming)
	require.NoError(t, err)
	other, err := os.ReadFile(strange.file())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(theirs.file(), other, 0o600))
	require.NoError(t, s.Reload())
	_, _, err = meet(t, asked, resuming)
	require.Error(t, err)
	_, _, err = meet(t, asked, show(strange, names("x")))
	require.NoError(t, err)
	_, err = s.Server(Clients{CA: "/nowhere"})
	require.Error(t, err)
}

// What the proxy dials is verified, by the peer's own authorities and name, and sees the certificate that is meant for it.
func TestDialling(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	s, _ := newStore(t, Config{Pairs: []Pair{ours.issue("proxy", 1, false, names("proxy.example"))}})
	p := theirs.issue("carrier", 9, false, x509.Certificate{DNSNames: []string{"carrier.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}})
	pair, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
	require.NoError(t, err)
	carrier := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	dialled := func(p Peer, host string) (int64, error) {
		make, err := s.Client(p)
		require.NoError(t, err)
		state, _, err := meet(t, carrier, make(host))
		if err != nil {
			return 0, err
		}
		return serial(state), nil
	}
	for _, host := range []string{"carrier.example", "192.0.2.1"} {
		shown, err := dialled(Peer{CA: theirs.file()}, host)
		require.NoError(t, err)
		require.EqualValues(t, 1, shown)
	}
	for _, host := range []string{"other.example", "192.0.2.2"} {
		_, err = dialled(Peer{CA: theirs.file()}, host)
		require.Error(t, err, host)
	}
	_, err = dialled(Peer{CA: theirs.file(), ServerName: "carrier.example"}, "192.0.2.2")
	require.NoError(t, err)
	for _, p := range []Peer{{}, {CA: ours.file()}} {
		_, err = dialled(p, "carrier.example")
		require.Error(t, err, "an authority that is not believed")
	}
	own := theirs.issue("for-carrier", 11, false, names("us.carrier.example"))
	shown, err := dialled(Peer{CA: theirs.file(), Certificate: own.Certificate, Key: own.Key}, "carrier.example")
	require.NoError(t, err)
	require.EqualValues(t, 11, shown)
	_, err = s.Client(Peer{Certificate: "/nowhere", Key: "/nowhere"})
	require.Error(t, err)
}
