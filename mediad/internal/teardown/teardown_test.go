package teardown

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// methods reads calls as a server does.
func methods(t *testing.T, bodies [][]byte) []string {
	t.Helper()
	var out []string
	for _, body := range bodies {
		var call struct {
			Method string   `xml:"methodName"`
			Args   []string `xml:"params>param>value>string"`
		}
		require.NoError(t, xml.Unmarshal(body, &call))
		out = append(out, call.Method+"("+strings.Join(call.Args, ",")+")")
	}
	return out
}

func TestFormats(t *testing.T) {
	call := Call{ID: "call<&1", Parties: []Party{{"a", "b"}, {"b", "a"}, {"c", "a"}, {"", "a"}, {"d", ""}}}
	for format, want := range map[Format][]string{
		SEMS: {
			"di(sbc,postControlCmd,a,teardown)", "di(sbc,postControlCmd,b,teardown)",
			"di(sbc,postControlCmd,c,teardown)", "di(sbc,postControlCmd,d,teardown)",
		},
		CallIDOnly: {"teardown(call<&1)"},
		Kamailio:   {"dlg.terminate_dlg(call<&1,a,b)", "dlg.terminate_dlg(call<&1,c,a)"},
	} {
		require.Equal(t, want, methods(t, format.requests(call)))
	}
	// To the byte what rtpengine 10.5 sends.
	require.Equal(t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodCall>\r\n<methodName>teardown</methodName>\r\n<params>\r\n"+
		"<param><value><string>call&lt;&amp;1</string></value></param>\r\n</params>\r\n</methodCall>\r\n",
		string(CallIDOnly.requests(call)[0]))
}

func TestServerIsAsked(t *testing.T) {
	got := make(chan string, 10)
	answer := "<methodResponse/>"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Content-Type") + " " + r.URL.Path + " " + methods(t, [][]byte{body})[0]
		if strings.Contains(string(body), "lost") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	core, logs := observer.New(zapcore.InfoLevel)
	c, err := New(Config{URL: strings.Replace(server.URL, "127.0.0.1", placeholder, 1) + "/RPC2", Format: CallIDOnly, Log: zap.New(core)})
	require.NoError(t, err)
	defer c.Close()
	for _, id := range []string{"one", "lost"} {
		c.Tell(&Call{ID: id, From: netip.MustParseAddr("127.0.0.1")})
		select {
		case g := <-got:
			require.Equal(t, "text/xml /RPC2 teardown("+id+")", g)
		case <-time.After(5 * time.Second):
			t.Fatal("not asked")
		}
	}
	require.Eventually(t, func() bool {
		return logs.FilterMessage("teardown asked for").Len() == 1 && logs.FilterMessage("teardown failed").Len() == 1
	}, 5*time.Second, 10*time.Millisecond)
}

func TestSilentServerDoesNotHoldUpTheEnd(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer close(hold)
	c, err := New(Config{URL: server.URL, Log: zap.NewNop()})
	require.NoError(t, err)
	for range 2 * queueLength {
		c.Tell(&Call{ID: "x", Parties: []Party{{"a", "b"}}})
	}
	start := time.Now()
	c.Close()
	require.Less(t, time.Since(start), 2*time.Second)
}

func TestURLs(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:80", "ftp://h/", "http://", "http://[::1"} {
		_, err := New(Config{URL: bad, Log: zap.NewNop()})
		require.ErrorContains(t, err, "b2b-url", bad)
	}
}
