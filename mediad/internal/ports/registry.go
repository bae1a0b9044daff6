package ports

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Registry hands out port pairs by interface name. All methods are safe for concurrent use.
type Registry struct {
	opt     Options
	current atomic.Pointer[table]
	replace sync.Mutex // one Replace at a time

	mu    sync.Mutex // guards turns
	turns map[string]int
}

// table is a set of interfaces. It never changes.
type table struct {
	names  []string // in configured order
	byName map[string][]entry
	former *table // before the last Replace; its own former is unset
	pools  map[poolKey]*pool
	pairs  int // of all pools
}

// entry is one address of an interface. Interfaces with the same local address and ports, told apart by what they advertise, share a pool.
type entry struct {
	address Address
	pool    *pool
}

// poolKey tells pools apart. Exclude is in words, since keys need to be comparable.
type poolKey struct {
	local    string
	min, max uint16
	exclude  string
}

// New makes a registry. The first interface is the default one.
func New(interfaces []Interface, opt Options) (*Registry, error) {
	r := &Registry{opt: opt, turns: make(map[string]int)}
	t, err := newTable(interfaces, opt, nil)
	if err != nil {
		return nil, err
	}
	r.current.Store(t)
	return r, nil
}

// Replace puts another set of interfaces in place of the present one. Addresses that stay keep their pools. Pairs on those that go
// remain usable until they are released, and commands under way may still get some, until the next Replace. After an error nothing has
// changed.
func (r *Registry) Replace(interfaces []Interface) error {
	r.replace.Lock()
	defer r.replace.Unlock()
	before := r.current.Load()
	t, err := newTable(interfaces, r.opt, before.pools)
	if err != nil {
		return err
	}
	t.former = &table{byName: before.byName}
	r.current.Store(t)
	return nil
}

// newTable makes a table, with the pools of before where it has them.
func newTable(interfaces []Interface, opt Options, before map[poolKey]*pool) (*table, error) {
	if len(interfaces) == 0 {
		return nil, fmt.Errorf("%w: none configured", ErrNoInterface)
	}
	t := &table{byName: make(map[string][]entry, len(interfaces)), pools: make(map[poolKey]*pool)}
	for _, ifc := range interfaces {
		if len(ifc.Addresses) == 0 {
			return nil, fmt.Errorf("ports: interface %q has no address", ifc.Name)
		}
		for _, a := range ifc.Addresses {
			p, err := t.pool(a, opt, before)
			if err != nil {
				return nil, fmt.Errorf("interface %q: %w", ifc.Name, err)
			}
			if _, known := t.byName[ifc.Name]; !known {
				t.names = append(t.names, ifc.Name)
			}
			t.byName[ifc.Name] = append(t.byName[ifc.Name], entry{a, p})
		}
	}
	for _, p := range t.pools {
		t.pairs += p.stats(time.Now()).Total
	}
	return t, nil
}

func (t *table) pool(a Address, opt Options, before map[poolKey]*pool) (*pool, error) {
	key := poolKey{local: a.Local.String(), min: a.Min, max: a.Max, exclude: fmt.Sprint(a.Exclude)}
	p := t.pools[key]
	if p == nil {
		p = before[key]
	}
	if p == nil {
		var err error
		if p, err = newPool(a, opt); err != nil {
			return nil, err
		}
	}
	t.pools[key] = p
	return p, nil
}

// Names of the interfaces in configured order; the first is the default.
func (r *Registry) Names() []string { return append([]string(nil), r.current.Load().names...) }

// Resolve finds the interface a call asks for: an empty name means the default one. ok is false for an unknown name.
func (r *Registry) Resolve(name string) (string, bool) { return r.current.Load().resolve(name) }

func (t *table) resolve(name string) (string, bool) {
	if name == "" {
		return t.names[0], true
	}
	_, ok := t.byName[name]
	return name, ok
}

// Addresses of an interface, in configured order; nil for an unknown name.
func (r *Registry) Addresses(name string) []Address {
	var out []Address
	for _, e := range r.current.Load().byName[name] {
		out = append(out, e.address)
	}
	return out
}

