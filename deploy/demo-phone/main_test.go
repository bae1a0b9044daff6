package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/control"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/phone"
	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	o, err := parse([]string{"-listen", "127.0.0.1:0", "-registrar", "127.0.0.1:5060", "-ring", "2s", "-account", "600:pw:echo", "-account", "601:pw:tone,ring=1s"})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", o.phone.Domain)
	require.Equal(t, 2*time.Second, o.phone.Accounts[0].Ring)
	require.Equal(t, time.Second, o.phone.Accounts[1].Ring)
	for want, args := range map[string][]string{
		"no -account":         nil,
		"-listen":             {"-listen", "nowhere", "-account", "600:pw:echo"},
		"-media":              {"-media", "nowhere", "-account", "600:pw:echo"},
		"-registrar":          {"-registrar", "nowhere", "-account", "600:pw:echo"},
		"unknown codec":       {"-codecs", "opus", "-account", "600:pw:echo"},
		"unexpected argument": {"-account", "600:pw:echo", "more"},
	} {
		_, err := parse(args)
		require.ErrorContains(t, err, want)
	}
}

// api calls the control API and decodes its answer into out.
func api(t *testing.T, base, path, body string, out any) int {
	t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, base+path, strings.NewReader(body))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.NoError(t, json.NewDecoder(res.Body).Decode(out))
	return res.StatusCode
}

func TestControlDrivesACall(t *testing.T) {
	var log bytes.Buffer
	o, err := parse([]string{"-ring", "0s", "-account", "601:pw:tone", "-account", "602:pw:silence"})
	require.NoError(t, err)
	o.phone.Log, o.phone.SIPLog = zap.NewNop(), wire.NewLog(&log)
	p, err := phone.Start(o.phone)
	require.NoError(t, err)
	server := httptest.NewServer(control.Handler(p))
	defer func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
		require.NoError(t, p.Close())
	}()

	var problem map[string]string
	require.Equal(t, 404, api(t, server.URL, "/call", `{"to":"sip:x@127.0.0.1","user":"nobody"}`, &problem))
	require.Equal(t, 404, api(t, server.URL, "/hold", `{}`, &problem))
	require.Equal(t, 409, api(t, server.URL, "/call", `{"to":"tel:1","user":"601"}`, &problem))
	require.Equal(t, 400, api(t, server.URL, "/call", `{"unknown":1}`, &problem))

	var id map[string]string
	require.Equal(t, 200, api(t, server.URL, "/call", `{"user":"602","to":"sip:601@`+p.Address().String()+`"}`, &id))
	find := func(user string) (found phone.Snapshot) {
		var calls []phone.Snapshot
		api(t, server.URL, "/calls", "", &calls)
		for _, c := range calls {
			if c.User == user {
				found = c
			}
		}
		return found
	}
	require.Eventually(t, func() bool { f := find("602").RTP.Frequency; return f > 435 && f < 445 }, 5*time.Second, 50*time.Millisecond)
	// Both ends are in this phone under one Call-ID, so a command reaches either of them; both see its effect.
	require.Equal(t, 200, api(t, server.URL, "/hold", `{"id":"`+id["id"]+`","direction":"inactive"}`, &id))
	require.Eventually(t, func() bool { return find("601").Media == "inactive" && find("602").Media == "inactive" }, 2*time.Second, 20*time.Millisecond)
	require.Equal(t, 200, api(t, server.URL, "/hangup", `{"id":"`+id["id"]+`"}`, &id))
	require.Eventually(t, func() bool { return find("601").State == phone.Ended && find("602").State == phone.Ended }, 2*time.Second, 20*time.Millisecond)
	require.NoError(t, p.Close())
	require.Contains(t, log.String(), `"start":"INVITE sip:601@`)
}

func TestServeEndsWithItsContext(t *testing.T) {
	o, err := parse([]string{"-account", "601:pw:tone", "-control", "127.0.0.1:0"})
	require.NoError(t, err)
	o.phone.Log = zap.NewNop()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	require.NoError(t, serve(ctx, o))

	o.control = "nowhere"
	require.ErrorContains(t, serve(context.Background(), o), "control")
	require.ErrorIs(t, run([]string{"-log-sip", "/nonexistent/x", "-account", "601:pw:tone"}), os.ErrNotExist)
}
