//go:build integration

package acme

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/integration/harness"
)

const (
	host       = "127.0.0.1"
	bindingID  = "kid-1"
	bindingKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// binaries names the folder where TestMain has built the proxy.
const binaries = "EXAM_ACME_BINARIES"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "acme")
	if err == nil {
		_, err = harness.Build(dir, "proxy")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(binaries, dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// pebble is the server, which finds every name at 127.0.0.1.
type pebble struct {
	*harness.Process
	directory, management string
	ca                    string // file of the authority of the server itself
	http, tls             int    // ports that it asks at
	client                *http.Client
}

// startPebble runs it; its certificates live so many seconds, and accounts must be bound if asked for.
func startPebble(t *testing.T, seconds int, bound bool) *pebble {
	t.Helper()
	dir := t.TempDir()
	files, err := harness.MakeCertificate(dir, host)
	require.NoError(t, err)
	port := func() int {
		p, err := harness.FreePort(host)
		require.NoError(t, err)
		return p
	}
	p := &pebble{ca: files.Chain, http: port(), tls: port()}
	api, management := port(), port()
	p.directory, p.management = fmt.Sprintf("https://%s:%d/dir", host, api), fmt.Sprintf("https://%s:%d", host, management)
	settings := map[string]any{
		"listenAddress": fmt.Sprintf("%s:%d", host, api), "managementListenAddress": fmt.Sprintf("%s:%d", host, management),
		"certificate": files.Chain, "privateKey": files.Key, "httpPort": p.http, "tlsPort": p.tls, "certificateValidityPeriod": seconds,
		"externalAccountBindingRequired": bound, "externalAccountMACKeys": map[string]string{bindingID: bindingKey},
	}
	text, err := json.Marshal(map[string]any{"pebble": settings})
	require.NoError(t, err)
	config := filepath.Join(dir, "pebble.json")
	require.NoError(t, os.WriteFile(config, text, 0o600))
	p.Process, err = harness.Start(harness.Spec{
		Name: "pebble", Path: "/usr/bin/env", Dir: dir,
		Args: []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0", "pebble", "-config", config, "-dnsserver", resolver(t)},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Stop() })
	chain, err := os.ReadFile(files.Chain)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	require.NoError(t, p.Ready(func() error { _, err := p.get("/roots/0"); return err }))
	return p
}

func (p *pebble) get(path string) ([]byte, error) {
	res, err := p.client.Get(p.management + path)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// roots are the authority that signs what Pebble issues.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	pem, err := p.get("/roots/0")
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem), "%s", pem)
	return roots
}

// resolver answers every name with 127.0.0.1, and no IPv6.
func resolver(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", host+":0")
	require.NoError(t, err)
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(host)})
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown(); <-done })
	return conn.LocalAddr().String()
}

// proxy runs ours with a wss listener at port.
func proxy(t *testing.T, dir string, port int, acme string) *harness.Process {
	t.Helper()
	text := fmt.Sprintf(`
listeners: [{name: wss, transport: wss, address: "%s:%d"}]
domains: [sbc.test]
storage: {path: ":memory:"}
tls:
  local_ca: %s
  acme: {agree_terms: true, names: [sbc.test, other.test], storage: %s, %s}
log: {format: json}
`, host, port, filepath.Join(dir, "ca"), filepath.Join(dir, "acme"), acme)
	config := filepath.Join(dir, "proxy.yaml")
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	p, err := harness.Start(harness.Spec{Name: "proxy", Path: filepath.Join(os.Getenv(binaries), "proxy"), Dir: dir, Args: []string{"-config", config}})
	require.NoError(t, err)
	t.Cleanup(func() {
		if p.Running() {
			_ = p.Stop()
		}
		if t.Failed() {
			t.Log(p.Tail(4000))
		}
	})
	return p
}

