package midregistrar

import (
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
)

const (
	// maxWaiting bounds those who wait for one address of record.
	maxWaiting = 32
	// turnLimit ends a turn whose exchange never did: more than Timer F.
	turnLimit = time.Minute
)

// Turns keeps a removal of an address of record's contacts at the upstream apart from all other exchanges about it: what
// is decided from the bindings would else be overtaken by one under way. It is safe for concurrent use.
type Turns struct {
	mu   sync.Mutex
	held map[location.AoR]*turn
}

type turn struct {
	shared    int
	exclusive bool
	since     time.Time
	waiting   []func()
}

// NewTurns returns one where nobody has a turn.
func NewTurns() *Turns { return &Turns{held: make(map[location.AoR]*turn)} }

// Enter takes a turn, alone or with others that add. If that has to wait, again is called when it may be tried once more.
// ok is false if there are too many waiting; again is then not called.
func (t *Turns) Enter(now time.Time, aor location.AoR, alone bool, again func()) (entered, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.held[aor]
	if h == nil || now.Sub(h.since) > turnLimit {
		n := &turn{since: now}
		if h != nil {
			n.waiting = h.waiting
		}
		h = n
		t.held[aor] = h
	}
	if h.exclusive || alone && h.shared > 0 {
		if len(h.waiting) >= maxWaiting {
			return false, false
		}
		h.waiting = append(h.waiting, again)
		return false, true
	}
	h.since = now
	if alone {
		h.exclusive = true
	} else {
		h.shared++
	}
	return true, true
}

// Leave ends a turn and calls those who wait.
func (t *Turns) Leave(aor location.AoR, alone bool) {
	t.mu.Lock()
	h := t.held[aor]
	if h == nil {
		t.mu.Unlock()
		return
	}
	if alone {
		h.exclusive = false
	} else {
		h.shared = max(0, h.shared-1)
	}
	var waiting []func()
	if !h.exclusive && h.shared == 0 {
		waiting = h.waiting
		delete(t.held, aor)
	}
	t.mu.Unlock()
	for _, again := range waiting {
		again()
	}
}
