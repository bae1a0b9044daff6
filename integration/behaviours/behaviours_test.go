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

func (b behaviour) name() string {
	return fmt.Sprintf("%02d-%s", b.number, strings.ReplaceAll(b.words, " ", "-"))
}

// behaviours are those that are seen from outside; the others stand in elsewhere.
func behaviours() []behaviour {
	return slices.Concat(sessions(), forks(), transactions(), transports(), ends(), others())
}

func TestBehaviour(t *testing.T) { each(t, start(t), behaviours()) }

func TestFault(t *testing.T) { each(t, start(t), faults()) }

func each(t *testing.T, s *site, list []behaviour) {
	for _, b := range list {
		t.Run(b.name(), func(t *testing.T) {
			t.Parallel()
			b.run(t, s)
		})
	}
}
