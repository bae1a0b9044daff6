package negotiate

import (
	"net/netip"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// rewriteConnection puts our address into the c= lines of a media and adds one
// if the session's does not fit.
func (p *Plan) rewriteConnection(i int, section *sdp.Section, address netip.Addr, session string) {
	if !address.IsValid() {
		return
	}
	value := p.connection(i, address)
	found := false
	for l := range section.Lines() {
		if l.Type == 'c' {
			section.Replace(l, readdress(l, value))
			found = true
		}
	}
	if !found && session != value && p.To.Sides[i].Local.Active {
		insertConnection(section, value)
	}
}

// readdress is a c= line with another address; what follows the address stays.
func readdress(line sdp.Line, address string) string {
	if part := strings.SplitN(line.Value, " ", 4); len(part) == 4 {
		return address + " " + part[3]
	}
	return address
}

// insertConnection puts a c= line where RFC 8866 §9 wants it.
func insertConnection(section *sdp.Section, value string) {
	_, at, _ := section.Media()
	if info, ok := section.First('i'); ok && info.Index == at.Index+1 {
		at = info
	}
	section.InsertAfter(at, "c="+value)
}

// keepConnection gives a media that is passed on as it is the address that it
// had from the session part.
func (p *Plan) keepConnection(section *sdp.Section) {
	if _, _, own := section.Connection(); own {
		return
	}
	if inherited, _, ok := p.doc.Session().Connection(); ok {
		_, at, _ := section.Media()
		section.InsertAfter(at, "c="+inherited.String())
	}
}

// connection is the value of a c= line of media i. An old hold (RFC 3264 §8.4)
// keeps its zero address, unless we offer ICE.
func (p *Plan) connection(i int, address netip.Addr) string {
	to := &p.To.Sides[i].Local.ICE
	withICE := to.Mode != ICENone || to.Passthrough
	if p.From.Sides[i].Remote.NoAddress && !withICE && !p.overridden && !p.req.Replace.Has(ng.ReplaceZeroAddress) {
		address = zeroOf(address)
	}
	return sdp.AddressOf(address).String()
}

func zeroOf(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// sessionConnection is the value of the session's c= line: that of the first
// media, if there is one without a line of its own. Else it has no effect and
// stays unless it is to be replaced all the same.
func (p *Plan) sessionConnection(locals []LocalMedia) string {
	received, _, _ := p.doc.Session().Connection()
	if p.keepsEndpoint() {
		return received.String()
	}
	replace := p.req.Replace.Has(ng.ReplaceSessionConnection)
	for _, section := range p.doc.Medias() {
		_, _, own := section.Connection()
		replace = replace || !own
	}
	if replace && locals[0].Address.IsValid() {
		return p.connection(0, locals[0].Address)
	}
	return received.String()
}

// originAddress is the address for the o= line: that of the first media.
func originAddress(locals []LocalMedia) netip.Addr {
	for i := range locals {
		if locals[i].Address.IsValid() {
			return locals[i].Address
		}
	}
	return netip.Addr{}
}
