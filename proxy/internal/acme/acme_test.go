package acme

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/acme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRetries(t *testing.T) {
	for failures, least := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 5: 16 * time.Minute, 30: 6 * time.Hour} {
		wait := retryAfter(errors.New("x"), failures)
		require.GreaterOrEqual(t, wait, least)
		require.LessOrEqual(t, wait, least*5/4)
	}
	limited := &acme.Error{ProblemType: "urn:ietf:params:acme:error:rateLimited", Header: http.Header{"Retry-After": {"7200"}}}
	require.Equal(t, 2*time.Hour, retryAfter(limited, 1).Round(time.Second))
}

// A server that refuses is asked once, and what it says stands in the log; the proxy starts all the same.
func TestRefused(t *testing.T) {
	asked := make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"type":"urn:ietf:params:acme:error:unauthorized","detail":"go away"}`))
	}))
	defer server.Close()
	core, logs := observer.New(zap.InfoLevel)
	dir := t.TempDir()
	c, err := New(Config{Directory: server.URL, Names: []string{"sbc.example"}, Challenge: TLSALPN01, Dir: dir}, zap.New(core))
	require.NoError(t, err)
	<-asked
	require.Eventually(t, func() bool { return logs.FilterMessage("certificate not obtained").Len() == 1 }, 5*time.Second, 5*time.Millisecond)
	require.Contains(t, logs.All()[0].ContextMap()["error"], "go away")
	require.Nil(t, c.Certificate(&tls.ClientHelloInfo{ServerName: "sbc.example"}))
	require.Nil(t, c.Challenge(&tls.ClientHelloInfo{ServerName: "sbc.example"}))
	c.Close()
	require.Empty(t, asked)
	key, err := filepath.Glob(filepath.Join(dir, "*", accountFile))
	require.NoError(t, err)
	info, err := os.Stat(key[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = New(Config{Directory: "x"}, zap.NewNop())
	require.Error(t, err)
	_, err = New(Config{Directory: server.URL, Challenge: HTTP01, HTTP: "256.0.0.1:1", Dir: dir}, zap.NewNop())
	require.Error(t, err)
}
