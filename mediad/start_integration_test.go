//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

// insideVariable tells a test that it runs in a network namespace of its own.
const insideVariable = "TEST_IN_NAMESPACE"

// namespace gives a new namespace the addresses that the tests speak of.
const namespace = `
set -e
ip link set lo up
for a in 203.0.113.1/32 203.0.113.2/32; do ip addr add $a dev lo; done
for a in 2001:db8:4321::1/128 2001:db8:4321::2/128; do ip addr add $a dev lo nodad; done
ip link add v0 type veth peer name v1
ip addr add 198.51.100.10/24 dev v0
ip addr add 2001:db8:5::1/64 dev v0 nodad
ip link set v0 up
ip link set v1 up
exec "$@"
`

// inNamespace runs the rest of the test in a network namespace of its own: it
// returns false in the process that has started that.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	cmd := exec.Command("unshare", "--net", "sh", "-c", namespace, "sh", os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// running is a mediad in this namespace.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan error
}

// startWith starts mediad and waits until it answers on the control address.
func startWith(t *testing.T, control string, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: mediad(args...), done: make(chan error, 1)}
	r.cmd.Stderr = &r.log
	require.NoError(t, r.cmd.Start())
	go func() { r.done <- r.cmd.Wait() }()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if reply, err := ask(control, map[string]any{"command": "ping"}); err == nil && reply["result"] == "pong" {
			return r
		}
		select {
		case err := <-r.done:
			t.Fatalf("%v: %v\n%s", args, err, &r.log)
		default:
		}
		if time.Now().After(end) {
			_ = r.cmd.Process.Kill()
			<-r.done
			t.Fatalf("%v: no answer from %s\n%s", args, control, &r.log)
		}
	}
}

func (r *running) stop() {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-r.done:
		require.NoError(r.t, err, r.log.String())
	case <-time.After(10 * time.Second):
		_ = r.cmd.Process.Kill()
		r.t.Fatal("does not end")
	}
}

// ask sends a command as JSON.
func ask(control string, command map[string]any) (map[string]any, error) {
	conn, err := net.Dial("udp", control)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	body, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	cookie := fmt.Sprintf("c%d ", time.Now().UnixNano())
	if _, err := conn.Write(append([]byte(cookie), body...)); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	if err != nil {
		return nil, err
	}
	var reply map[string]any
	return reply, json.Unmarshal(bytes.TrimPrefix(buf[:n], []byte(cookie)), &reply)
}

var (
	mediaLine      = regexp.MustCompile(`(?m)^m=`)
	connectionLine = regexp.MustCompile(`(?m)^c=IN IP[46] (\S+)\r?$`)
	candidateLine  = regexp.MustCompile(`(?m)^a=candidate:\S+ 1 UDP \d+ (\S+) `)
)

// offered sends an offer and returns the address in c= and those of the
// candidates.
func offered(t *testing.T, control string, more map[string]any) string {
	t.Helper()
	command := map[string]any{
		"command": "offer", "call-id": fmt.Sprint(time.Now().UnixNano()), "from-tag": "a", "ICE": "force",
		"sdp": "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\nc=IN IP4 198.51.100.1\r\n",
	}
	for k, v := range more {
		command[k] = v
	}
	reply, err := ask(control, command)
	require.NoError(t, err)
	body, ok := reply["sdp"].(string)
	require.True(t, ok, reply)
	words := []string{connectionLine.FindStringSubmatch(body)[1]}
	for _, m := range candidateLine.FindAllStringSubmatch(body, -1) {
		words = append(words, m[1])
	}
	return strings.Join(words, " ")
}

