//go:build integration

package conformance_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/ng-protocol/conformance"
)

// missing fails the test in CI and says what is missing elsewhere.
func missing(t *testing.T, what string) bool {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Log(what)
	return true
}

// start runs a daemon with the interfaces that the scenarios expect and returns
// its target.
func start(t *testing.T, program string, low int) string {
	t.Helper()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	address := probe.LocalAddr().String()
	require.NoError(t, probe.Close())
	logFile, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	daemon := exec.Command(program, "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=5",
		"--interface=pub/127.0.0.1", "--interface=pub/::1", "--interface=priv/127.0.0.2", "--listen-ng="+address,
		fmt.Sprintf("--port-min=%d", low), fmt.Sprintf("--port-max=%d", low+1999), "--delete-delay=0")
	daemon.Stdout, daemon.Stderr = logFile, logFile
	require.NoError(t, daemon.Start())
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait() // killed: its status tells nothing
		_ = logFile.Close()
		if t.Failed() {
			text, _ := os.ReadFile(logFile.Name())
			t.Logf("end of the log of %s:\n%s", program, text[max(0, len(text)-2000):])
		}
	})
	target := "udp:" + address
	ping, err := conformance.Parse("ping", strings.NewReader("## ping\n> ping\n< pong\n"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return conformance.Check(conformance.Runner{Target: target}, ping[0], nil).Passed()
	}, 10*time.Second, 20*time.Millisecond, "%s does not answer", program)
	return target
}

func exceptions(t *testing.T, name string) conformance.Exceptions {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	list, err := conformance.ParseExceptions(f)
	require.NoError(t, err)
	require.Less(t, len(list), 15, "the list of %s grows too long", name)
	return list
}

func playAll(t *testing.T, accepted conformance.Exceptions, play func(conformance.Scenario) conformance.Outcome) {
	t.Helper()
	scenarios, err := conformance.Builtin()
	require.NoError(t, err)
	require.Greater(t, len(scenarios), 150)
	for _, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) {
			o := play(s)
			require.NoError(t, o.Err)
			require.Empty(t, strings.Join(o.Diff, "\n"))
		})
	}
	require.NoError(t, accepted.Stale())
}

func buildMediad(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "mediad")
	out, err := exec.Command("go", "build", "-o", program, "github.com/tandem-sbc/tandem/mediad").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

func TestRTPEnginePassesAllScenarios(t *testing.T) {
	program, err := exec.LookPath("rtpengine")
	if err != nil && missing(t, "rtpengine is not installed: the scenarios are not checked against the original") {
		return
	}
	r := conformance.Runner{Target: start(t, program, 36000)}
	accepted := exceptions(t, "rtpengine-10.5.exceptions")
	playAll(t, accepted, func(s conformance.Scenario) conformance.Outcome { return conformance.Check(r, s, accepted) })
}

func TestMediadPassesAllScenarios(t *testing.T) {
	r := conformance.Runner{Target: start(t, buildMediad(t), 38000)}
	accepted := exceptions(t, "mediad.exceptions")
	playAll(t, accepted, func(s conformance.Scenario) conformance.Outcome { return conformance.Check(r, s, accepted) })
}

func TestMediadDoesAsRTPEngine(t *testing.T) {
	program, err := exec.LookPath("rtpengine")
	if err != nil && missing(t, "rtpengine is not installed: mediad is not compared with the original") {
		return
	}
	reference := conformance.Runner{Target: start(t, program, 36000)}
	target := conformance.Runner{Target: start(t, buildMediad(t), 38000)}
	accepted := append(exceptions(t, "mediad.exceptions"), exceptions(t, "rtpengine-10.5.exceptions")...)
	playAll(t, accepted, func(s conformance.Scenario) conformance.Outcome {
		return conformance.Compare(reference, target, s, accepted)
	})
}
