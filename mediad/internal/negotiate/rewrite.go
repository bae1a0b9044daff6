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
	Address  netip.Addr // as advertised; wanted of inactive sides, too
	RTPPort  uint16
	RTCPPort uint16 // ignored without Local.RTCPPort

	ICEUfrag string
	ICEPwd   string

	// Further are the ports on other local addresses, which are candidates of
	// ICE, too.
	Further []LocalPlace

	Fingerprint sdp.Fingerprint // of our certificate, by Local.DTLS.Hash
	TLSID       string          // RFC 8842; empty = no a=tls-id

	Keys [][]byte // master key and salt for each of Local.SDES.Lines
}

// LocalPlace is a pair of ports on a local address, as advertised.
type LocalPlace struct {
	Address  netip.Addr
	RTPPort  uint16
	RTCPPort uint16
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
	p.overridden = err == nil && override.Zone() == ""
	for i := range p.doc.Medias() {
		if p.overridden {
			locals[i].Address = override
		}
		if !p.To.Sides[i].Local.Active {
			continue
		}
		if err := p.check(i, &locals[i]); err != nil {
			return "", err
		}
	}
	session := p.sessionConnection(locals)
	for i, section := range p.doc.Medias() {
		p.rewriteMedia(i, section, &locals[i], session)
	}
	p.rewriteSession(session)
	if len(p.req.SDPAttr) > 0 {
		if p.doc, err = operate(p.doc.Bytes(), p.req.SDPAttr); err != nil {
			return "", fmt.Errorf("%w: %w", ng.ReasonSDPRewrite, err)
		}
	}
	hiddenFrom(p.doc, &p.To)
	p.rewriteOrigin(originAddress(locals))
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

// rewriteMedia rewrites one m= section. What it does not know stays where it
// is, what it knows is taken out and written anew behind it, in the order in
// which rtpengine writes it. session is the value that the session's c= line
// will have.
func (p *Plan) rewriteMedia(i int, section *sdp.Section, local *LocalMedia, session string) {
	side := &p.To.Sides[i]
	l := &side.Local
	m, line, _ := section.Media()
	if !relayed(m.Type) {
		p.keepConnection(section)
		return
	}
	rtp := isRTP(canonical(m.Protocol))
	p.strip(i, section, rtp)
	if !p.keepsEndpoint() || !l.Active {
		m.Port, m.Count = 0, 1
		m.Protocol = l.Protocol
		if rtp {
			m.Formats = formats(l.Payloads)
		}
		if l.Active {
			m.Port = local.RTPPort
		}
		section.Replace(line, m.String())
	}
	if !p.keepsEndpoint() {
		p.rewriteConnection(i, section, local.Address, session)
	}
	if l.MID != "" {
		section.Append("a=mid:" + l.MID)
	}
	if i < len(p.labels) && p.labels[i] != "" {
		section.Append("a=label:" + p.labels[i])
	}
	if !l.Active {
		if p.From.Sides[i].Remote.ICE.EndOfCandidates || side.Remote.ICE.trickles() && !side.Remote.Rejected {
			section.Append("a=end-of-candidates")
		}
		return
	}
	if rtp {
		writeCodecs(section, l.Payloads)
	}
	if !p.req.Flags.Has(ng.FlagOriginalSendrecv) {
		section.Append("a=" + l.Direction.String())
	}
	p.writeRTCP(section, l, local)
	p.writeKeys(section, l, local)
	if l.Ptime > 0 && rtp {
		section.Append("a=ptime:" + strconv.Itoa(l.Ptime))
	}
	p.writeICE(i, section, local)
}
