package sockets

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/pkg/uring"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(generatorVariable); args != "" {
		if err := generate(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// bothLoops runs a test over epoll and over io_uring. Where the machine forbids the latter that half is skipped, but not in CI.
func bothLoops(t *testing.T, test func(t *testing.T, ring Ring)) {
	t.Run("epoll", func(t *testing.T) { test(t, Off) })
	t.Run("io_uring", func(t *testing.T) {
		needRing(t)
		test(t, On)
	})
}

func needRing(t testing.TB) {
	t.Helper()
	e, err := New(Config{Ring: On, Workers: 1})
	switch {
	case err == nil:
		err = e.Close()
	case errors.Is(err, uring.ErrUnsupported) && os.Getenv("CI") == "":
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
