// Package midregistrar knows what an upstream registrar has been told about the users who register through the proxy, and
// decides when it has to hear more: the throttling rules of a mid-registrar in modes mirror, contact and aor.
package midregistrar

import (
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/location"
)

// Mode is how contacts appear at the upstream registrar.
type Mode string

// The modes of a mid-registrar.
const (
	// Mirror hands every REGISTER on; each contact appears with the proxy's address and an id.
	Mirror Mode = "mirror"
	// Contact does so too, but absorbs a contact's refreshes while the upstream knows it for longer.
	Contact Mode = "contact"
	// AoR shows all contacts of an address of record as one.
	AoR Mode = "aor"
)

// Key names one contact at the upstream: of an address of record, and within it an id in modes mirror and contact.
type Key struct {
	AoR location.AoR
	ID  string
}

// Ask is a contact as the upstream is to know it.
type Ask struct {
	Key
	Lifetime time.Duration // 0: it is to be removed
	Params   string        // contact parameters to be sent with it
	Q        int           // in thousandths; 1000 is not sent
}

// Registration is what the upstream knows of one contact, with what is needed to take it back.
type Registration struct {
	Contact          string // the URI it was told
	RequestURI       string
	From, To, CallID string
	CSeq             uint32
	Authorization    []string // of the REGISTER that was accepted
	Lifetime         time.Duration
	Forwarded        time.Time // when it was told last
}

// Expires is when the upstream forgets it.
func (r *Registration) Expires() time.Time { return r.Forwarded.Add(r.Lifetime) }

// Book keeps the registrations at one upstream, and which connections have carried an accepted REGISTER for whom. It is
// safe for concurrent use.
type Book struct {
	mode Mode
	out  time.Duration // asked for at least
	min  time.Duration // shortest that a client can be told

	mu      sync.Mutex
	told    map[location.AoR]map[string]*Registration
	trusted map[string]map[location.AoR]string // connection → AoR → Call-ID
}

// NewBook returns an empty book.
func NewBook() *Book {
	return &Book{
		mode:    Mirror,
		told:    make(map[location.AoR]map[string]*Registration),
		trusted: make(map[string]map[location.AoR]string),
	}
}

// Configure sets the rules. out is the lifetime asked for at the upstream where the client's is shorter; min is the
// shortest one that a client may be told.
func (b *Book) Configure(mode Mode, out, min time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mode, b.out, b.min = mode, out, min
}

func (b *Book) rules() (Mode, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mode, b.out
}

// Asks are the contacts that a REGISTER which changes the bindings of aor to next leads to at the upstream; put are those
// it adds or refreshes, drop those it removes.
func (b *Book) Asks(aor location.AoR, next, put, drop []location.Binding) []Ask {
	mode, out := b.rules()
	if mode == AoR {
		ask := Ask{Key: Key{AoR: aor}, Q: 1000}
		for i := range next {
			ask.Lifetime = max(ask.Lifetime, out, lifetime(&next[i]))
		}
		return []Ask{ask}
	}
	var asks []Ask
	seen := make(map[string]bool)
	for i := range put {
		p := &put[i]
		seen[p.ID()] = true
		asked := lifetime(p)
		if mode == Contact {
			asked = max(out, asked)
		}
		asks = append(asks, Ask{Key: Key{aor, p.ID()}, Lifetime: asked, Params: p.Params, Q: p.Q})
	}
	for i := range drop {
		if id := drop[i].ID(); !seen[id] {
			seen[id] = true
			asks = append(asks, Ask{Key: Key{aor, id}, Q: 1000})
		}
	}
	return asks
}

