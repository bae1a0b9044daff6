package forward

import (
	"net/netip"
	"sync"
	"time"
)

const (
	refusalKept = 10 * time.Minute
	maxRefusals = 4096
)

// refusals remembers hops that take no TCP, so that not every large request waits for the refusal again.
type refusals struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

func newRefusals() *refusals { return &refusals{until: map[netip.AddrPort]time.Time{}} }

func (r *refusals) has(a netip.AddrPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.until[a])
}

func (r *refusals) add(a netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.until) >= maxRefusals {
		clear(r.until)
	}
	r.until[a] = time.Now().Add(refusalKept)
}
