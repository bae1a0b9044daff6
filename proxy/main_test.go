package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is a buffer for a program that runs meanwhile.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func file(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "proxy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestExitCodes(t *testing.T) {
	bad := file(t, "listeners: 1\n")
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"check", "../deploy/proxy.yaml"}, 0, ""},
		{[]string{"check", bad}, 1, "proxy.yaml:1: listeners: must be a list"},
		{[]string{"check", bad + ".missing"}, 1, "no such file"},
		{[]string{"-config", bad}, 1, "proxy.yaml:1: listeners: must be a list"},
		{[]string{"check"}, 2, "usage:"},
		{[]string{"schema"}, 0, ""},
		{[]string{"explain", "../deploy/proxy.yaml", "192.0.2.1:5060"}, 1, "admin.address: missing"},
		{[]string{"explain", "../deploy/proxy.yaml"}, 2, "usage:"},
		{[]string{"user", "set"}, 2, "usage:"},
		{[]string{"-bogus"}, 2, "usage:"},
		{[]string{"extra"}, 2, "usage:"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(t.Context(), c.args, strings.NewReader(""), &stdout, &stderr), "%v: %s", c.args, &stderr)
		require.Contains(t, stderr.String(), c.stderr)
	}
}

func TestRunsUntilAsked(t *testing.T) {
	path := file(t, fmt.Sprintf(`
listeners:
  - {name: phones, transport: udp, address: "127.0.0.1:0"}
  - {name: browsers, transport: wss, address: "127.0.0.1:0"}
domains: [localhost]
users: [{name: alice, password: a-secret-word}]
storage: {path: %q}
tls: {local_ca: %q}
log: {level: debug, format: json}
`, filepath.Join(t.TempDir(), "proxy.db"), filepath.Join(t.TempDir(), "ca")))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout bytes.Buffer
	var stderr output
	code := make(chan int)
	go func() { code <- run(ctx, []string{"-config", path}, strings.NewReader(""), &stdout, &stderr) }()
	require.Eventually(t, func() bool { return strings.Contains(stderr.String(), "proxy ready") }, 10*time.Second, 10*time.Millisecond)
	stop()
	select {
	case got := <-code:
		require.Zero(t, got, stderr.String())
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
	require.NotContains(t, stderr.String(), "a-secret-word")
}
