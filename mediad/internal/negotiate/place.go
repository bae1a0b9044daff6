package negotiate

import (
	"slices"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// anyInTurn in place of an interface's name means: all interfaces in turn.
const anyInTurn = "round-robin-calls"

// Names that stand for an address family where no interface is called so:
// rtpengine's way of bridging before it had names.
const (
	legacyIPv4 = "internal"
	legacyIPv6 = "external"
)

// placeOffer chooses interface and address family of both sides, the
// receiver's first. The family towards the receiver is that of the key, else
// the one it uses itself, else the offerer's.
func (p *Plan) placeOffer(from, to *Side) {
	family := p.req.AddressFamily
	if family == ng.FamilyAbsent && !to.Remote.Hold {
		family = to.Remote.Family
	}
	if family == ng.FamilyAbsent {
		family = to.Local.Family
	}
	if family == ng.FamilyAbsent {
		family = from.Remote.Family
	}
	p.place(&p.To, &to.Local, p.req.Direction[1], p.reachable(p.req.Direction[1], family))

	family = from.Remote.Family
	if from.Remote.Hold && from.Local.Family != ng.FamilyAbsent {
		family = from.Local.Family
	}
	p.place(&p.From, &from.Local, p.req.Direction[0], family)
}

// placeAnswer moves the offerer, whom the answer goes to, if the answer names
// another interface or family for it. The answerer stays: it has been told
// already.
func (p *Plan) placeAnswer(to *Side) {
	name, family := p.req.Direction[1], p.req.AddressFamily
	if family == ng.FamilyAbsent {
		family = to.Local.Family
	}
	if name != "" || family != to.Local.Family || to.Local.Interface == "" {
		p.place(&p.To, &to.Local, name, p.reachable(name, family))
	}
}

// reachable returns the family if an interface called name has it, else the
// one that it has. It is for the receiver, which may well have the other
// family than the offerer; the offerer's own is a fact.
func (p *Plan) reachable(name string, family ng.AddressFamily) ng.AddressFamily {
	members := p.members(name)
	if len(withFamily(members, family)) == 0 && len(withFamily(members, otherFamily(family))) > 0 {
		return otherFamily(family)
	}
	return family
}

// place puts a side on the interface called name; if name is empty on the one
// it has, unless the family has changed. Where there is none so called with
// that family, the first interface with it serves, or else the first.
func (p *Plan) place(party *Party, l *Local, name string, family ng.AddressFamily) {
	if len(p.opts.Interfaces) == 0 {
		return
	}
	if name == "" && family == l.Family {
		name = l.Asked
	}
	if family == ng.FamilyAbsent {
		family = ng.FamilyIP4
	}
	members := withFamily(p.members(name), family)
	if len(members) == 0 {
		family = legacyFamily(name, family)
		members, name = p.fallback(family), ""
		if !members[0].has(family) {
			family = otherFamily(family)
		}
	}
	chosen := p.member(party, l, name, members)
	moved := l.Interface != "" && (l.Interface != chosen || l.Family != family)
	l.Interface, l.Asked, l.Family = chosen, name, family
	if moved && l.ICE.Mode != ICENone {
		l.ICE.Generation++ // other candidates: RFC 8445 §2.4
	}
}

func legacyFamily(name string, family ng.AddressFamily) ng.AddressFamily {
	switch name {
	case legacyIPv4:
		return ng.FamilyIP4
	case legacyIPv6:
		return ng.FamilyIP6
	}
	return family
}

// fallback returns the interface for those that name none: the first one with
// the family, or the first.
func (p *Plan) fallback(f ng.AddressFamily) []Interface {
	if fit := withFamily(p.opts.Interfaces, f); len(fit) > 0 {
		return fit[:1]
	}
	return p.opts.Interfaces[:1]
}

// members returns the interfaces that a name stands for: the one called so and
// those called "name:something", or all of them.
func (p *Plan) members(name string) []Interface {
	if name == anyInTurn {
		return p.opts.Interfaces
	}
	var out []Interface
	for _, i := range p.opts.Interfaces {
		if i.Name == name || (name != "" && strings.HasPrefix(i.Name, name+":")) {
			out = append(out, i)
		}
	}
	return out
}

// member chooses one of several interfaces: what the side already has, or the
// party's other sides by the same name, else the next in turn.
func (p *Plan) member(party *Party, l *Local, name string, members []Interface) string {
	has := func(name string) bool {
		return slices.ContainsFunc(members, func(i Interface) bool { return i.Name == name })
	}
	if l.Asked == name && has(l.Interface) {
		return l.Interface
	}
	for i := range party.Sides {
		if other := &party.Sides[i].Local; other.Asked == name && other.Interface != "" && has(other.Interface) {
			return other.Interface
		}
	}
	if len(members) == 1 || p.opts.Rotate == nil {
		return members[0].Name
	}
	names := make([]string, len(members))
	for i := range members {
		names[i] = members[i].Name
	}
	return names[p.opts.Rotate(name, names)]
}

func (i Interface) has(f ng.AddressFamily) bool {
	return (f == ng.FamilyIP6 && i.IPv6) || (f == ng.FamilyIP4 && i.IPv4)
}

func withFamily(list []Interface, f ng.AddressFamily) []Interface {
	var out []Interface
	for _, i := range list {
		if i.has(f) {
			out = append(out, i)
		}
	}
	return out
}

func otherFamily(f ng.AddressFamily) ng.AddressFamily {
	if f == ng.FamilyIP6 {
		return ng.FamilyIP4
	}
	return ng.FamilyIP6
}
