//go:build integration

package behaviours

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A behaviour is one line of the list.
type behaviour struct {
	number int
	words  string
	run    func(*testing.T, *site)
}

// behaviours are those that are seen from outside; the others stand in elsewhere.
func behaviours() []behaviour {
	return slices.Concat(sessions(), forks(), transactions(), transports(), ends(), others())
}

func TestBehaviour(t *testing.T) {
	s := start(t)
	each(t, s, "", behaviours())
	each(t, s, "fault-", faults())
	each(t, s, "core-", core())
}

func each(t *testing.T, s *site, kind string, list []behaviour) {
	for _, b := range list {
		t.Run(fmt.Sprintf("%s%02d-%s", kind, b.number, strings.ReplaceAll(b.words, " ", "-")), func(t *testing.T) {
			t.Parallel()
			b.run(t, s)
		})
	}
}