// TestLinesOfOthers starts mediad with the command lines that people and test
// suites give to rtpengine.
func TestLinesOfOthers(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	usual := "--config-file=none -t -1 -i 203.0.113.1 -i 2001:db8:4321::1 -n 2223 -f -L 7 -E"
	v6 := map[string]any{"address family": "IP6"}
	to := func(name string) map[string]any { return map[string]any{"direction": []string{name, name}} }
	for _, c := range []struct {
		line string
		more map[string]any
		want string
	}{
		{usual, nil, "203.0.113.1 203.0.113.1 2001:db8:4321::1"},
		{usual, v6, "2001:db8:4321::1 2001:db8:4321::1 203.0.113.1"},
		{usual + " -S", nil, "203.0.113.1 203.0.113.1"},
		{usual + " -c 12345 -u 2222 --silence-detect=1", nil, "203.0.113.1 203.0.113.1 2001:db8:4321::1"},
		{usual + " --log-level-internals=7 --dtx-delay 50 --listen-http=127.0.0.1:9101 --table=-1", nil, "203.0.113.1 203.0.113.1 2001:db8:4321::1"},
		{"--config-file=none -fE -L7 -n2223 -i203.0.113.2 --interface=pub/203.0.113.1!198.51.100.77", to("pub"), "198.51.100.77 198.51.100.77"},
		{"--config-file=none -fE -n 2223 -i x:1/203.0.113.2 -i x:2/203.0.113.1", to("x"), "203.0.113.2 203.0.113.2"},
		{"--config-file=none -fE -n 2223 -i v0", nil, "198.51.100.10 198.51.100.10 2001:db8:5::1"},
		{"--config-file=none -fE -n 2223 -i any", nil, "198.51.100.10 198.51.100.10 2001:db8:5::1"},
		{"--config-file=none -fE -n 127.0.0.1:2223 -i 203.0.113.1 -i other/lo -i alias=other", to("alias"), "127.0.0.1"},
	} {
		r := startWith(t, "127.0.0.1:2223", strings.Fields(c.line)...)
		got := offered(t, "127.0.0.1:2223", c.more)
		r.stop()
		if c.want == "127.0.0.1" { // lo has many
			got, _, _ = strings.Cut(got, " ")
		}
		require.Equal(t, c.want, got, c.line)
	}
}

// TestFilesOfOthers starts mediad with files as they are written for rtpengine.
func TestFilesOfOthers(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const sections = "[rtpengine]\ninterfaces-config = interface\ntemplates = templates\nlisten-ng = 2223\nlog-stderr=true\nforeground = 1\n" +
		"[interface-one]\naddress = 203.0.113.1\nadvertised = 198.51.100.9\nport-min = 31000\nport-max = 31001\n" +
		"[interface-two]\naddress=203.0.113.2\nalias=deux\n[templates]\noffer = direction=deux direction=deux\n"
	for _, c := range []struct {
		text string
		more map[string]any
		want string
	}{
		{
			"[rtpengine]\ntable = -1\ninterface = 203.0.113.1 ; 2001:db8:4321::1 ; out/203.0.113.2!198.51.100.5\nlisten-ng = 2223 ; 127.0.0.1:2224\n" +
				"foreground = true\nlog-stderr = true\n",
			map[string]any{"direction": []string{"out", "default"}}, "203.0.113.1 203.0.113.1 2001:db8:4321::1",
		},
		{sections, nil, "203.0.113.2 203.0.113.2"},
	} {
		file := filepath.Join(t.TempDir(), "rtpengine.conf")
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		r := startWith(t, "127.0.0.1:2223", "--config-file="+file)
		got := offered(t, "127.0.0.1:2223", c.more)
		r.stop()
		require.Equal(t, c.want, got, c.text)
	}
}

// TestInstalledFile starts mediad as the packaged unit does, with the file as
// it is installed.
func TestInstalledFile(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	_, err := os.Stat(settings.DefaultConfigFile)
	require.NoError(t, err, "needs the package of rtpengine")
	pid := filepath.Join(t.TempDir(), "pid")
	r := startWith(t, "127.0.0.1:2223", "-f", "-E", "--no-log-timestamps", "--pidfile", pid, "--config-file", settings.DefaultConfigFile)
	require.FileExists(t, pid)
	require.Equal(t, "198.51.100.10 198.51.100.10 2001:db8:5::1", offered(t, "127.0.0.1:2223", nil))
	answer, err := http.Get("http://127.0.0.1:2225/ping")
	require.NoError(t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, "pong\n", string(text))
	cli, err := net.Dial("tcp", "127.0.0.1:2224")
	require.NoError(t, err)
	require.NoError(t, cli.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = cli.Write([]byte("list numsessions\n"))
	require.NoError(t, err)
	text, err = io.ReadAll(cli)
	require.NoError(t, err)
	cli.Close()
	require.Contains(t, string(text), "Current sessions total: 1")
	r.stop()
}
