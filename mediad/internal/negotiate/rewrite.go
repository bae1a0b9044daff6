package negotiate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// LocalMedia is what the call has made for one media of the receiver of the
// rewritten body, as Plan.To.Sides[i].Local demands.
type LocalMedia struct {
	Address  netip.Addr // as advertised
	RTPPort  uint16
	RTCPPort uint16 // ignored without Local.RTCPPort

	ICEUfrag string
	ICEPwd   string

	// Candidates are further candidates of the local side. Those for Address
	// and the ports above are written without being listed.
	Candidates []sdp.Candidate

	Fingerprint sdp.Fingerprint // of our certificate, by Local.DTLS.Hash
	TLSID       string          // RFC 8842; empty = no a=tls-id

	Keys [][]byte // master key and salt for each of Local.SDES.Lines
}

// Rewrite returns the body for the receiver. locals[i] belongs to
// p.To.Sides[i]; those of inactive sides may be zero. It may be called once;
// p.To is complete afterwards. The error wraps an ng.Reason.
func (p *Plan) Rewrite(locals []LocalMedia) (string, error) {
	switch {
	case p.Untouched:
		return p.req.SDP, nil
	case p.Fragment:
		return "", nil
	case len(locals) < len(p.doc.Medias()):
		return "", fmt.Errorf("%w: %d local sides for %d media", ng.ReasonSDPRewrite, len(locals), len(p.doc.Medias()))
	}
	locals = slices.Clone(locals)
	override, err := netip.ParseAddr(p.req.MediaAddress)
	for i := range p.doc.Medias() {
		if !p.To.Sides[i].Local.Active {
			continue
		}
		if err == nil && override.Zone() == "" {
			locals[i].Address = override
		}
		if err := p.check(i, &locals[i]); err != nil {
			return "", err
		}
	}
	session := p.sessionAddress(locals)
	for i, section := range p.doc.Medias() {
		p.rewriteMedia(i, section, &locals[i], session)
	}
	p.rewriteSession(session)
	p.operate()
	p.rewriteOrigin(session)
	return string(p.doc.Bytes()), nil
}

// check refuses to write a body without what the receiver needs.
func (p *Plan) check(i int, local *LocalMedia) error {
	l := &p.To.Sides[i].Local
	switch {
	case !local.Address.IsValid() || local.RTPPort == 0 || l.RTCPPort && local.RTCPPort == 0:
		return fmt.Errorf("%w: media %d has no local port", ng.ReasonSDPRewrite, i)
	case l.ICE.Mode != ICENone && (local.ICEUfrag == "" || local.ICEPwd == ""):
		return fmt.Errorf("%w: media %d has no ICE credentials", ng.ReasonSDPRewrite, i)
	case l.DTLS.Role != DTLSNone && local.Fingerprint.Value == "":
		return fmt.Errorf("%w: media %d has no fingerprint", ng.ReasonSDPRewrite, i)
	case len(local.Keys) < len(l.SDES.Lines):
		return fmt.Errorf("%w: media %d lacks SDES keys", ng.ReasonSDPRewrite, i)
	}
	for n, line := range l.SDES.Lines {
		if len(local.Keys[n]) != KeyLength(line.Suite) {
			return fmt.Errorf("%w: media %d: key of %s has the wrong length", ng.ReasonSDPRewrite, i, line.Suite)
		}
	}
	return nil
}

// sessionAddress is the address for the session's c= and o= lines: that of the
// first relayed media without a c= line of its own, else of the first one.
func (p *Plan) sessionAddress(locals []LocalMedia) netip.Addr {
	var first netip.Addr
	for i, section := range p.doc.Medias() {
		if !p.To.Sides[i].Local.Active {
			continue
		}
		if _, _, own := section.Connection(); !own {
			return locals[i].Address
		}
		if !first.IsValid() {
			first = locals[i].Address
		}
	}
	return first
}

// rewriteMedia rewrites one m= section. session is the address that the
// session's c= line will have.
func (p *Plan) rewriteMedia(i int, section *sdp.Section, local *LocalMedia, session netip.Addr) {
	side := &p.To.Sides[i]
	l := &side.Local
	m, line, _ := section.Media()
	if !relayed(m.Protocol) {
		p.keepConnection(section, session)
		return
	}
	if isRTP(canonical(m.Protocol)) {
		p.filterCodecs(i, section, &m)
		p.strip(i, section)
	}
	if isRTP(l.Protocol) {
		m.Protocol = l.Protocol
	}
	m.Count = 1
	if !l.Active {
		m.Port = 0
		section.Replace(line, m.String())
		p.hideConnection(section, session)
		if l.MID != "" {
			section.Append("a=mid:" + l.MID)
		}
		return
	}
	m.Port = local.RTPPort
	section.Replace(line, m.String())
	p.rewriteConnection(i, section, local.Address, session)
	p.writeDirection(i, section)
	if l.MID != "" {
		section.Append("a=mid:" + l.MID)
	}
	if l.Raw {
		p.copyDown(section)
		stripICE(section)
	} else {
		p.writeRTCP(section, l, local)
		p.writeKeys(section, l, local)
	}
	p.writeICE(section, l, local)
}

