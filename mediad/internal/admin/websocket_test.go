package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// selfSigned writes a certificate with its key into one file each.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return certFile, keyFile
}

func config() Config {
	return Config{
		Listen:  []netip.AddrPort{netip.AddrPortFrom(local, 0)},
		Metrics: func() []byte { return nil },
		CLI:     func(line string) string { return "<" + line + ">\n" },
		Sockets: map[string]SocketHandler{
			"echo.rtpengine.com": Lines(func(message []byte) []byte { return message }),
			"cli.rtpengine.com":  Lines(func(line []byte) []byte { return append([]byte("did "), line...) }),
		},
	}
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func dial(t *testing.T, url string, protocols ...string) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: protocols, HTTPClient: &http.Client{Transport: transport},
	})
	if err == nil {
		conn.SetReadLimit(maxMessage)
	}
	return conn, err
}

func exchange(t *testing.T, conn *websocket.Conn, message string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte(message)))
	kind, reply, err := conn.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, websocket.MessageBinary, kind) // as rtpengine's
	return string(reply)
}

func TestWebSocketAndHTTPS(t *testing.T) {
	cfg := config()
	cfg.ListenTLS = []netip.AddrPort{netip.AddrPortFrom(local, 0)}
	cfg.CertFile, cfg.KeyFile = selfSigned(t)
	s := start(t, cfg)
	for _, url := range []string{"ws://" + s.Addrs()[0].String() + "/any/path", "wss://" + s.TLSAddrs()[0].String()} {
		conn, err := dial(t, url, "unknown", "echo.rtpengine.com")
		require.NoError(t, err)
		require.Equal(t, "echo.rtpengine.com", conn.Subprotocol())
		require.Equal(t, "hello", exchange(t, conn, "hello"))
		require.Equal(t, strings.Repeat("x", 70000), exchange(t, conn, strings.Repeat("x", 70000)))
		require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))

		conn, err = dial(t, url, "cli.rtpengine.com")
		require.NoError(t, err)
		require.Equal(t, "did list", exchange(t, conn, "list"))
		require.Equal(t, "did it", exchange(t, conn, "it"))
		_ = conn.CloseNow()

		_, err = dial(t, url, "other.rtpengine.com")
		require.Error(t, err)
		_, err = dial(t, url)
		require.Error(t, err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	shown := func() []byte {
		res, err := client.Get("https://" + s.TLSAddrs()[0].String() + "/ping")
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "pong\n", string(body))
		return res.TLS.PeerCertificates[0].Raw
	}
	before := shown()
	next, err := ReadCertificate(selfSigned(t))
	require.NoError(t, err)
	s.SetCertificate(next)
	require.NotEqual(t, before, shown(), "the certificate of before")
	_, err = ReadCertificate("none.pem", "")
	require.ErrorContains(t, err, "https-cert")
}

// Connections that are open when the daemon ends do not hold it up.
func TestCloseEndsWebSockets(t *testing.T) {
	s := start(t, config())
	conn, err := dial(t, "ws://"+s.Addrs()[0].String(), "echo.rtpengine.com")
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), closeTimeout)
	_, _, err = conn.Read(context.Background())
	require.Error(t, err)
}

func TestWebSocketsAreBounded(t *testing.T) {
	s := start(t, config())
	other := netip.MustParseAddr("127.0.0.9")
	for range maxOfOne {
		require.True(t, s.sockets.enter(local))
	}
	_, err := dial(t, "ws://"+s.Addrs()[0].String(), "echo.rtpengine.com")
	require.ErrorContains(t, err, "503")
	for range maxSockets - maxOfOne {
		require.True(t, s.sockets.enter(other))
	}
	require.False(t, s.sockets.enter(netip.MustParseAddr("127.0.0.10")))
	for range maxOfOne {
		s.sockets.leave(local)
		s.sockets.leave(other)
	}
	require.Empty(t, s.sockets.byAddr)
	conn, err := dial(t, "ws://"+s.Addrs()[0].String(), "echo.rtpengine.com")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Write(ctx, websocket.MessageText, make([]byte, maxMessage+1))
	_, _, err = conn.Read(ctx)
	require.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err))
}

