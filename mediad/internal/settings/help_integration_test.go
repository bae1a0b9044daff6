//go:build integration

package settings

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// reference is the program whose options these are.
const reference = "rtpengine"

// helpLine is a line of --help: short name, long name, kind of value.
var helpLine = regexp.MustCompile(`^  (?:-(\w), )?--([a-z0-9-]+)(=\S+)?`)

// TestEveryOptionOfTheOriginalIsKnown compares --help of the original with our
// options: names, short names, and whether there is a value.
func TestEveryOptionOfTheOriginalIsKnown(t *testing.T) {
	out, err := exec.Command(reference, "--help").Output()
	if err != nil {
		t.Fatalf("needs %s: %v", reference, err)
	}
	// Of these --help does not tell that they take a value.
	silent := map[string]bool{"log-mark-prefix": true, "log-mark-suffix": true, "redis-delete-async-interval": true, "dtmf-digit-delay": true}
	known, n := options(), 0
	for line := range strings.Lines(string(out)) {
		m := helpLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n++
		o := find(known, m[2])
		if o == nil {
			t.Errorf("--%s is not known", m[2])
			continue
		}
		if m[1] != "" && o.short != m[1][0] {
			t.Errorf("--%s: short name is %q, want %q", m[2], o.short, m[1])
		}
		if hasValue := m[3] != "" || silent[m[2]]; hasValue == o.isBool {
			t.Errorf("--%s: takes a value: %v, want %v", m[2], !o.isBool, hasValue)
		}
	}
	if n < 130 {
		t.Errorf("found only %d options", n)
	}
}

// TestInstalledFileStarts reads the file as it is installed.
func TestInstalledFileStarts(t *testing.T) {
	if _, err := os.Stat(DefaultConfigFile); err != nil {
		t.Fatalf("needs the package of %s: %v", reference, err)
	}
	text, err := os.ReadFile(DefaultConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(nil); err != nil {
		t.Error(err)
	}
	// Every key that stands there as a comment is known, too.
	known := options()
	for _, m := range regexp.MustCompile(`(?m)^#? *([a-z0-9-]+) *=`).FindAllStringSubmatch(string(text), -1) {
		if m[1] != "myser-pass" && find(known, m[1]) == nil { // a slip of the pen there
			t.Errorf("%s is not known", m[1])
		}
	}
}
