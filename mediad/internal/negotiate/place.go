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

// seat is where a side lives.
type seat struct {
	Interface string
	Family    ng.AddressFamily
}

// placeOffer chooses interface and address family of both sides, the
// receiver's first. The family towards the receiver is that of the key, else
// the one it has, else the offerer's.
func (p *Plan) placeOffer(from, to *Side) {
	family := p.req.AddressFamily
	if family == ng.FamilyAbsent {
		family = to.Local.seat().Family
	}
	if family == ng.FamilyAbsent {
		family = from.Remote.Family
	}
	name := p.req.Direction[1]
	to.Local.sit(p.choose(&p.To, &to.Local, name, p.reachable(name, family)))
	from.Local.sit(p.choose(&p.From, &from.Local, p.req.Direction[0], from.family()))
}

// placeAnswer moves the offerer, whom the answer goes to, if the answer names
// another interface or another family for it. The answerer has been told already: what the answer
// says of it is for the next offer to it.
func (p *Plan) placeAnswer(from, to *Side) {
	name, family := p.req.Direction[1], p.req.AddressFamily
	if family == ng.FamilyAbsent {
		family = to.Local.Family
	}
	if name != "" || family != to.Local.Family {
		to.Local.sit(p.choose(&p.To, &to.Local, name, p.reachable(name, family)))
	}
	from.Local.Next = seat{}
	if next := p.choose(&p.From, &from.Local, p.req.Direction[0], from.family()); next != from.Local.seat() {
		from.Local.Next = next
	}
}

// family is that of the addresses in what the party has said. A hold has none.
func (s *Side) family() ng.AddressFamily {
	if s.Remote.Hold && s.Local.Family != ng.FamilyAbsent {
		return s.Local.Family
	}
	return s.Remote.Family
}

// seat is where the side will be if nobody names another place.
func (l *Local) seat() seat {
	if l.Next != (seat{}) {
		return l.Next
	}
	return seat{l.Interface, l.Family}
}

// sit moves the side.
func (l *Local) sit(at seat) {
	moved := l.Interface != "" && at != seat{l.Interface, l.Family}
	l.Interface, l.Family, l.Next = at.Interface, at.Family, seat{}
	if moved && l.ICE.Mode != ICENone {
		l.ICE.Generation++ // other candidates: RFC 8445 §2.4
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

// choice is what one command asks for one party: all its medias get the same.
type choice struct {
	party  *Party
	name   string
	family ng.AddressFamily
}

// choose finds the place of a side on the interface called name: where it is,
// or where the other medias of the party are, if that will do; else the next in
// turn. Where there is none so called with that family, the first interface
// with it serves, or else the first, with all of its group.
func (p *Plan) choose(party *Party, l *Local, name string, family ng.AddressFamily) seat {
	if len(p.opts.Interfaces) == 0 {
		return l.seat()
	}
	if family == ng.FamilyAbsent {
		family = ng.FamilyIP4
	}
	if at := l.seat(); p.does(at, name, family) {
		return at
	}
	if l.Interface == "" {
		for i := range party.Sides {
			if at := party.Sides[i].Local.seat(); p.does(at, name, family) {
				return at
			}
		}
	}
	key := choice{party, name, family}
	if at, ok := p.chosen[key]; ok {
		return at
	}
	members := withFamily(p.members(name), family)
	if len(members) == 0 {
		family = legacyFamily(name, family)
		first := p.fallback(family)
		if !first.has(family) {
			family = otherFamily(family)
		}
		if name, _, _ = strings.Cut(first.Name, ":"); name == "" { // of no group
			name = first.Name
		}
		members = withFamily(p.members(name), family)
	}
	at := seat{p.turn(name, members), family}
	if p.chosen == nil {
		p.chosen = make(map[choice]seat)
	}
	p.chosen[key] = at
	return at
}

// does reports whether a seat is what a name and a family ask for.
func (p *Plan) does(at seat, name string, family ng.AddressFamily) bool {
	if at.Interface == "" || at.Family != family {
		return false
	}
	there := slices.ContainsFunc(p.opts.Interfaces, func(i Interface) bool { return i.Name == at.Interface && i.has(family) })
	base, _, _ := strings.Cut(at.Interface, ":")
	return there && (name == "" || name == anyInTurn || name == at.Interface || name == base)
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

// fallback returns the interface for those that name none, which stands for its
// group: the first one with the family, or the first.
func (p *Plan) fallback(f ng.AddressFamily) Interface {
	fit := slices.IndexFunc(p.opts.Interfaces, func(i Interface) bool { return i.has(f) })
	return p.opts.Interfaces[max(fit, 0)]
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

// turn returns the next of the interfaces that a name stands for. Those of each
// family have turns of their own.
func (p *Plan) turn(name string, members []Interface) string {
	if len(members) == 1 || p.opts.Rotate == nil {
		return members[0].Name
	}
	if members[0].IPv6 && !members[0].IPv4 {
		name += " IPv6"
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
