// Package acl decides by prefix which addresses may speak to the proxy.
package acl

import (
	"net/netip"
	"slices"
)

// List is a compiled, immutable list. The zero permits everybody.
type List struct {
	rules   map[netip.Prefix]bool
	lengths [2][]int // prefix lengths in use, longest first; IPv4, IPv6
	others  bool     // what holds for addresses without a rule
}

// New compiles a list: the longest prefix that holds an address decides, of two equal ones deny. Addresses that none holds are
// permitted unless there is an allow.
func New(allow, deny []netip.Prefix) *List {
	l := &List{rules: map[netip.Prefix]bool{}, others: len(allow) == 0}
	for _, p := range allow {
		l.rules[p.Masked()] = true
	}
	for _, p := range deny {
		l.rules[p.Masked()] = false
	}
	for p := range l.rules {
		family := &l.lengths[familyOf(p.Addr())]
		if !slices.Contains(*family, p.Bits()) {
			*family = append(*family, p.Bits())
		}
	}
	for i := range l.lengths {
		slices.Sort(l.lengths[i])
		slices.Reverse(l.lengths[i])
	}
	return l
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// Permits reports whether an address may speak; an IPv4-mapped one counts as IPv4.
func (l *List) Permits(a netip.Addr) bool {
	if l == nil || len(l.rules) == 0 {
		return true
	}
	a = a.Unmap().WithZone("")
	for _, bits := range l.lengths[familyOf(a)] {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if permitted, ok := l.rules[p]; ok {
			return permitted
		}
	}
	return l.others
}