// Rotate returns whose turn it is among members, the interfaces that a common name stands for, as an index. Those without a free
// port are passed over, unless all are.
func (r *Registry) Rotate(name string, members []string) int {
	r.mu.Lock()
	start := r.turns[name]
	r.turns[name] = start + 1
	r.mu.Unlock()
	t := r.current.Load()
	for i := range members {
		turn := (start + i) % len(members)
		for _, e := range t.byName[members[turn]] {
			if !e.pool.exhausted() {
				return turn
			}
		}
	}
	return start % len(members)
}

// Allocate binds a pair on an interface's first address of the family that has one free. The error wraps ErrNoInterface or ErrNoPorts,
// or is that of the socket calls, for example a lack of file descriptors.
func (r *Registry) Allocate(name string, family Family) (*Pair, error) {
	t := r.current.Load()
	name, _ = t.resolve(name)
	now := time.Now()
	var err error
	for _, e := range t.candidates(name, family) {
		pair, allocErr := e.allocate(name, now)
		if allocErr == nil {
			return pair, nil
		}
		err = allocErr
	}
	if err == nil {
		err = fmt.Errorf("%w: %q", ErrNoInterface, name)
	}
	return nil, err
}

// candidates returns the addresses of an interface that have the family. One that Replace has just taken away still serves who has
// chosen it before.
func (t *table) candidates(name string, family Family) []entry {
	all := t.byName[name]
	fits := func(e entry) bool { return family == AnyFamily || family == FamilyOf(e.address.Local) }
	out := all
	if slices.ContainsFunc(all, func(e entry) bool { return !fits(e) }) {
		out = nil
		for _, e := range all {
			if fits(e) {
				out = append(out, e)
			}
		}
	}
	if len(out) == 0 && t.former != nil {
		return t.former.candidates(name, family)
	}
	return out
}

// AllocateOthers binds a pair on each other address of the interface that p is on, those of its own family first; none with
// Options.FirstOnly. Where an address has none left nothing is allocated. Errors are those of Allocate.
func (r *Registry) AllocateOthers(p *Pair) ([]*Pair, error) {
	if r.opt.FirstOnly {
		return nil, nil
	}
	var order []entry
	for _, e := range r.current.Load().inOrder(p.Interface, FamilyOf(p.Address.Local)) {
		if e.address.Local != p.Address.Local || e.address.Advertised != p.Address.Advertised {
			order = append(order, e)
		}
	}
	return allocate(p.Interface, order)
}

// inOrder returns the addresses of an interface, those of the preferred family first.
func (t *table) inOrder(name string, preferred Family) []entry {
	var order, others []entry
	for _, e := range t.byName[name] {
		if preferred == FamilyOf(e.address.Local) {
			order = append(order, e)
		} else {
			others = append(others, e)
		}
	}
	return append(order, others...)
}

// allocate binds a pair on each address, or on none.
func allocate(name string, order []entry) ([]*Pair, error) {
	var out []*Pair
	now := time.Now()
	for _, e := range order {
		pair, err := e.allocate(name, now)
		if err != nil {
			for _, p := range out {
				p.Release()
			}
			return nil, err
		}
		out = append(out, pair)
	}
	return out, nil
}

func (e entry) allocate(name string, now time.Time) (*Pair, error) {
	pair, err := e.pool.allocate(now)
	if err != nil {
		return nil, err
	}
	pair.Interface, pair.Address = name, e.address
	return pair, nil
}

// Capacity is how many pairs there are in all, taken or not.
func (r *Registry) Capacity() int { return r.current.Load().pairs }

// Stats of all pools, for metrics. Interfaces that share a pool show the same numbers.
func (r *Registry) Stats() []Stats {
	var out []Stats
	now := time.Now()
	t := r.current.Load()
	for _, name := range t.names {
		for _, e := range t.byName[name] {
			st := e.pool.stats(now)
			st.Interface, st.Address = name, e.address
			out = append(out, st)
		}
	}
	return out
}
