package dialog

import (
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
	"go.uber.org/zap"
)

// Limits bound concurrent calls, ringing ones included; 0 is no limit. A call counts for the user, or the trunk, on each of
// its sides, and for the address it comes from if that is no trunk's.
type Limits struct {
	PerUser, PerTrunk, PerAddress int
	// Trunks are limits of single trunks by name, in place of PerTrunk.
	Trunks map[string]int
}

// fullRetry is how many seconds a caller should wait who was refused with 503.
const fullRetry = "10"

// The kinds of keys that calls are counted under.
const (
	countUser    = "user:"    // and name@domain
	countTrunk   = "trunk:"   // and its name
	countAddress = "address:" // and the address, of IPv6 the /64
)

// limit is that of a key.
func (l *Limits) limit(key string) int {
	kind, name, _ := strings.Cut(key, ":")
	switch kind + ":" {
	case countUser:
		return l.PerUser
	case countTrunk:
		if n, own := l.Trunks[name]; own {
			return n
		}
		return l.PerTrunk
	default:
		return l.PerAddress
	}
}

// slot is the room that one side of a call takes. It counts as long as somebody holds it: a branch that has no final
// response, or a dialog; and it holds that of the calling side below it.
type slot struct {
	keys  []string
	held  int
	below *slot
}

// all are the keys of a slot and of what is below; nil has none.
func (s *slot) all() []string {
	if s == nil {
		return nil
	}
	return append(s.below.all(), s.keys...)
}

// take makes a slot with one holder, or tells which key is full. The lock is held.
func (k *Keeper) take(keys []string, below *slot) (_ *slot, full string) {
	limits := &k.cfg.Load().Limits
	for _, key := range keys {
		if n := limits.limit(key); n > 0 && k.counts[key] >= n {
			return nil, key
		}
	}
	s := k.hold(keys)
	if s.below = below; below != nil {
		below.held++
	}
	return s, ""
}

// hold makes a slot with one holder, whatever the limits are; the lock is held.
func (k *Keeper) hold(keys []string) *slot {
	for _, key := range keys {
		k.counts[key]++
	}
	return &slot{keys: keys, held: 1}
}

// release lets go of a slot; nil is nothing. The lock is held.
func (k *Keeper) release(s *slot) {
	if s == nil {
		return
	}
	if s.held--; s.held > 0 {
		return
	}
	for _, key := range s.keys {
		if k.counts[key]--; k.counts[key] <= 0 {
			delete(k.counts, key)
		}
	}
	k.release(s.below)
}

// TrunkCalls counts the calls of a trunk, both ways.
func (k *Keeper) TrunkCalls(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.counts[countTrunk+name]
}

// callerKeys are those of the side that an INVITE comes from.
func callerKeys(r *request.Request) []string {
	if r.Trunk != "" {
		return []string{countTrunk + r.Trunk}
	}
	var keys []string
	if r.User != "" {
		keys = append(keys, countUser+r.User)
	}
	if a := r.Source.Addr().Unmap().WithZone(""); a.IsValid() {
		if a.Is6() {
			a = netip.PrefixFrom(a, 64).Masked().Addr()
		}
		keys = append(keys, countAddress+a.String())
	}
	return keys
}

// calleeKeys are those of the side that it goes to.
func calleeKeys(t *request.Target) []string {
	var keys []string
	if user, ok := strings.CutPrefix(t.AoR, "sip:"); ok {
		keys = append(keys, countUser+user)
	}
	if t.Trunk != "" {
		keys = append(keys, countTrunk+t.Trunk)
	}
	return keys
}

// admit finds room for a branch of an INVITE; the lock is held.
func (s *setup) admit(r *request.Request, b *request.Branch) error {
	if s.caller == nil || s.caller.held == 0 {
		caller, full := s.take(callerKeys(r), nil)
		if caller == nil {
			r.Log.Info("limit of calls reached", zap.String("by", full))
			return crowded(full)
		}
		s.caller = caller
		defer s.release(caller) // its branches hold it
	}
	callee, full := s.take(calleeKeys(&b.Target), s.caller)
	if callee == nil {
		r.Log.Info("limit of calls reached", zap.String("by", full))
		if strings.HasPrefix(full, countUser) {
			return request.Fail(sip.StatusBusyHere, "Busy Here", nil)
		}
		return crowded(full)
	}
	s.branches[b.ID] = callee
	return nil
}

func crowded(full string) *request.Error {
	kind, _, _ := strings.Cut(full, ":")
	e := request.Fail(sip.StatusServiceUnavailable, "Too Many Calls of This "+strings.ToUpper(kind[:1])+kind[1:], nil)
	e.Headers = []sip.Header{sip.NewHeader("Retry-After", fullRetry)}
	return e
}
