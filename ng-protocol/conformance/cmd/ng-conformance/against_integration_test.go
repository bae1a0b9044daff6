//go:build integration

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAgainst runs the command as it is used: it finds rtpengine in PATH and
// mediad beside itself, starts both, also for the fuzzer, and leaves none behind.
func TestAgainst(t *testing.T) {
	if _, err := exec.LookPath("rtpengine"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("rtpengine is not installed: the command is not examined")
		}
		t.Log("rtpengine is not installed: the command is not examined")
		return
	}
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin, ".", "github.com/tandem-sbc/tandem/mediad").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, c := range []struct{ args, want string }{
		{"--against rtpengine --against mediad -only basic/exchange", `(?s)rtpengine: 13 of 13 scenarios pass.*mediad: 13 of 13 scenarios pass`},
		{"-loopback -transport http -only framing/cache rtpengine", `rtpengine: 3 of 3 scenarios pass`},
		{"-v -reference rtpengine -only codec/strip mediad", `mediad: 12 of 12 scenarios pass`},
		{"fuzz -reference rtpengine -count 20 rtpengine", `0 of 20 conversations differ`},
		{"fuzz -commands -count 20 -examples 1 mediad", `of 20 conversations differ`},
		{"-record testdata/ask.txt -logs " + bin + " " + filepath.Join(bin, "mediad"), `< pong`},
	} {
		args := strings.Fields(c.args)
		out, err := exec.Command(filepath.Join(bin, "ng-conformance"), args...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil {
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.ExitCode(), "%s: %s", c.args, out)
		}
		require.Regexp(t, c.want, string(out), c.args)
	}
}
