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

// offerProtocol settles the profiles of an offer: towards the answerer as the
// flag says; as it was before, if the offerer's has not changed since; or as
// received. An answerer that has answered in another profile than it was offered
// is offered that one the next time.
func (p *Plan) offerProtocol(from, to *Side) {
	received, wanted := from.Remote.Protocol, canonical(string(p.req.TransportProtocol))
	next := received
	switch {
	case !isRTP(received):
	case isRTP(wanted):
		next = wanted
	case isRTP(to.Local.Profile) && from.Local.Profile == received:
		next = to.Local.Profile
	}
	from.Local.Protocol, from.Local.Profile = received, received
	to.Local.Protocol, to.Local.Profile = next, next
}

// answerProtocol settles those of an answer. It does not make a protected leg a
// plain one.
func (p *Plan) answerProtocol(from, to *Side) {
	remote := from.Remote.Protocol
	if isRTP(from.Local.Protocol) && isRTP(remote) {
		from.Local.Profile = remote
		if secure(remote) == secure(from.Local.Protocol) {
			from.Local.Protocol = remote
		}
	}
	if wanted := canonical(string(p.req.TransportProtocol)); isRTP(wanted) && isRTP(to.Local.Protocol) {
		to.Local.Protocol, to.Local.Profile = wanted, wanted
	}
}

// relayed reports whether media of the type is relayed. Messages (RFC 4975) go
// over TCP between the parties and are only passed on as text.
func relayed(mediaType string) bool { return mediaType != "message" }
