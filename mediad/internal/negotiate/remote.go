package negotiate

import (
	"fmt"
	"net/netip"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// Bounds of what is kept of one media.
const (
	maxCandidates   = 64
	maxFingerprints = 8
	maxCrypto       = 32
	maxCredential   = 256 // RFC 8839 §5.4
)

// reader reads what a body says about its media.
type reader struct {
	session *sdp.Section
	source  netip.Addr // replaces addresses in the SDP if valid
}

// newReader prepares to read the body of req. Addresses are trusted unless the
// flag "SIP source address" (or the daemon's --sip-source) says otherwise.
func newReader(doc *sdp.Document, req *ng.Request, opts *Options) reader {
	r := reader{session: doc.Session()}
	bySource := req.Flags.Has(ng.FlagSIPSourceAddress) ||
		opts.SIPSource && !req.Flags.Has(ng.FlagTrustAddress)
	if bySource && req.ReceivedFrom.IsValid() {
		r.source = req.ReceivedFrom.Unmap()
	}
	return r
}

// media reads one m= section.
func (r *reader) media(section *sdp.Section) (Remote, error) {
	m, _, ok := section.Media()
	if !ok {
		return Remote{}, fmt.Errorf("%w: m= line", ng.ReasonSDPParse)
	}
	remote := Remote{
		Type:     m.Type,
		Protocol: canonical(m.Protocol),
		Rejected: m.Port == 0,
		Payloads: section.Payloads(),
	}
	if isRTP(remote.Protocol) && len(remote.Payloads) < len(m.Formats) {
		return Remote{}, fmt.Errorf("%w: payload types", ng.ReasonSDPIncomplete)
	}
	r.attributes(section, &remote)
	r.ice(section, &remote.ICE)
	remote.Direction = r.direction(section)
	return remote, r.endpoints(section, m.Port, &remote)
}

// direction is what the attributes of the media and of the session part say
// together: one word of the two that restricts counts, the more so the more it
// restricts sending.
func (r *reader) direction(section *sdp.Section) sdp.Direction {
	var said [4]bool
	for _, s := range [...]*sdp.Section{r.session, section} {
		for a := range s.Attributes() {
			if d, ok := sdp.ParseDirection(a.Name); ok {
				said[d] = true
			}
		}
	}
	for _, d := range [...]sdp.Direction{sdp.RecvOnly, sdp.SendOnly, sdp.Inactive} {
		if said[d] {
			return d
		}
	}
	return sdp.SendRecv
}

// attributes reads the attributes that stand in the media only, and those of
// DTLS, which may stand in the session part (RFC 8122 §5).
func (r *reader) attributes(section *sdp.Section, remote *Remote) {
	for a := range section.Attributes() {
		switch a.Name {
		case "rtcp-mux":
			remote.RTCPMux = true
		case "mid":
			if remote.MID == "" {
				remote.MID = token(a.Value)
			}
		case "ptime":
			if remote.Ptime == 0 {
				remote.Ptime = sdp.ParsePtime(a.Value)
			}
		case "crypto":
			if c, ok := readCrypto(a.Value); ok && len(remote.Crypto) < maxCrypto {
				remote.Crypto = append(remote.Crypto, c)
			}
		case "fingerprint", "setup", "tls-id":
			readDTLS(a, remote)
		}
	}
	inherit := Remote{}
	for a := range r.session.Attributes("fingerprint", "setup", "tls-id") {
		readDTLS(a, &inherit)
	}
	if len(remote.Fingerprints) == 0 {
		remote.Fingerprints = inherit.Fingerprints
	}
	if remote.Setup == sdp.SetupAbsent {
		remote.Setup = inherit.Setup
	}
	if remote.TLSID == "" {
		remote.TLSID = inherit.TLSID
	}
}

func readDTLS(a sdp.Attribute, remote *Remote) {
	switch a.Name {
	case "fingerprint":
		if f, ok := sdp.ParseFingerprint(a.Value); ok && len(remote.Fingerprints) < maxFingerprints {
			remote.Fingerprints = append(remote.Fingerprints, f)
		}
	case "setup":
		if remote.Setup == sdp.SetupAbsent { // the first one counts
			remote.Setup = sdp.ParseSetup(a.Value)
		}
	case "tls-id":
		remote.TLSID = strings.TrimSpace(a.Value)
	}
}

// ice reads the ICE attributes (RFC 8839). Credentials may stand in the session
// part; candidates and options do not count there, as in rtpengine.
func (r *reader) ice(section *sdp.Section, ice *RemoteICE) {
	for a := range r.session.Attributes("ice-ufrag", "ice-pwd", "ice-lite") {
		readICE(a, ice)
	}
	for a := range section.Attributes() {
		readICE(a, ice)
	}
	if len(ice.Ufrag) > maxCredential || len(ice.Pwd) > maxCredential {
		*ice = RemoteICE{}
	}
}

func readICE(a sdp.Attribute, ice *RemoteICE) {
	switch a.Name {
	case "ice-ufrag":
		ice.Ufrag = strings.TrimSpace(a.Value)
	case "ice-pwd":
		ice.Pwd = strings.TrimSpace(a.Value)
	case "ice-lite":
		ice.Lite = true
	case "ice-options":
		for _, word := range strings.Fields(a.Value) {
			ice.Trickle = ice.Trickle || word == "trickle"
		}
	case "end-of-candidates":
		ice.EndOfCandidates = true
	case "candidate":
		if c, ok := sdp.ParseCandidate(a.Value); ok && len(ice.Candidates) < maxCandidates {
			ice.Candidates = append(ice.Candidates, c)
		}
	}
}

// endpoints finds where the party wants its packets.
func (r *reader) endpoints(section *sdp.Section, port uint16, remote *Remote) error {
	conn, _, ok := section.Connection()
	if !ok {
		conn, _, ok = r.session.Connection()
	}
	if !ok {
		return fmt.Errorf("%w: no c= line", ng.ReasonSDPIncomplete)
	}
	ip, ok := conn.IP()
	if !ok {
		return fmt.Errorf("%w: connection address %q", ng.ReasonSDPParse, conn.Host)
	}
	zero := ip.IsUnspecified()
	// Who trickles has no address yet (RFC 8840 §4.1.1).
	remote.Hold = zero && remote.ICE.Ufrag == ""
	remote.NoAddress = zero && (remote.ICE.Ufrag == "" || !remote.ICE.Trickle && !r.trickles())
	if r.source.IsValid() && !zero {
		ip = r.source
	}
	remote.Family = ng.FamilyIP4
	if ip.Is6() {
		remote.Family = ng.FamilyIP6
	}
	if remote.Rejected || !relayed(remote.Type) {
		return nil
	}
	remote.RTP = endpoint(ip, port)
	if !isRTP(remote.Protocol) {
		return nil
	}
	remote.RTCP = endpoint(ip, port+1)
	if remote.RTCPMux {
		remote.RTCP = remote.RTP
		return nil
	}
	if a, ok := section.Attribute("rtcp"); ok {
		rtcp, ok := sdp.ParseRTCP(a.Value)
		if !ok {
			return nil
		}
		if rtcp.Port == port { // says the same
			remote.RTCPMux, remote.RTCP = true, remote.RTP
			return nil
		}
		if other, ok := rtcp.Address.IP(); ok && !r.source.IsValid() {
			ip = other
		}
		remote.RTCP = endpoint(ip, rtcp.Port)
	}
	return nil
}

// trickles reports whether the session part says so, where Firefox and pion do.
func (r *reader) trickles() bool {
	var ice RemoteICE
	for a := range r.session.Attributes("ice-options") {
		readICE(a, &ice)
	}
	return ice.Trickle
}

// endpoint is invalid for addresses that nothing may be sent to.
func endpoint(ip netip.Addr, port uint16) netip.AddrPort {
	if ip.IsUnspecified() || ip.IsMulticast() || port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, port)
}

// token cuts value to what a token of RFC 8866 may hold without harm.
func token(value string) string {
	value = strings.TrimSpace(value)
	if len(value) > 64 || strings.ContainsAny(value, " \t\x00") {
		return ""
	}
	return value
}
