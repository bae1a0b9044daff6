package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var local = netip.MustParseAddr("127.0.0.1")

func serve(t *testing.T, others http.Handler) *Server {
	t.Helper()
	s, err := New(Config{
		Listen: []netip.AddrPort{netip.AddrPortFrom(local, 0)}, Others: others,
		Metrics: func() []byte { return []byte("# TYPE x gauge\nx 1\n") },
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func request(t *testing.T, s *Server, method, path string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest(method, "http://"+s.Addrs()[0].String()+path, nil)
	require.NoError(t, err)
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

func TestPing(t *testing.T) {
	s := serve(t, nil)
	res, body := request(t, s, http.MethodGet, "/ping")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "text/plain", res.Header.Get("Content-Type"))
	require.Equal(t, "pong\n", body) // as rtpengine 10.5 answers
	res, _ = request(t, s, http.MethodGet, "/elsewhere")
	require.Equal(t, 404, res.StatusCode)
}

func TestOthers(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	res, _ := request(t, s, http.MethodPost, "/elsewhere")
	require.Equal(t, http.StatusTeapot, res.StatusCode)
}

func TestMetrics(t *testing.T) {
	res, body := request(t, serve(t, nil), http.MethodGet, "/metrics")
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", res.Header.Get("Content-Type"))
	require.Equal(t, "# TYPE x gauge\nx 1\n", body)
}

// A client that sends its request slowly is cut off and holds up neither
// others nor the end.
func TestSlowClient(t *testing.T) {
	s := serve(t, nil)
	conn, err := net.Dial("tcp", s.Addrs()[0].String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /ping HTTP/1.1\r\nHost: x\r\n")
	require.NoError(t, err)
	res, _ := request(t, s, http.MethodGet, "/ping")
	require.Equal(t, 200, res.StatusCode)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(headerTimeout+5*time.Second)))
	_, err = io.Copy(io.Discard, conn)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "still open")
}

func TestNew(t *testing.T) {
	_, err := New(Config{})
	require.Error(t, err)
	s := serve(t, nil)
	_, err = New(Config{Listen: []netip.AddrPort{netip.AddrPortFrom(local, 0), s.Addrs()[0]}})
	require.ErrorContains(t, err, s.Addrs()[0].String())
	never, err := New(Config{Listen: []netip.AddrPort{netip.AddrPortFrom(local, 0)}})
	require.NoError(t, err)
	addr := never.Addrs()[0].String()
	require.NoError(t, never.Close())
	_, err = net.DialTimeout("tcp", addr, time.Second)
	require.Error(t, err, "closed without a start, it still listens")
}
