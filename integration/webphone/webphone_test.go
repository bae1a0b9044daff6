//go:build integration

// Package webphone is the exam of the page that the proxy serves: a user's whole
// visit in headless Chromium, through the project's proxy and media daemon, to
// the plain demo phone.
package webphone

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/integration/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxyConfig has, in order: host, SIP and HTTPS ports, users, ng address.
const proxyConfig = `listeners:
  - {name: phones, transport: udp, address: "%[1]s:%[2]d"}
  - {name: browsers, transport: wss, address: "%[1]s:%[3]d", path: /ws}
domains: [` + harness.Domain + `]
users:
%[4]sroutes:
  - {name: users, to: registered}
media: {nodes: ["udp:%[5]s"]}
storage: {path: ":memory:"}
tls: {local_ca: ca}
web: {phone: true, demo: true, demo_users: [alice], dial: [{number: '600', text: Echo}, {number: '601', text: A tone}]}
`

// accounts of the demo phone, by what they do with a call.
var accounts = map[string]string{
	"600": "echo", "601": "tone", "602": "callback", "603": "tone,busy", "604": "tone,no-answer", "605": "tone,early-media,ring=2s",
}

const visitLimit = 2 * time.Minute

func TestVisit(t *testing.T) {
	out := t.TempDir()
	if os.Getenv("EXAM_KEEP") != "" {
		out = filepath.Join("..", "out", "webphone")
		require.NoError(t, os.RemoveAll(out))
		require.NoError(t, os.MkdirAll(out, 0o755))
	}
	out, err := filepath.Abs(out)
	require.NoError(t, err)
	host := fmt.Sprintf("127.%d.200.1", 40+os.Getpid()%200)
	media, err := harness.StartMedia(build(t, out, "mediad"), "mediad", host, out)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, media.Stop()) })
	page, sip := startProxy(t, build(t, out, "proxy"), host, media.Address, out)
	control := startPhone(t, build(t, out, "deploy/demo-phone"), host, sip, out)

	exam := exec.Command("node", "exam.mjs", page, control, out, harness.Domain)
	exam.WaitDelay = 5 * time.Second
	timer := time.AfterFunc(visitLimit, func() { _ = exam.Process.Signal(os.Interrupt) })
	defer timer.Stop()
	report, err := exam.CombinedOutput()
	t.Logf("%s", report)
	require.NoError(t, err)
	require.Contains(t, string(report), "smallScreen\n")
	require.NoError(t, harness.Eventually(10*time.Second, media.Idle))
}

// build makes one of the project's programs.
func build(t *testing.T, dir, source string) string {
	t.Helper()
	path, err := harness.Build(dir, source)
	require.NoError(t, err)
	return path
}

func startProxy(t *testing.T, program, host, ng, dir string) (page, sip string) {
	t.Helper()
	sipPort, err := harness.FreePort(host)
	require.NoError(t, err)
	pagePort, err := harness.FreePort(host)
	require.NoError(t, err)
	users := "  - {name: alice, password: secret}\n"
	for user := range accounts {
		users += fmt.Sprintf("  - {name: %q, password: secret}\n", user)
	}
	config := filepath.Join(dir, "proxy.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, proxyConfig, host, sipPort, pagePort, users, ng), 0o600))
	proxy, err := harness.Start(harness.Spec{Name: "proxy", Path: program, Dir: dir, Args: []string{"-config", config}})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, proxy.Stop())
		if t.Failed() {
			t.Log(proxy.Tail(4000))
		}
	})
	page = "https://" + net.JoinHostPort(host, strconv.Itoa(pagePort)) + "/"
	require.NoError(t, proxy.Ready(func() error { return served(page) }))
	return page, net.JoinHostPort(host, strconv.Itoa(sipPort))
}

// served checks that the page is there.
func served(page string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the local CA is not the system's
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 2 * time.Second}).Get(page)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", page, response.Status, text)
	}
	return err
}

func startPhone(t *testing.T, program, host, sip, dir string) (control string) {
	t.Helper()
	port, err := harness.FreePort(host)
	require.NoError(t, err)
	address := net.JoinHostPort(host, strconv.Itoa(port))
	args := []string{"-listen", host + ":0", "-registrar", sip, "-domain", harness.Domain, "-control", address,
		"-log-sip", filepath.Join(dir, "phone-sip.jsonl")}
	for user, behaviour := range accounts {
		args = append(args, "-account", user+":secret:"+behaviour)
	}
	phone, err := harness.Start(harness.Spec{Name: "phone", Path: program, Dir: dir, Args: args})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, phone.Stop()) })
	control = "http://" + address
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	require.NoError(t, phone.Ready(func() error {
		response, err := (&http.Client{Transport: transport, Timeout: time.Second}).Get(control + "/accounts")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && strings.Count(string(text), `"registered":true`) != len(accounts) {
			err = fmt.Errorf("not all registered: %s", text)
		}
		return err
	}))
	return control
}
