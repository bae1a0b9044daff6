package negotiate

import (
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// udptl carries T.38 fax (ITU-T T.38 annex D).
const udptl = "udptl"

// canonical returns the protocol in its usual spelling, or as it is if it is
// none that we know.
func canonical(protocol string) string {
	for _, p := range [...]ng.TransportProtocol{
		ng.ProtocolRTPAVP, ng.ProtocolRTPAVPF, ng.ProtocolRTPSAVP,
		ng.ProtocolRTPSAVPF, ng.ProtocolTLSSAVP, ng.ProtocolTLSSAVPF, udptl,
	} {
		if strings.EqualFold(protocol, string(p)) {
			return string(p)
		}
	}
	return protocol
}

// isRTP reports whether protocol (canonical) is one of the RTP profiles.
func isRTP(protocol string) bool {
	switch ng.TransportProtocol(protocol) {
	case ng.ProtocolRTPAVP, ng.ProtocolRTPAVPF, ng.ProtocolRTPSAVP,
		ng.ProtocolRTPSAVPF, ng.ProtocolTLSSAVP, ng.ProtocolTLSSAVPF:
		return true
	}
	return false
}

// secure reports whether the profile protects its media (RFC 3711).
func secure(protocol string) bool {
	return isRTP(protocol) && strings.Contains(protocol, "/SAVP")
}

// relayed reports whether media of the type is relayed. Messages (RFC 4975) go
// over TCP between the parties and are only passed on as text.
func relayed(mediaType string) bool { return mediaType != "message" }
