package ports

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Registry hands out port pairs by interface name. The set of interfaces is fixed; all methods are safe for concurrent use.
type Registry struct {
	names  []string // in configured order
	byName map[string][]entry
}

// entry is one address of an interface. Interfaces with the same local address and range, told apart by what they advertise, share a pool.
type entry struct {
	address Address
	pool    *pool
}

// New makes a registry. The first interface is the default one.
func New(interfaces []Interface, opt Options) (*Registry, error) {
	if len(interfaces) == 0 {
		return nil, fmt.Errorf("%w: none configured", ErrNoInterface)
	}
	r := &Registry{byName: make(map[string][]entry, len(interfaces))}
	pools := make(map[Address]*pool)
	for _, ifc := range interfaces {
		if len(ifc.Addresses) == 0 {
			return nil, fmt.Errorf("ports: interface %q has no address", ifc.Name)
		}
		for _, a := range ifc.Addresses {
			key := Address{Local: a.Local, Min: a.Min, Max: a.Max}
			p := pools[key]
			if p == nil {
				var err error
				if p, err = newPool(key, opt); err != nil {
					return nil, fmt.Errorf("interface %q: %w", ifc.Name, err)
				}
				pools[key] = p
			}
			if _, known := r.byName[ifc.Name]; !known {
				r.names = append(r.names, ifc.Name)
			}
			r.byName[ifc.Name] = append(r.byName[ifc.Name], entry{a, p})
		}
	}
	return r, nil
}

// Names of the interfaces in configured order; the first is the default.
func (r *Registry) Names() []string { return append([]string(nil), r.names...) }

// Resolve finds the interface a call asks for: an empty name means the default one. ok is false for an unknown name.
func (r *Registry) Resolve(name string) (string, bool) {
	if name == "" {
		return r.names[0], true
	}
	_, ok := r.byName[name]
	return name, ok
}

// Addresses of an interface, in configured order; nil for an unknown name.
func (r *Registry) Addresses(name string) []Address {
	var out []Address
	for _, e := range r.byName[name] {
		out = append(out, e.address)
	}
	return out
}

// Allocate binds a pair on an interface's first address of the family that has one free. The error wraps ErrNoInterface or ErrNoPorts,
// or is that of the socket calls, for example a lack of file descriptors.
func (r *Registry) Allocate(name string, family Family) (*Pair, error) {
	name, ok := r.Resolve(name)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoInterface, name)
	}
	err := fmt.Errorf("%w: %q has no address of that family", ErrNoInterface, name)
	now := time.Now()
	for _, e := range r.byName[name] {
		if family != AnyFamily && family != FamilyOf(e.address.Local) {
			continue
		}
		pair, allocErr := e.pool.allocate(now)
		if allocErr == nil {
			pair.Interface, pair.Address = name, e.address
			return pair, nil
		}
		err = allocErr
	}
	return nil, err
}

// Stats of all pools, for metrics. Interfaces that share a pool show the same numbers.
func (r *Registry) Stats() []Stats {
	var out []Stats
	now := time.Now()
	for _, name := range r.names {
		for _, e := range r.byName[name] {
			st := e.pool.stats(now)
			st.Interface, st.Address = name, e.address
			out = append(out, st)
		}
	}
	return out
}

// Parse reads one value of rtpengine's interface option, "[name/]address[!advertised]", into an interface with the given port range.
// The name is "default" if absent. The address is an IP address; device names are for the caller to resolve.
func Parse(s string, min, max uint16) (Interface, error) {
	name, rest, found := strings.Cut(s, "/")
	if !found {
		name, rest = "default", s
	}
	local, advertised, hasAdvertised := strings.Cut(rest, "!")
	a := Address{Min: min, Max: max}
	var err error
	if a.Local, err = netip.ParseAddr(unbracket(local)); err != nil {
		return Interface{}, fmt.Errorf("ports: interface %q: %w", s, err)
	}
	a.Local = a.Local.Unmap()
	if hasAdvertised {
		if a.Advertised, err = netip.ParseAddr(unbracket(advertised)); err != nil {
			return Interface{}, fmt.Errorf("ports: interface %q: %w", s, err)
		}
		a.Advertised = a.Advertised.Unmap()
		if a.Advertised.Is4() != a.Local.Is4() {
			return Interface{}, fmt.Errorf("ports: interface %q: advertised address of the other family", s)
		}
	}
	if name == "" {
		return Interface{}, fmt.Errorf("ports: interface %q has an empty name", s)
	}
	return Interface{Name: name, Addresses: []Address{a}}, nil
}

func unbracket(s string) string {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}
