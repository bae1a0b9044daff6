//go:build integration

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// TestTwoDaemonsShareNoPorts: with ports that are no sockets, the second daemon does not start, and says whose ports it would have had.
func TestTwoDaemonsShareNoPorts(t *testing.T) {
	work := t.TempDir()
	mediad, err := binary(work)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newLoopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range candidates(mediad, "") {
		if c.Sockets {
			continue
		}
		r, err := c.start(s, work, 0)
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Join(c.args(s), " ")
		args = strings.ReplaceAll(strings.ReplaceAll(args, ngAddress, "127.0.0.1:2224"), "--port-max=59999", "--port-max=10001")
		second, err := s.daemon.Start(harness.Spec{Name: "second", Path: mediad, Args: strings.Fields(args), Dir: work})
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Wait(10 * time.Second); err == nil {
			t.Errorf("%s: the second daemon has ended without an error", c.Name)
		}
		const says = "ports 10000-10001 of 127.0.0.1 are wanted, and a mediad has 10000-59999 of 127.0.0.1"
		if log := second.Tail(2000); !strings.Contains(log, says) {
			t.Errorf("%s: the second daemon says %s", c.Name, log)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}
