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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
		{"--codecs", 0, "PCMA: passed through"},
		{"--help", 0, "--listen-ng"},
		{usual + "--nonsense", 2, "unknown option --nonsense"},
		{usual + "--timeout=x", 2, `timeout: "x" is not a whole number`},
		{usual + "--engine=sockets --table=0 --no-fallback", 1, "no kernel forwarding"},
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
		"recording-method = proc\nauto-port-range = 100\nno-such-key = 1\n"), 0o600))
	cmd := mediad("-f", "-E", "--no-log-timestamps", "--pidfile", pid, "--config-file", config)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	log := new(bytes.Buffer)
	addr := readUntil(t, stderr, log, regexp.MustCompile(`listening for ng commands \{"address": "([^"]+)"`))

	for _, want := range []string{
		`unknown option ignored {"option": "no-such-key", "source": "` + config + `:7"}`,
		`option has no effect in this version {"option": "recording-method"`, "media engine",
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

	replaceLine(t, config, "table = 0", "table = 0\ntimeout = 0x11\nlog-level-ice = 7\nnum-threads = 3")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	readUntil(t, stderr, log, regexp.MustCompile(`(configuration reloaded)`))
	require.Contains(t, log.String(), `option needs a restart to take effect {"option": "num-threads"}`)
	replaceLine(t, config, "interface = any", "interface = 127.0.0.1\ntos = 999")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	readUntil(t, stderr, log, regexp.MustCompile(`(not reloaded, the old one stays in force) \{"error": "[^"]+: tos: 999 is not within`))

	for _, sig := range []syscall.Signal{syscall.SIGUSR2, syscall.SIGTERM} { // only the last one ends it
		require.NoError(t, cmd.Process.Signal(sig))
		time.Sleep(50 * time.Millisecond)
	}
	rest, err := io.ReadAll(stderr)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s%s", log, rest)
	require.Contains(t, string(rest), "log level changed")
	require.NoFileExists(t, pid)
}

// replaceLine changes a file.
func replaceLine(t *testing.T, name, old, new string) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(text), old, new, 1)), 0o600))
}

// TestBackground starts the command without -f: it returns when the daemon is
// ready, which goes on by itself and can be ended by its PID file.
func TestBackground(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "m.pid")
	args := strings.Fields("--config-file=none -i 127.0.0.1 -n 127.0.0.1:0 --auto-port-range=100 -p " + pidfile)
	cmd := mediad(args...)
	require.NoError(t, cmd.Run())
	text, err := os.ReadFile(pidfile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NotEqual(t, cmd.ProcessState.Pid(), pid)
	session, err := unix.Getsid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, session, "it has a session of its own")

	out, err := mediad(append(args, "-f", "-E")...).CombinedOutput()
	require.Error(t, err, "a second one with the same PID file")
	require.Contains(t, string(out), fmt.Sprintf("process %d is running", pid))

	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, err := os.Stat(pidfile)
		return os.IsNotExist(err)
	}, 5*time.Second, 20*time.Millisecond)
}

// TestBackgroundThatCannotStart fails as in the foreground.
func TestBackgroundThatCannotStart(t *testing.T) {
	out, err := mediad(strings.Fields("--config-file=none -i 127.0.0.1 -n 127.0.0.1:0 --auto-port-range=100 -p /does/not/exist/pid")...).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, string(out), "pidfile")
}

// TestServiceManagerIsTold: the packaged unit has Type=notify.
func TestServiceManagerIsTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	require.NoError(t, manager.SetDeadline(time.Now().Add(5*time.Second)))
	cmd := mediad(strings.Fields("--config-file=none -f -E -i 127.0.0.1 -n 127.0.0.1:0 --auto-port-range=100")...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+name)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	told := func() string {
		buf := make([]byte, 100)
		n, err := manager.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
	require.Equal(t, "READY=1", told())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", told())
	require.NoError(t, cmd.Wait())
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
