package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// startObserved starts a daemon that listens on TCP and HTTP too.
func startObserved(t *testing.T) *daemon {
	return startDaemon(t, func(s *settings.Settings) {
		s.Control.NGTCP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		s.Control.HTTP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	})
}

func (d *daemon) http(method, path, kind, body string) string {
	d.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest(method, "http://"+d.app.HTTP()[0].String()+path, strings.NewReader(body))
	require.NoError(d.t, err)
	req.Header.Set("Content-Type", kind)
	res, err := client.Do(req)
	require.NoError(d.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(d.t, err)
	require.Equal(d.t, http.StatusOK, res.StatusCode, string(text))
	return string(text)
}

func (d *daemon) metric(series string) float64 {
	d.t.Helper()
	for line := range strings.Lines(d.http(http.MethodGet, "/metrics", "", "")) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			var f float64
			_, err := fmt.Sscan(value, &f)
			require.NoError(d.t, err)
			return f
		}
	}
	d.t.Fatalf("no series %s", series)
	return 0
}

// The metrics follow a call from its offer to its end.
func TestMetricsOfACall(t *testing.T) {
	d := startObserved(t)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	require.Zero(t, d.metric(`rtpengine_sessions{type="own"}`))
	connectPhones(d, a, b, nil)
	talk(t, a, b)
	require.EqualValues(t, 1, d.metric(`rtpengine_sessions{type="own"}`))
	require.EqualValues(t, 2, d.metric(`rtpengine_mediastreams{type="userspace"}`))
	require.EqualValues(t, 4, d.metric(`rtpengine_ports_used{name="default",address="127.0.0.1"}`))
	packets := d.metric(`rtpengine_packets_total{type="userspace"}`)
	require.Positive(t, packets)
	d.delete(&ng.Request{CallID: "call"})
	require.Zero(t, d.metric(`rtpengine_sessions{type="own"}`))
	require.EqualValues(t, 1, d.metric(`rtpengine_sessions_total`))
	require.EqualValues(t, 1, d.metric(`rtpengine_closed_sessions_total{reason="terminated"}`))
	require.GreaterOrEqual(t, d.metric(`rtpengine_packets_total{type="userspace"}`), packets, "the packets of an ended call are lost")
	require.Positive(t, d.metric(`rtpengine_call_duration_total`))
	require.EqualValues(t, 1, d.metric(`rtpengine_requests_total{proxy="127.0.0.1",request="offer"}`))
	require.EqualValues(t, 1, d.metric(`rtpengine_requests_total{proxy="127.0.0.1",request="delete"}`))
	require.Zero(t, d.metric(`rtpengine_errors_total{proxy="127.0.0.1"}`))
}

// Commands of one call may come over all transports.
func TestOneCallOverAllTransports(t *testing.T) {
	d := startObserved(t)
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	d.offer(&ng.Request{CallID: "call", FromTag: "a", SDP: a.sdp(0)}) // UDP

	answer, err := ng.EncodeRequest(&ng.Request{
		Command: ng.CommandAnswer, CallID: "call", FromTag: "a", ToTag: "b", SDP: b.sdp(0),
	}, ng.FormatJSON)
	require.NoError(t, err)
	require.Contains(t, d.http(http.MethodPost, "/ng-plain", "application/json", string(answer)), `"result":"ok"`)

	conn, err := net.Dial("tcp", d.app.NGTCP()[0].String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, "tcp d7:command4:liste")
	require.NoError(t, err)
	want := "tcp d5:callsl4:calle6:result2:oke"
	got := make([]byte, len(want))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))

	require.Contains(t, d.http(http.MethodPost, "/ng", "application/x-rtpengine-ng", "del d7:call-id4:call7:command6:deletee"), "6:result2:ok")
	require.Empty(t, d.list())
}