// rewriteConnection puts our address into the c= lines of a media and adds one
// if the session's does not fit. An old hold keeps its zero address.
func (p *Plan) rewriteConnection(i int, section *sdp.Section, address, session netip.Addr) {
	if p.keepsZero(i) {
		address = zeroOf(address)
	}
	value := sdp.AddressOf(address).String()
	found := false
	for l := range section.Lines() {
		if l.Type == 'c' {
			section.Replace(l, value)
			found = true
		}
	}
	_, _, inherited := p.doc.Session().Connection()
	if found || inherited && p.sessionValue(session) == value {
		return
	}
	p.insertConnection(section, value)
}

// insertConnection puts a c= line where RFC 8866 §9 wants it.
func (p *Plan) insertConnection(section *sdp.Section, value string) {
	_, at, _ := section.Media()
	if info, ok := section.First('i'); ok && info.Index == at.Index+1 {
		at = info
	}
	section.InsertAfter(at, "c="+value)
}

// keepConnection gives a media that is not relayed the address that it had
// from the session.
func (p *Plan) keepConnection(section *sdp.Section, session netip.Addr) {
	if _, _, own := section.Connection(); own || !session.IsValid() {
		return
	}
	if inherited, _, ok := p.doc.Session().Connection(); ok {
		p.insertConnection(section, inherited.String())
	}
}

// hideConnection takes inner addresses out of a refused media.
func (p *Plan) hideConnection(section *sdp.Section, session netip.Addr) {
	if !session.IsValid() {
		return
	}
	for l := range section.Lines() {
		if l.Type == 'c' {
			section.Replace(l, sdp.AddressOf(session).String())
		}
	}
}

// keepsZero reports whether media i is held by a zero address that is to be
// passed on.
func (p *Plan) keepsZero(i int) bool {
	return p.From.Sides[i].Remote.Hold && !p.req.Replace.Has(ng.ReplaceZeroAddress)
}

func zeroOf(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// sessionValue is the value of the session's c= line after rewriting.
func (p *Plan) sessionValue(session netip.Addr) string {
	inherited, _, ok := p.doc.Session().Connection()
	if !ok || !session.IsValid() {
		return inherited.String()
	}
	for i, section := range p.doc.Medias() {
		if _, _, own := section.Connection(); !own && p.To.Sides[i].Local.Active && p.keepsZero(i) {
			return sdp.AddressOf(zeroOf(session)).String()
		}
	}
	return sdp.AddressOf(session).String()
}

// writeDirection changes the direction attribute if it is not what the
// receiver is to be told.
func (p *Plan) writeDirection(i int, section *sdp.Section) {
	told := p.To.Sides[i].Local.Direction
	if told == p.From.Sides[i].Remote.Direction {
		return
	}
	for a := range section.Attributes() {
		if _, ok := sdp.ParseDirection(a.Name); ok {
			section.Delete(a.Line)
		}
	}
	section.Append("a=" + told.String())
}

func (p *Plan) writeRTCP(section *sdp.Section, l *Local, local *LocalMedia) {
	port := local.RTPPort
	if l.RTCPPort {
		port = local.RTCPPort
	}
	switch value := "a=rtcp:" + strconv.Itoa(int(port)); {
	case p.req.Flags.Has(ng.FlagNoRTCPAttribute):
	case p.req.Flags.Has(ng.FlagFullRTCPAttribute):
		section.Append(value + " " + sdp.AddressOf(local.Address).String())
	default:
		section.Append(value)
	}
	if l.RTCPMux || l.RTCPMuxOffered && p.req.Command != ng.CommandAnswer {
		section.Append("a=rtcp-mux")
	}
}

func (p *Plan) writeKeys(section *sdp.Section, l *Local, local *LocalMedia) {
	for n, line := range l.SDES.Lines {
		section.Append("a=crypto:" + writeCrypto(line, local.Keys[n], p.req))
	}
	if l.DTLS.Role == DTLSNone {
		return
	}
	setup := sdp.SetupActPass // RFC 8842 §5.2: in every offer
	if p.req.Command == ng.CommandAnswer {
		setup = sdp.SetupActive
		if l.DTLS.Role == DTLSPassive {
			setup = sdp.SetupPassive
		}
	}
	section.Append("a=setup:" + setup.String())
	section.Append("a=fingerprint:" + local.Fingerprint.String())
	if local.TLSID != "" && !p.req.Flags.Has(ng.FlagNoTLSID) {
		section.Append("a=tls-id:" + local.TLSID)
	}
}

func (p *Plan) writeICE(section *sdp.Section, l *Local, local *LocalMedia) {
	if l.ICE.Mode == ICENone {
		return
	}
	section.Append("a=ice-ufrag:" + local.ICEUfrag)
	section.Append("a=ice-pwd:" + local.ICEPwd)
	if l.ICE.Trickle {
		section.Append("a=ice-options:trickle")
	}
	ports := []uint16{local.RTPPort}
	if l.RTCPPort {
		ports = append(ports, local.RTCPPort)
	}
	for n, port := range ports {
		section.Append("a=candidate:" + hostCandidate(local.Address, n+1, port, l.ICE.RelayOnly).String())
	}
	for _, c := range local.Candidates {
		section.Append("a=candidate:" + c.String())
	}
	if l.ICE.Trickle {
		section.Append("a=end-of-candidates")
	}
}
