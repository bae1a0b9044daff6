//go:build integration

package conformance

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain moves the exams into a network namespace where that is possible, so
// that what daemons send to the addresses of scenarios goes nowhere.
func TestMain(m *testing.M) {
	code, err := Isolate()
	if err != nil && !errors.Is(err, ErrNoNamespace) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if code >= 0 {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}
