//go:build integration

package conformance_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

// start runs a daemon with the interfaces that the scenarios expect.
func start(t *testing.T, program string) conformance.Runner {
	t.Helper()
	var log bytes.Buffer
	daemon, err := conformance.Start(program, &log)
	require.NoError(t, err)
	t.Cleanup(func() {
		daemon.Stop()
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", program, log.Bytes()[max(0, log.Len()-2000):])
		}
	})
	return conformance.Runner{Target: daemon.Target}
}

func exceptions(t *testing.T, name string) conformance.Exceptions {
	t.Helper()
	list, err := conformance.Accepted(name)
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
	r := start(t, program)
	accepted := exceptions(t, "rtpengine")
	playAll(t, accepted, func(s conformance.Scenario) conformance.Outcome { return conformance.Check(r, s, accepted) })
}

func TestMediadPassesAllScenarios(t *testing.T) {
	r := start(t, buildMediad(t))
	accepted := exceptions(t, "mediad")
	playAll(t, accepted, func(s conformance.Scenario) conformance.Outcome { return conformance.Check(r, s, accepted) })
}

func TestMediadDoesAsRTPEngine(t *testing.T) {
	program, err := exec.LookPath("rtpengine")
	if err != nil && missing(t, "rtpengine is not installed: mediad is not compared with the original") {
		return
	}
	reference := start(t, program)
	target := start(t, buildMediad(t))
	accepted := append(exceptions(t, "mediad"), exceptions(t, "rtpengine")...)
	playAll(t, accepted, func(s conformance.Scenario) conformance.Outcome {
		return conformance.Compare(reference, target, s, accepted)
	})
}
