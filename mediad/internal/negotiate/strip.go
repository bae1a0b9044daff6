package negotiate

import (
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// strip takes out of an RTP media what belongs to the leg that it came from.
// What the receiver needs instead is written anew.
func (p *Plan) strip(i int, section *sdp.Section) {
	plain := p.dropsFeedback(i)
	for a := range section.Attributes() {
		if ofICE(a.Name) || ofLeg(a.Name) || plain && ofFeedback(a.Name) ||
			a.Name == "extmap" && p.stripsExtmap() {
			section.Delete(a.Line)
		}
	}
}

func stripICE(section *sdp.Section) {
	for a := range section.Attributes() {
		if ofICE(a.Name) || a.Name == "mid" || a.Name == "bundle-only" {
			section.Delete(a.Line)
		}
	}
}

// ofICE names the attributes of RFC 8839 and RFC 8840.
func ofICE(name string) bool {
	switch name {
	case "candidate", "remote-candidates", "end-of-candidates", "ice-ufrag", "ice-pwd",
		"ice-lite", "ice-mismatch", "ice-options", "ice-pacing":
		return true
	}
	return false
}

// ofLeg names the attributes of transport, keys and bundling.
func ofLeg(name string) bool {
	switch name {
	case "rtcp", "rtcp-mux", "rtcp-mux-only", "mid", "bundle-only",
		"crypto", "fingerprint", "setup", "connection", "tls-id", "dtls-id":
		return true
	}
	return false
}

// ofFeedback names what only a browser-like peer with a feedback profile
// understands.
func ofFeedback(name string) bool {
	switch name {
	case "rtcp-fb", "rtcp-rsize", "extmap", "extmap-allow-mixed",
		"msid", "msid-semantic", "ssrc", "ssrc-group", "rid", "simulcast":
		return true
	}
	return false
}

// dropsFeedback reports whether media i goes from a feedback profile to one
// without.
func (p *Plan) dropsFeedback(i int) bool {
	return feedback(p.From.Sides[i].Remote.Protocol) && !feedback(p.To.Sides[i].Local.Protocol)
}
