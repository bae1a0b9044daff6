package ports

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// defaultQuarantine is how long a released pair rests.
const defaultQuarantine = 5 * time.Second

// maxBindAttempts bounds how many ports that another process holds are passed over in one allocation.
const maxBindAttempts = 256

// Pair is a bound pair of neighbouring ports: even for RTP, odd for RTCP.
type Pair struct {
	// Interface is the name the pair was asked for by.
	Interface string
	// Address is the local address it is bound to.
	Address   Address
	RTP, RTCP udp.Port

	pool *pool
	slot int
	once sync.Once
}

// Release closes both ports and gives the pair back; it rests in quarantine first. The streams on it must be detached. Further
// calls do nothing.
func (p *Pair) Release() {
	p.once.Do(func() {
		_ = p.RTP.Close()
		_ = p.RTCP.Close()
		p.pool.release(p.slot, time.Now())
	})
}

// listenPair is the Opener where none is given.
func listenPair(addr netip.Addr, even uint16) (rtp, rtcp udp.Port, err error) {
	return udp.ListenPair(addr, even, udp.Options{})
}

// pool has the port pairs of one address, as slots: slot i is the ports first+2i and first+2i+1. A slot is free, in use or resting.
type pool struct {
	local      netip.Addr
	first      uint16
	open       Opener
	quarantine time.Duration

	mu    sync.Mutex
	slots *slots
	last  int // slot that was bound last; -1 = none yet
}

func newPool(a Address, opt Options) (*pool, error) {
	if !a.Local.IsValid() || a.Local.IsUnspecified() {
		return nil, fmt.Errorf("ports: %s is not a definite address", a.Local)
	}
	first := int(a.Min) + int(a.Min)%2
	total := (int(a.Max) - first + 1) / 2
	if a.Min == 0 || total < 1 {
		return nil, fmt.Errorf("ports: range %d–%d of %s holds no even/odd pair", a.Min, a.Max, a.Local)
	}
	p := &pool{local: a.Local, first: uint16(first), open: opt.Open, quarantine: opt.Quarantine, last: -1}
	if p.open == nil {
		p.open = listenPair
	}
	if p.quarantine == 0 {
		p.quarantine = defaultQuarantine
	}
	p.slots = newSlots(total, func(slot int) bool {
		even := p.first + uint16(2*slot)
		return !excluded(a.Exclude, even) && !excluded(a.Exclude, even+1)
	})
	if p.slots.total == 0 {
		return nil, fmt.Errorf("ports: all ports %d–%d of %s are excluded", a.Min, a.Max, a.Local)
	}
	return p, nil
}

func excluded(list []Range, port uint16) bool {
	return slices.ContainsFunc(list, func(r Range) bool { return r.has(port) })
}

// allocate binds a free pair. Ports that another process holds are passed over and stay free.
func (p *pool) allocate(now time.Time) (*Pair, error) {
	var busy []int
	defer func() { p.restore(busy) }()
	for range maxBindAttempts {
		slot, ok := p.take(now)
		if !ok {
			break
		}
		rtp, rtcp, err := p.open(p.local, p.first+uint16(2*slot))
		switch {
		case err == nil:
			p.bound(slot)
			return &Pair{RTP: rtp, RTCP: rtcp, pool: p, slot: slot}, nil
		case errors.Is(err, unix.EADDRINUSE):
			busy = append(busy, slot)
		default:
			busy = append(busy, slot)
			return nil, fmt.Errorf("ports: %s: %w", p.local, err)
		}
	}
	return nil, ErrNoPorts
}

// take removes a random free slot, or the one that has rested longest when all others are in use.
func (p *pool) take(now time.Time) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.take(now)
}

func (p *pool) bound(slot int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = slot
}

// exhausted reports whether nothing is left, not even a resting pair.
func (p *pool) exhausted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.used == p.slots.total
}

// restore frees slots that could not be bound.
func (p *pool) restore(slots []int) {
	if len(slots) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, slot := range slots {
		p.slots.untake(slot)
	}
}

func (p *pool) release(slot int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots.wake(now)
	p.slots.release(slot, now.Add(p.quarantine))
}

func (p *pool) stats(now time.Time) Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots.wake(now)
	st := Stats{Total: p.slots.total, Used: p.slots.used, Rest: p.slots.rest.len()}
	if p.last >= 0 {
		st.Last = p.first + uint16(2*p.last)
	}
	return st
}

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	switch {
	case !a.IsValid():
		return AnyFamily
	case a.Is4() || a.Is4In6():
		return IPv4
	default:
		return IPv6
	}
}
