package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/ports"
)

var local = netip.MustParseAddr("127.0.0.1")

// serve starts a server for a daemon without calls whose two interfaces share
// an address.
func serve(t *testing.T, others http.Handler) *Server {
	t.Helper()
	address := ports.Address{Local: local, Min: 20000, Max: 20099}
	shared := address
	shared.Advertised = netip.MustParseAddr("192.0.2.1")
	pool, err := ports.New([]ports.Interface{
		{Name: "default", Addresses: []ports.Address{address, shared}},
		{Name: `a"b\c`, Addresses: []ports.Address{address}},
	}, ports.Options{})
	require.NoError(t, err)
	s, err := New(Config{
		Listen: []netip.AddrPort{netip.AddrPortFrom(local, 0)}, Others: others,
		Metrics: Metrics{
			Calls: call.NewRegistry(call.Config{Ports: pool}),
			Requests: func() ([]Request, uint64) {
				return []Request{{"ping", 3, 0.25}, {"offer", 2, 1}}, 7
			},
		},
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

// The text is what Prometheus demands: each metric is described once, before
// its samples, and no series comes twice.
func TestMetricsAreWellFormed(t *testing.T) {
	res, body := request(t, serve(t, nil), http.MethodGet, "/metrics")
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", res.Header.Get("Content-Type"))
	series := parse(t, body)
	for name, want := range map[string]float64{
		`rtpengine_sessions{type="own"}`:                             0,
		`rtpengine_requests_total{request="ping"}`:                   3,
		`rtpengine_request_seconds_total{request="ping"}`:            0.25,
		`rtpengine_errors_total`:                                     7,
		`rtpengine_ports{name="default",address="127.0.0.1"}`:        100,
		`rtpengine_ports_free{name="default",address="127.0.0.1"}`:   100,
		`rtpengine_ports_used{name="a\"b\\c",address="127.0.0.1"}`:   0,
		`rtpengine_closed_sessions_total{reason="force_terminated"}`: 0,
	} {
		got, ok := series[name]
		require.True(t, ok, "no series %s", name)
		require.Equal(t, want, got, name)
	}
	for _, name := range []string{
		"go_goroutines", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds", "process_cpu_seconds_total",
	} {
		require.Greater(t, series[name], 0.0, name)
	}
}

func parse(t *testing.T, text string) map[string]float64 {
	t.Helper()
	kind := regexp.MustCompile(`^# TYPE ([a-z0-9_]+) (gauge|counter)$`)
	help := regexp.MustCompile(`^# HELP [a-z0-9_]+ \S.*$`)
	sample := regexp.MustCompile(`^([a-z0-9_]+)(\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})? (\S+)$`)
	series, described, current := make(map[string]float64), make(map[string]bool), ""
	require.True(t, strings.HasSuffix(text, "\n"))
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := kind.FindStringSubmatch(line); m != nil {
			current = m[1]
			require.False(t, described[current], "%s is described twice", current)
			described[current] = true
			continue
		}
		if strings.HasPrefix(line, "#") {
			require.Regexp(t, help, line)
			continue
		}
		m := sample.FindStringSubmatch(line)
		require.NotNil(t, m, "%q", line)
		require.Equal(t, current, m[1])
		_, twice := series[m[1]+m[2]]
		require.False(t, twice, "%s comes twice", m[1]+m[2])
		value, err := strconv.ParseFloat(m[3], 64)
		require.NoError(t, err)
		series[m[1]+m[2]] = value
	}
	return series
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
