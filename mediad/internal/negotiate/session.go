package negotiate

import (
	"hash/fnv"
	"math"
	"net/netip"
	"strconv"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// loopMarker is the session attribute of "loop protect". The name is
// rtpengine's, so that the two recognize each other's bodies.
const loopMarker = "rtpengine"

func (p *Plan) isLooped() bool {
	for a := range p.doc.Session().Attributes(loopMarker) {
		if p.opts.Instance != "" && a.Value == p.opts.Instance {
			return true
		}
	}
	return false
}

// rewriteSession rewrites the session part except for o= and s=. connection is
// the value for its c= line.
func (p *Plan) rewriteSession(connection string) {
	s := p.doc.Session()
	if l, ok := s.First('c'); ok {
		s.Replace(l, readdress(l, connection))
	}
	for a := range s.Attributes() {
		kept := p.keepsSession() || p.handsICEThrough() && ofICE(a)
		if (ofSession(a) || p.stripsDirection(a)) && !kept || p.stripsExtmap(a) {
			s.Delete(a.Line)
		}
	}
	if mid := p.bundleMID(); mid != "" {
		s.Append("a=group:BUNDLE " + mid)
	}
	for i := range p.doc.Medias() {
		if p.To.Sides[i].Local.Active && p.To.Sides[i].Local.ICE.Mode == ICELite {
			s.Append("a=ice-lite")
			break
		}
	}
	if p.req.Flags.Has(ng.FlagLoopProtect) && p.opts.Instance != "" {
		s.Append("a=" + loopMarker + ":" + p.opts.Instance)
	}
}

// bundleMID is the mid of the one media in our BUNDLE group, empty if there is
// to be no group. Every media has ports of its own, so a group never has more
// than one (RFC 9143 §7.3.1 lets the answerer leave media out).
func (p *Plan) bundleMID() string {
	wanted := p.req.Bundle.Has(ng.BundleOffer) || p.req.Bundle.Has(ng.BundleRequire)
	if p.req.Command == ng.CommandAnswer {
		wanted = p.req.Bundle.Has(ng.BundleAccept) && p.To.Session.BundleOffered
	}
	if !wanted {
		return ""
	}
	for i := range p.doc.Medias() {
		if l := &p.To.Sides[i].Local; l.Active && l.MID != "" {
			return l.MID
		}
	}
	return ""
}

// copyDown gives a media whose DTLS is not ours (data channels) the attributes
// that it had from the session part.
func (p *Plan) copyDown(section *sdp.Section) {
	for _, name := range [...]string{"setup", "fingerprint", "tls-id"} {
		if _, own := section.Attribute(name); own {
			continue
		}
		for a := range p.doc.Session().Attributes(name) {
			section.Append("a=" + a.Line.Value)
		}
	}
}

// rewriteOrigin applies the "replace" words for o= and s=: the receiver sees
// those of the first body that it was given.
func (p *Plan) rewriteOrigin(address netip.Addr) {
	s := p.doc.Session()
	sent := &p.To.Session.Sent
	name, named := s.First('s')
	if named && sent.Valid && sent.SessionName != "" && p.req.Replace.Has(ng.ReplaceSessionName) {
		s.Replace(name, sent.SessionName)
	}
	line, ok := s.First('o')
	origin, parsed := sdp.ParseOrigin(line.Value)
	if !ok || !parsed {
		return
	}
	received := origin
	full := p.req.Replace.Has(ng.ReplaceOriginFull)
	if (full || p.req.Replace.Has(ng.ReplaceOrigin)) && address.IsValid() && !p.keepsEndpoint() {
		origin.Address = sdp.AddressOf(address)
	}
	if !sent.Valid {
		*sent = SentOrigin{
			Valid: true, Username: origin.Username, ID: origin.ID, Version: origin.Version, SessionName: name.Value,
		}
	}
	if full || p.req.Replace.Has(ng.ReplaceUsername) {
		origin.Username = sent.Username
	}
	if full {
		origin.ID = sent.ID
	}
	p.number(&origin, line)
	if origin == received {
		s.Replace(line, line.Value) // spacing and all
	} else {
		s.Replace(line, origin.String())
	}
}

// digest is a hash over the body with all of its o= line but the version.
func (p *Plan) digest(line sdp.Line, origin sdp.Origin) uint64 {
	origin.Version = "0"
	p.doc.Session().Replace(line, origin.String())
	h := fnv.New64a()
	h.Write(p.doc.Bytes())
	return h.Sum64()
}

// number takes the version of the origin into our own hands, if it is to be
// replaced: it begins with that of the first body, if that is a number to count
// on from, and grows by one whenever the body has changed.
func (p *Plan) number(origin *sdp.Origin, line sdp.Line) {
	force := p.req.Replace.Has(ng.ReplaceForceIncrementSDPVersion)
	if !force && !p.req.Replace.Has(ng.ReplaceSDPVersion) && !p.req.Replace.Has(ng.ReplaceOriginFull) {
		return
	}
	sent := &p.To.Session.Sent
	version, err := strconv.ParseUint(sent.Version, 10, 64)
	if err != nil || version == 0 || version == math.MaxUint64 {
		version = p.firstVersion()
	}
	digest := p.digest(line, *origin)
	if changed := sent.Counted && digest != sent.Digest; changed || force && sent.Counted {
		version++
	}
	sent.Counted, sent.Digest = true, digest
	sent.Version = strconv.FormatUint(version, 10)
	origin.Version = sent.Version
}

// firstVersion is a version for a receiver whose first body had none.
func (p *Plan) firstVersion() uint64 {
	h := fnv.New64a()
	for _, word := range []string{p.req.CallID, p.To.Tag, p.From.Tag} {
		h.Write([]byte(word))
		h.Write([]byte{0})
	}
	return h.Sum64() >> 1
}
