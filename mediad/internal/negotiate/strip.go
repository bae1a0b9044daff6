package negotiate

import (
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// strip takes out of a media what is written anew for the receiver. Attributes
// that cannot be read are nobody's and stay.
func (p *Plan) strip(i int, section *sdp.Section, rtp bool) {
	m, _, _ := section.Media()
	l := &p.To.Sides[i].Local
	// RFC 8841: the DTLS of data channels runs between the parties.
	endToEnd := strings.Contains(m.Protocol, "DTLS/SCTP")
	for a := range section.Attributes() {
		if p.stripsICE(i, a) || ofKeys(a) && !endToEnd && !p.keepsICE(i) || ofTransport(a) && !(p.keepsEndpoint() && a.Name != "mid") || rtp && ofCodec(a) ||
			ofPtime(a) && l.Ptime > 0 || p.stripsDirection(a) || p.stripsExtmap(a) {
			section.Delete(a.Line)
		}
	}
	if endToEnd {
		p.copyDown(section)
	}
}

// stripsDirection reports whether a is a direction that is written anew.
func (p *Plan) stripsDirection(a sdp.Attribute) bool {
	_, ok := sdp.ParseDirection(a.Name)
	return ok && !p.req.Flags.Has(ng.FlagOriginalSendrecv)
}

// stripsExtmap reports whether a is a header extension (RFC 8285) to be kept
// from the receiver.
func (p *Plan) stripsExtmap(a sdp.Attribute) bool {
	return a.Name == "extmap" && p.req.Flags.Has(ng.FlagStripExtmap)
}

// stripsICE reports whether a, an attribute of media i, is of ICE and taken out.
func (p *Plan) stripsICE(i int, a sdp.Attribute) bool {
	if !ofICE(a) || !p.keepsICE(i) && !p.handsICEThrough() || a.Name == "end-of-candidates" {
		return ofICE(a)
	}
	c, _ := sdp.ParseCandidate(a.Value)
	return a.Name == "candidate" && p.keepsEndpoint() && c.Type == "relay"
}

// ofICE tells the attributes of RFC 8839 and RFC 8840.
func ofICE(a sdp.Attribute) bool {
	switch a.Name {
	case "remote-candidates", "end-of-candidates", "ice-ufrag", "ice-pwd", "ice-lite", "ice-mismatch", "ice-options":
		return true
	case "candidate":
		_, ok := sdp.ParseCandidate(a.Value)
		return ok
	}
	return false
}

// ofKeys tells the attributes of SDES (RFC 4568) and DTLS (RFC 8122).
func ofKeys(a sdp.Attribute) bool {
	switch a.Name {
	case "setup":
		return true
	case "fingerprint":
		_, ok := sdp.ParseFingerprint(a.Value)
		return ok
	case "crypto":
		_, ok := sdp.ParseCrypto(a.Value)
		return ok
	}
	return false
}

// ofTransport tells the attributes of ports and bundling.
func ofTransport(a sdp.Attribute) bool {
	switch a.Name {
	case "mid", "rtcp", "rtcp-mux":
		return true
	}
	return false
}

func ofPtime(a sdp.Attribute) bool { return a.Name == "ptime" && sdp.ParsePtime(a.Value) > 0 }

// ofCodec tells the attributes of one payload type.
func ofCodec(a sdp.Attribute) bool {
	switch a.Name {
	case "rtpmap":
		name, parameters, ok := strings.Cut(a.Value, " ")
		_, err := strconv.ParseUint(name, 10, 32)
		_, clock, slash := strings.Cut(parameters, "/")
		return ok && err == nil && slash && clock != "" && !strings.HasPrefix(parameters, " ")
	case "fmtp", "rtcp-fb":
		number, _, _ := strings.Cut(a.Value, " ")
		_, err := strconv.ParseUint(number, 10, 32)
		return err == nil
	}
	return false
}

// ofSession tells what is stripped of the session part: it either holds for
// the sender's leg only or is written anew in each media.
func ofSession(a sdp.Attribute) bool {
	switch a.Name {
	case "end-of-candidates", "crypto":
		return false
	case "group":
		return strings.HasPrefix(a.Value, "BUNDLE")
	case "rtcp":
		return a.Flag
	}
	return ofICE(a) || ofKeys(a)
}
