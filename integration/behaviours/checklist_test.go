//go:build integration

package behaviours

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// elsewhere are the tests of what is not seen from outside in a moment: they stand beside the code, with shorter timers or
// with both halves under load.
var elsewhere = map[string][]string{
	"behaviour 9":  {"proxy/internal/forward TestCallSurvivesRestart", "proxy/internal/bridge TestReinviteFromThePhoneKeepsTheBrowsersFlags"},
	"behaviour 23": {"proxy/internal/forward TestRingingForever"},
	"behaviour 34": {"proxy/internal/app TestCallFollowsThePage"},
	"behaviour 42": {"proxy/internal/forward TestCallSurvivesRestart"},
	"behaviour 45": {"proxy/internal/bridge TestInfoBecomesTelephoneEvents", "proxy/internal/bridge TestTelephoneEventsBecomeInfo"},
	"fault 7":      {"proxy/internal/registrar TestAoRModeAbsorbsOnTheSameConnectionOnly", "proxy/internal/registrar TestUDPIsNeverAbsorbedUnlessProved"},
	"behaviour 44": {"proxy/internal/app TestDeadDaemonIsAnsweredQuickly", "proxy/internal/bridge TestDeadDaemonAndBye"},
}

// TestChecklist holds the list to one test for each behaviour and fault.
func TestChecklist(t *testing.T) {
	have := map[string]bool{}
	for _, b := range behaviours() {
		have[fmt.Sprintf("behaviour %d", b.number)] = true
	}
	for _, b := range faults() {
		have[fmt.Sprintf("fault %d", b.number)] = true
	}
	for number, tests := range elsewhere {
		for _, test := range tests {
			folder, name, _ := strings.Cut(test, " ")
			if !declared(t, filepath.Join("..", "..", filepath.FromSlash(folder)), name) {
				t.Errorf("%s: %s has no %s", number, folder, name)
			}
		}
		have[number] = true
	}
	for i := range 52 {
		if number := fmt.Sprintf("behaviour %d", i+1); !have[number] {
			t.Errorf("%s has no test", number)
		}
	}
	for i := range 10 {
		if number := fmt.Sprintf("fault %d", i+1); !have[number] {
			t.Errorf("%s has no test", number)
		}
	}
}

// declared reports a test function in a folder.
func declared(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if function.Match(text) {
			return true
		}
	}
	return false
}