func TestCLI(t *testing.T) {
	s := start(t, config())
	for path, want := range map[string]string{
		"/cli/list+numsessions":        "<list numsessions>\n",
		"/cli/list%20numsessions":      "<list numsessions>\n",
		"/cli/":                        "<>\n",
		"/cli/list+sessions+a//b/../c": "<list sessions a//b/../c>\n",
		"/cli/call+a%2Bb+info":         "<call a+b info>\n",
	} {
		res, body := request(t, s, http.MethodGet, path)
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "text/plain", res.Header.Get("Content-Type"))
		require.Equal(t, want, body, path)
	}
	res, err := http.Post("http://"+s.Addrs()[0].String()+"/cli", "text/plain", strings.NewReader("list timeout"))
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "<list timeout>\n", string(body))
	http.DefaultClient.CloseIdleConnections()
	for _, c := range [][2]string{{http.MethodGet, "/cli"}, {http.MethodPost, "/ping"}, {http.MethodPut, "/cli"}, {http.MethodGet, "/pingx"}} {
		res, body := request(t, s, c[0], c[1])
		require.Equal(t, 404, res.StatusCode, "%v", c)
		require.Equal(t, "not found\n", body)
	}
}

// A page of another site, open in an operator's browser, must not command.
func TestOtherSitesAndStrangersAreRefused(t *testing.T) {
	cfg := config()
	s := start(t, cfg)
	for _, path := range []string{"/cli/terminate+all", "/cli"} {
		method := http.MethodGet
		if path == "/cli" {
			method = http.MethodPost
		}
		req, err := http.NewRequest(method, "http://"+s.Addrs()[0].String()+path, strings.NewReader("terminate all"))
		require.NoError(t, err)
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 403, res.StatusCode)
	}
	for host, want := range map[string]int{"rebound.example:2225": 403, "mediad": 404, "mediad.localhost": 404, "[::1]:2225": 404, "127.0.0.1": 404} {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.Addrs()[0].String()+"/", nil)
		require.NoError(t, err)
		req.Host = host // as of a page whose name means this machine now
		req.Header.Set("Accept-Language", "en")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, want, res.StatusCode, host)
		req.Header.Del("Accept-Language")
		res, err = http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 404, res.StatusCode, "no browser")
	}
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _, err := websocket.Dial(ctx, "ws://"+s.Addrs()[0].String(), &websocket.DialOptions{
		Subprotocols: []string{"cli.rtpengine.com"}, HTTPHeader: http.Header{"Origin": {"http://evil.example"}},
	})
	require.ErrorContains(t, err, "403")

	cfg.Allow = func(peer netip.AddrPort) bool { return peer.Addr() != local }
	s = start(t, cfg)
	for _, path := range []string{"/ping", "/metrics", "/cli/list+totals"} {
		res, _ := request(t, s, http.MethodGet, path)
		require.Equal(t, 403, res.StatusCode)
	}
	_, err = dial(t, "ws://"+s.Addrs()[0].String(), "cli.rtpengine.com")
	require.ErrorContains(t, err, "403")
}

func TestFaultsAtTheStartNameTheOption(t *testing.T) {
	cfg := config()
	cfg.Listen = start(t, config()).Addrs()
	_, err := New(cfg)
	require.ErrorContains(t, err, "listen-http")
	cfg = config()
	cfg.ListenTLS, cfg.CertFile = []netip.AddrPort{netip.AddrPortFrom(local, 0)}, "missing.pem"
	_, err = New(cfg)
	require.ErrorContains(t, err, "https-cert")
	require.ErrorContains(t, err, "missing.pem")
}
