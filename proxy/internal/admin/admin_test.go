package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves one resource with two things in it.
func start(t *testing.T, token string) string {
	t.Helper()
	calls := map[string]bool{"a@b": true, "busy": true}
	s, err := Start(Config{
		Address: netip.MustParseAddrPort("127.0.0.1:0"), Token: token,
		Metrics: func(w io.Writer) {
			WriteMetrics(w, []Metric{
				Value("b_total", "Last.", true, 2), {Name: "a", Help: "First.", Samples: []Sample{{Labels: []string{"x", "1", "y", `q"\` + "\n"}, Value: 0.5}}},
			})
		},
		Resources: []Resource{{
			Name: "calls", List: func() any { return len(calls) },
			Remove: func(_ context.Context, id string) error {
				if id == "busy" {
					return fmt.Errorf("%w: it is busy", ErrRefused)
				}
				if !calls[id] {
					return ErrNotFound
				}
				delete(calls, id)
				return nil
			},
			Actions: map[string]func(context.Context, string) error{"drain": func(context.Context, string) error { return errors.New("disk full") }},
		}},
		Reload: func(context.Context) error { return fmt.Errorf("%w: x.yaml:3: bad", ErrRefused) },
		Explain: func(_ context.Context, m []byte, from netip.AddrPort, listener string) (string, error) {
			if len(m) == 0 {
				return "", errors.New("empty")
			}
			return fmt.Sprintf("%s %s %s", m, from, listener), nil
		},
	}, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return "http://" + s.Address().String()
}

// ask makes a request with further headers as pairs; Host is one of them.
func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func TestResources(t *testing.T) {
	at := start(t, "")
	for _, e := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/health", "", 200, `"ok"`},
		{"GET", "/calls", "", 200, "2"},
		{"DELETE", "/calls/a%40b", "", 204, ""},
		{"DELETE", "/calls/a%40b", "", 404, "not found"},
		{"DELETE", "/calls/busy", "", 409, "it is busy"},
		{"POST", "/calls/x/drain", "", 500, "disk full"},
		{"POST", "/reload", "", 409, "x.yaml:3: bad"},
		{"POST", "/explain?from=192.0.2.1:5060&listener=phones", "INVITE", 200, "INVITE 192.0.2.1:5060 phones"},
		{"POST", "/explain?from=192.0.2.1:5060", "", 422, "empty"},
		{"POST", "/explain", "INVITE", 400, "from: "},
		{"POST", "/explain?from=192.0.2.1:5060", strings.Repeat("x", maxBody+1), 413, "too large"},
		{"GET", "/nothing", "", 404, ""},
		{"GET", "/metrics", "", 200, "# HELP a First.\n# TYPE a gauge\na{x=\"1\",y=\"q\\\"\\\\\\n\"} 0.5\n# HELP b_total Last.\n# TYPE b_total counter\nb_total 2\n"},
	} {
		code, text := ask(t, e.method, at+e.path, e.body)
		require.Equal(t, e.code, code, "%s %s: %s", e.method, e.path, text)
		require.Contains(t, text, e.says)
	}
}

func TestWhoIsLetIn(t *testing.T) {
	open, closed := start(t, ""), start(t, "secret")
	code, _ := ask(t, "GET", closed+"/calls", "")
	require.Equal(t, 401, code)
	for _, wrong := range []string{"Bearer", "Bearer ", "Bearer secre", "Basic secret", "secret"} {
		code, _ = ask(t, "GET", closed+"/metrics", "", "Authorization", wrong)
		require.Equal(t, 401, code, wrong)
	}
	code, _ = ask(t, "GET", closed+"/calls", "", "Authorization", "Bearer secret")
	require.Equal(t, 200, code)

	// A page of another site must not do anything in an operator's browser.
	code, _ = ask(t, "POST", open+"/reload", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 403, code)
	code, _ = ask(t, "GET", open+"/calls", "", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 403, code)
	code, _ = ask(t, "GET", open+"/calls", "", "Host", "rebound.evil.example")
	require.Equal(t, 403, code)
	code, _ = ask(t, "GET", open+"/calls", "", "Host", "localhost:8080")
	require.Equal(t, 200, code)
}

// TestManyConnections: those above the bound wait, and are served when there is room.
func TestManyConnections(t *testing.T) {
	at := strings.TrimPrefix(start(t, ""), "http://")
	var idle []net.Conn
	for range maxConcurrent {
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		idle = append(idle, c)
	}
	late, err := net.Dial("tcp", at)
	require.NoError(t, err)
	defer late.Close()
	_, err = io.WriteString(late, "GET /calls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	for _, c := range idle {
		require.NoError(t, c.Close())
	}
	line, err := bufio.NewReader(late).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "200 OK")
}