// served is the certificate for a name, verified by roots.
func served(port int, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Second}, Config: &tls.Config{ServerName: name, RootCAs: roots}}
	conn, err := dialer.Dial("tcp4", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

func await(t *testing.T, port int, name string, roots *x509.CertPool, good func(*x509.Certificate) bool) *x509.Certificate {
	t.Helper()
	var found *x509.Certificate
	require.NoError(t, harness.Eventually(40*time.Second, func() error {
		c, err := served(port, name, roots)
		if err == nil && !good(c) {
			err = fmt.Errorf("still %v of %v", c.SerialNumber, c.NotBefore)
		}
		found = c
		return err
	}))
	return found
}

func anyone(*x509.Certificate) bool { return true }

// tls-alpn-01 at the wss listener itself, while others are served there; renewed in time, and kept over a restart.
func TestALPN(t *testing.T) {
	t.Parallel()
	server, dir := startPebble(t, 24, false), t.TempDir()
	acme := fmt.Sprintf("directory: %q, ca: %q", server.directory, server.ca)
	p := proxy(t, dir, server.tls, acme)
	roots := server.roots(t)
	first := await(t, server.tls, "sbc.test", roots, anyone)
	other, err := served(server.tls, "other.test", roots)
	require.NoError(t, err)
	require.Equal(t, first.SerialNumber, other.SerialNumber)
	ca, err := os.ReadFile(filepath.Join(dir, "ca", "ca.pem"))
	require.NoError(t, err)
	local := x509.NewCertPool()
	local.AppendCertsFromPEM(ca)
	_, err = served(server.tls, "localhost", local)
	require.NoError(t, err, "names that it does not have are the local CA's")

	second := await(t, server.tls, "sbc.test", roots, func(c *x509.Certificate) bool { return c.SerialNumber.Cmp(first.SerialNumber) != 0 })
	require.True(t, second.NotBefore.Before(first.NotAfter), "renewed before the end of the old one")
	require.NoError(t, p.Stop())
	require.NoError(t, server.Stop())
	p = proxy(t, dir, server.tls, acme)
	again := await(t, server.tls, "sbc.test", roots, anyone)
	require.Equal(t, second.SerialNumber, again.SerialNumber)
	files, err := filepath.Glob(filepath.Join(dir, "acme", "*", "*"))
	require.NoError(t, err)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f)
	}
	require.NoError(t, p.Stop())
}

// http-01, with an account that the operator must know.
func TestHTTPAndBinding(t *testing.T) {
	t.Parallel()
	server, dir := startPebble(t, 3600, true), t.TempDir()
	common := fmt.Sprintf(`directory: %q, ca: %q, challenge: http-01, contact: [admin@sbc.test], http: "%s:%d"`, server.directory, server.ca, host, server.http)
	port, err := harness.FreePort(host)
	require.NoError(t, err)
	p := proxy(t, dir, port, common)
	said := func(text string) func() error {
		return func() error {
			if log := p.Tail(1 << 20); !strings.Contains(log, text) {
				return fmt.Errorf("the log does not say %q", text)
			}
			return nil
		}
	}
	require.NoError(t, harness.Eventually(20*time.Second, said("externalAccountRequired")), "why, in the server's words")
	require.Contains(t, p.Tail(1<<20), "certificate not obtained")
	require.NoError(t, p.Stop())

	p = proxy(t, dir, port, common+fmt.Sprintf(", eab: {id: %s, key: %s}", bindingID, bindingKey))
	await(t, port, "sbc.test", server.roots(t), anyone)
	for path, want := range map[string]int{"/": 404, "/.well-known/acme-challenge/x": 404} {
		res, err := http.Get(fmt.Sprintf("http://%s:%d%s", host, server.http, path))
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, want, res.StatusCode, path)
	}
	require.NoError(t, p.Stop())
}

// A name that cannot be proved is told with the name and the reason.
func TestUnproved(t *testing.T) {
	t.Parallel()
	server, dir := startPebble(t, 3600, false), t.TempDir()
	port, err := harness.FreePort(host) // not where the server asks
	require.NoError(t, err)
	p := proxy(t, dir, port, fmt.Sprintf("directory: %q, ca: %q", server.directory, server.ca))
	require.NoError(t, harness.Eventually(20*time.Second, func() error {
		if log := p.Tail(1 << 20); !strings.Contains(log, "could not be proved") {
			return fmt.Errorf("not told")
		}
		return nil
	}))
	log := p.Tail(1 << 20)
	require.Contains(t, log, ".test could not be proved")
	require.Contains(t, log, "Failed to connect", "in the server's words")
	require.NoError(t, p.Stop())
}