// Due reports whether the upstream has to hear of a REGISTER that changes the bindings of aor from current to next. If
// not, it may be answered here, with lifetimes cut to Left.
func (b *Book) Due(now time.Time, aor location.AoR, current, next, put, drop []location.Binding) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.mode {
	case AoR:
		r := b.told[aor][""]
		if r == nil || len(current) == 0 || len(next) == 0 {
			return true
		}
		var wait time.Duration
		for i := range next {
			wait = max(wait, r.Lifetime-lifetime(&next[i]))
		}
		if !now.Before(r.Forwarded.Add(wait)) {
			return true
		}
		// Of several contacts the one that waits longest need not be there to the end: no other may outlive what
		// the upstream knows.
		left := r.Expires().Sub(now)
		for i := range put {
			if left < min(lifetime(&put[i]), b.min) {
				return true
			}
		}
		return false
	case Contact:
		if len(drop) > 0 {
			return true
		}
		for i := range put {
			r := b.told[aor][put[i].ID()]
			if r == nil || !bound(current, put[i].ID()) || now.Sub(r.Forwarded) >= r.Lifetime-lifetime(&put[i]) {
				return true
			}
		}
		return false
	default:
		return true
	}
}

func bound(list []location.Binding, id string) bool {
	for i := range list {
		if list[i].ID() == id {
			return true
		}
	}
	return false
}

// lifetime is how long a client has asked to be bound.
func lifetime(b *location.Binding) time.Duration { return b.Expires.Sub(b.Registered) }

// KeyOf names what stands for a binding at the upstream.
func (b *Book) KeyOf(binding *location.Binding) Key {
	if mode, _ := b.rules(); mode == AoR {
		return Key{AoR: binding.AoR}
	}
	return Key{binding.AoR, binding.ID()}
}

// Left is how much longer the upstream knows a contact; 0 if it does not.
func (b *Book) Left(key Key, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.told[key.AoR][key.ID]
	if r == nil {
		return 0
	}
	return max(0, r.Expires().Sub(now))
}

// Tell notes what the upstream has accepted.
func (b *Book) Tell(key Key, r Registration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told[key.AoR] == nil {
		b.told[key.AoR] = make(map[string]*Registration, 1)
	}
	b.told[key.AoR][key.ID] = &r
}

// Registration returns what the upstream was told of a contact.
func (b *Book) Registration(key Key) (Registration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.told[key.AoR][key.ID]; r != nil {
		return *r, true
	}
	return Registration{}, false
}

// All returns what the upstream was told of all contacts of an address of record.
func (b *Book) All(aor location.AoR) []Registration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Registration
	for _, r := range b.told[aor] {
		all = append(all, *r)
	}
	return all
}

// Forget notes that the upstream does not know a contact any more.
func (b *Book) Forget(key Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.told[key.AoR], key.ID)
	if len(b.told[key.AoR]) == 0 {
		delete(b.told, key.AoR)
	}
}

// ForgetAll does so for all contacts of an address of record.
func (b *Book) ForgetAll(aor location.AoR) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.told, aor)
}

// Orphans are the contacts of aor that the upstream still knows though no binding stands behind them; those that it has
// forgotten by now are dropped from the book. Those of another mode, before a new configuration, are orphans.
func (b *Book) Orphans(now time.Time, aor location.AoR, bindings []location.Binding) []Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []Key
	for id, r := range b.told[aor] {
		switch {
		case b.mode == AoR && id == "" && len(bindings) > 0, b.mode != AoR && bound(bindings, id):
		case !now.Before(r.Expires()):
			delete(b.told[aor], id)
		default:
			keys = append(keys, Key{aor, id})
		}
	}
	if len(b.told[aor]) == 0 {
		delete(b.told, aor)
	}
	return keys
}

// Trust notes that the upstream has accepted a REGISTER for aor, of this Call-ID, that came by the connection.
func (b *Book) Trust(connection string, aor location.AoR, callID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trusted[connection] == nil {
		b.trusted[connection] = make(map[location.AoR]string, 1)
	}
	b.trusted[connection][aor] = callID
}

// Trusts reports whether it was so.
func (b *Book) Trusts(connection string, aor location.AoR, callID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, ok := b.trusted[connection][aor]
	return ok && id == callID
}

// Distrust takes it back: the upstream has refused the user.
func (b *Book) Distrust(connection string, aor location.AoR) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.trusted[connection], aor)
	if len(b.trusted[connection]) == 0 {
		delete(b.trusted, connection)
	}
}

// ConnectionClosed takes back all trust in a connection.
func (b *Book) ConnectionClosed(connection string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.trusted, connection)
}

// Len is how many contacts the upstream knows.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, list := range b.told {
		n += len(list)
	}
	return n
}
