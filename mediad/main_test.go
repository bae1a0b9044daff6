package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asMediad makes the test binary behave as the command.
const asMediad = "TEST_AS_MEDIAD"

func TestMain(m *testing.M) {
	if os.Getenv(asMediad) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func mediad(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMediad+"=1")
	return cmd
}

func TestExitCodes(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	usual := "--config-file=none -f -E -i 127.0.0.1 -n 127.0.0.1:0 --auto-port-range=100 "
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--version", 0, "mediad "},
		{"--help", 0, "--listen-ng"},
		{usual + "--nonsense", 2, "unknown option --nonsense"},
		{usual + "--timeout=x", 2, `timeout: "x" is not a whole number`},
		{usual + "--table=0 --no-fallback", 1, "no kernel forwarding"},
		{usual + "-p /does/not/exist/pid", 1, "pidfile"},
		{usual + "-n " + taken.LocalAddr().String(), 1, "address already in use"},
		{"--config-file=none -f -E -i 192.0.2.77 -n 127.0.0.1:0 --auto-port-range=100", 1, "auto-port-range"},
	} {
		out, err := mediad(strings.Fields(c.args)...).CombinedOutput()
		code := 0
		if exit, ok := err.(*exec.ExitError); ok {
			code = exit.ExitCode()
		}
		require.Equal(t, c.code, code, "%s\n%s", c.args, out)
		require.Contains(t, string(out), c.says, c.args)
	}
}

// TestRunsUntilSIGTERM starts the command with a file as a package would
// install it, pings it and ends it.
func TestRunsUntilSIGTERM(t *testing.T) {
	dir := t.TempDir()
	config, pid := filepath.Join(dir, "m.conf"), filepath.Join(dir, "m.pid")
	require.NoError(t, os.WriteFile(config, []byte("[rtpengine]\ntable = 0\ninterface = any\nlisten-ng = 127.0.0.1:0\n"+
		"listen-cli = localhost:2224\nrecording-method = proc\nauto-port-range = 100\nno-such-key = 1\n"), 0o600))
	cmd := mediad("-f", "-E", "--no-log-timestamps", "--pidfile", pid, "--config-file", config)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	log := new(bytes.Buffer)
	addr := readUntil(t, stderr, log, regexp.MustCompile(`listening for ng commands \{"address": "([^"]+)"`))

	for _, want := range []string{
		`unknown option ignored {"option": "no-such-key", "source": "` + config + `:8"}`,
		`listener is not served by this version {"option": "listen-cli"`, "user space",
	} {
		require.Contains(t, log.String(), want)
	}
	text, err := os.ReadFile(pid)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintln(cmd.Process.Pid), string(text))

	conn, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Write([]byte("cookie d7:command4:pinge"))
	require.NoError(t, err)
	reply := make([]byte, 1000)
	n, err := conn.Read(reply)
	require.NoError(t, err)
	require.Equal(t, "cookie d6:result4:ponge", string(reply[:n]))

	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGTERM} { // only the last one ends it
		require.NoError(t, cmd.Process.Signal(sig))
		time.Sleep(50 * time.Millisecond)
	}
	rest, err := io.ReadAll(stderr)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s%s", log, rest)
	require.Contains(t, string(rest), "signal ignored")
	require.Contains(t, string(rest), "log level changed")
	require.NoFileExists(t, pid)
}

// readUntil copies r to log until a line matches, and returns its first group.
func readUntil(t *testing.T, r io.Reader, log *bytes.Buffer, pattern *regexp.Regexp) string {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		log.Write(buf[:n])
		if m := pattern.FindSubmatch(log.Bytes()); m != nil {
			return string(m[1])
		}
		require.NoError(t, err, log.String())
	}
}
