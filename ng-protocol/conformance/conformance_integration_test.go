//go:build integration

package conformance_test

import (
	"bytes"
	"context"
	"io"
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
	require.Greater(t, len(scenarios), 900)
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
	if program := os.Getenv("EXAM_MEDIAD"); program != "" {
		return program
	}
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

// TestRandomConversations: mediad outlives what the grammars make of a seed, and
// does as rtpengine in nearly all of it. Long runs are those of the command.
func TestRandomConversations(t *testing.T) {
	program, err := exec.LookPath("rtpengine")
	if err != nil && missing(t, "rtpengine is not installed: mediad is not compared with the original") {
		return
	}
	mediad := buildMediad(t)
	for name, c := range map[string]struct {
		scenario func(int) conformance.Scenario
		most     int // differing conversations of a hundred
	}{
		"calls":    {conformance.Generator{Seed: 2026}.Scenario, 30},
		"commands": {conformance.Generator{Seed: 2026}.Requests, 10},
	} {
		t.Run(name, func(t *testing.T) {
			target := start(t, mediad)
			var daemons []*conformance.Daemon
			defer func() {
				for _, d := range daemons {
					d.Stop()
				}
			}()
			f := conformance.Fuzzer{
				Connect: func() (conformance.Runner, conformance.Runner, error) {
					original, err := conformance.Start(program, io.Discard) // again when it has crashed
					if err != nil {
						return conformance.Runner{}, target, err
					}
					daemons = append(daemons, original)
					return conformance.Runner{Target: original.Target}, target, nil
				},
				Scenario: c.scenario, Examples: -1,
			}
			ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
			defer cancel()
			found, err := f.Run(ctx, 0, 400)
			require.NoError(t, err)
			for _, kind := range found.Clusters {
				require.NotEqual(t, conformance.Died+"target", kind.Kind)
			}
			t.Logf("%d of %d conversations differ", found.Differing, found.Played)
			require.Less(t, found.Differing*100, found.Played*c.most, "%d of %d", found.Differing, found.Played)
		})
	}
}
