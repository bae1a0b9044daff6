package negotiate

import (
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// canonical returns the profile in its usual spelling, or protocol itself if
// it is no RTP profile that we know.
func canonical(protocol string) string {
	for _, p := range [...]ng.TransportProtocol{
		ng.ProtocolRTPAVP, ng.ProtocolRTPAVPF, ng.ProtocolRTPSAVP,
		ng.ProtocolRTPSAVPF, ng.ProtocolTLSSAVP, ng.ProtocolTLSSAVPF,
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

// feedback reports whether the profile allows a=rtcp-fb (RFC 4585).
func feedback(protocol string) bool {
	return isRTP(protocol) && strings.HasSuffix(protocol, "F")
}

// relayed reports whether media of the protocol comes in datagrams that can be
// relayed. Others (TCP/MSRP, TCP/TLS/BFCP) are only passed on as text.
func relayed(protocol string) bool {
	return len(protocol) < 3 || !strings.EqualFold(protocol[:3], "TCP")
}
