package negotiate

import (
	"slices"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// placeOffer chooses interface and address family of both sides. Only offers
// move a side; an answer leaves both where they are, since the answerer has
// already been told.
func (p *Plan) placeOffer(from, to *Side) {
	family := from.Remote.Family
	if from.Remote.Hold && from.Local.Family != ng.FamilyAbsent {
		family = from.Local.Family
	}
	p.place(&from.Local, p.req.Direction[0], family)

	family = p.req.AddressFamily
	if family == ng.FamilyAbsent {
		family = to.Local.Family
	}
	if family == ng.FamilyAbsent {
		family = from.Remote.Family
	}
	p.place(&to.Local, p.req.Direction[1], family)
}

// place puts a side on the interface called name: if name is empty on the one
// it has, if there is none on the default one. A family that the interface
// lacks gives way to the one it has.
func (p *Plan) place(l *Local, name string, family ng.AddressFamily) {
	if name == "" {
		name = l.Interface
	}
	i := slices.IndexFunc(p.opts.Interfaces, func(f Interface) bool { return f.Name == name })
	if i < 0 {
		i = 0
	}
	if i >= len(p.opts.Interfaces) {
		return
	}
	chosen := p.opts.Interfaces[i]
	switch {
	case family != ng.FamilyIP6 && !chosen.IPv4 && chosen.IPv6:
		family = ng.FamilyIP6
	case family == ng.FamilyIP6 && !chosen.IPv6, family == ng.FamilyAbsent:
		family = ng.FamilyIP4
	}
	moved := l.Interface != "" && (l.Interface != chosen.Name || l.Family != family)
	l.Interface, l.Family = chosen.Name, family
	if moved && l.ICE.Mode != ICENone {
		l.ICE.Generation++ // other candidates: RFC 8445 §2.4
	}
}
