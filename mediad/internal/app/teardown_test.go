package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// TestSIPServerIsAskedToEndWhatTimesOut: it is told of calls that a timer ends,
// not of those that it has deleted itself.
func TestSIPServerIsAskedToEndWhatTimesOut(t *testing.T) {
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- string(body)
	}))
	defer server.Close()
	d := startDaemon(t, func(s *settings.Settings) {
		s.Limits.Timeout = time.Second
		s.Export.B2BURL, s.Export.XMLRPCFormat = server.URL+"/RPC2", 2
	})
	a, b := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	connectPhones(d, a, b, nil)
	d.offer(&ng.Request{CallID: "deleted", FromTag: "a", SDP: a.sdp(0)})
	d.delete(&ng.Request{CallID: "deleted"})
	select {
	case body := <-asked:
		require.Contains(t, body, "dlg.terminate_dlg")
		require.Contains(t, body, "<string>call</string>")
	case <-time.After(5 * time.Second):
		t.Fatal("not asked")
	}
	require.Empty(t, asked)
}
