package steer

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if code, done := elsewhere(); done {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}
