package negotiate

import (
	"strings"

	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// strip takes out of a media what is written anew for the receiver. Attributes
// that cannot be read are nobody's and stay, and so do the keys of a media
// whose DTLS runs between the parties.
func strip(section *sdp.Section, rtp, endToEnd bool) {
	for a := range section.Attributes() {
		if ofICE(a) || ofKeys(a) && !endToEnd || ofMedia(a) || rtp && ofCodec(a) {
			section.Delete(a.Line)
		}
	}
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

// ofMedia tells the attributes of direction, transport and packet time.
func ofMedia(a sdp.Attribute) bool {
	switch a.Name {
	case "mid", "rtcp", "rtcp-mux":
		return true
	case "ptime":
		return sdp.ParsePtime(a.Value) > 0
	}
	_, ok := sdp.ParseDirection(a.Name)
	return ok
}

// ofCodec tells the attributes of one payload type.
func ofCodec(a sdp.Attribute) bool {
	switch a.Name {
	case "rtpmap":
		_, ok := sdp.ParseRTPMap(a.Value)
		return ok
	case "fmtp", "rtcp-fb":
		_, _, ok := sdp.SplitPayload(a.Value)
		return ok
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
	_, direction := sdp.ParseDirection(a.Name)
	return direction || ofICE(a) || ofKeys(a)
}
