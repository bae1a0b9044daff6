package connect

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tandem-sbc/tandem/pkg/udp"
)

// guard stands between the packet path and pion. It lets pass what is a well-formed Binding message, and requests only if they name our
// ufrag. stun/v2 v2.0.0 panics on an empty XOR-MAPPED-ADDRESS (GHSA-34rh-wp3j-6cxc); the guard refuses all attributes whose length does
// not fit their meaning, so that nothing behind it has to.
type guard struct {
	ufrag   string
	views   []*udp.View
	ports   []Port
	auth    []*authenticator                  // one for each port
	checked *atomic.Pointer[[]netip.AddrPort] // the agent's

	conflict *conflict
}

func (g *guard) pass(pkt []byte, port int, src netip.AddrPort) bool {
	if list := g.checked.Load(); list != nil && len(*list) >= maxChecked && !slices.Contains(*list, src) {
		return false
	}
	v := judge(pkt, g.ufrag)
	if v == fine && binary.BigEndian.Uint16(pkt) == bindingRequest {
		v = g.auth[port].check(pkt)
	}
	switch v {
	case fine:
	case malformed:
		return false
	default:
		g.auth[port].refuse(v, pkt, g.ports[port], src, time.Now())
		return false
	}
	if g.conflict.settles(pkt, g.ports[port], src) {
		return false
	}
	if g.conflict.role.Load() == noRole {
		g.conflict.answerEarly(pkt, g.ports[port], src)
	}
	return g.views[port].Feed(pkt, src)
}

const (
	stunHeader    = 20
	stunCookie    = 0x2112a442
	maxAttributes = 32
	maxSTUN       = 1280 // no check needs more; RFC 8489 §6.1 wants them below the path MTU
)

// Binding message types (RFC 8489 §5).
const (
	bindingRequest    = 0x0001
	bindingIndication = 0x0011
	bindingSuccess    = 0x0101
	bindingError      = 0x0111
)

// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1, RFC 8656 §18).
const (
	attrMappedAddress    = 0x0001
	attrUsername         = 0x0006
	attrIntegrity        = 0x0008
	attrErrorCode        = 0x0009
	attrXORPeerAddress   = 0x0012
	attrXORRelayed       = 0x0016
	attrIntegritySHA256  = 0x001c
	attrXORMappedAddress = 0x0020
	attrPriority         = 0x0024
	attrUseCandidate     = 0x0025
	attrOldXORMapped     = 0x8020 // of drafts of RFC 5389; stun/v2 takes it for XOR-MAPPED-ADDRESS
	attrAlternateServer  = 0x8023
	attrFingerprint      = 0x8028
	attrControlled       = 0x8029
	attrControlling      = 0x802a
	attrResponseOrigin   = 0x802b
	attrOtherAddress     = 0x802c
)

// acceptable reports whether a datagram is a Binding message that pion can take, and, if a request, meant for us.
func acceptable(pkt []byte, ufrag string) bool { return judge(pkt, ufrag) == fine }

// judge tells whether a datagram is a Binding message that pion can take, and, if a request, meant for us: its USERNAME begins with our
// ufrag (RFC 8445 §7.2.2). It does not allocate.
func judge(pkt []byte, ufrag string) verdict {
	if len(pkt) < stunHeader || len(pkt) > maxSTUN || binary.BigEndian.Uint32(pkt[4:]) != stunCookie {
		return malformed
	}
	typ := binary.BigEndian.Uint16(pkt)
	switch typ {
	case bindingRequest, bindingIndication, bindingSuccess, bindingError:
	default:
		return malformed
	}
	body := pkt[stunHeader:]
	if len(body)%4 != 0 || int(binary.BigEndian.Uint16(pkt[2:])) != len(body) {
		return malformed
	}
	v := fine
	if typ == bindingRequest {
		v = nameless
	}
	for n := 0; len(body) > 0; n++ {
		if n == maxAttributes || len(body) < 4 {
			return malformed
		}
		attr, length := binary.BigEndian.Uint16(body), int(binary.BigEndian.Uint16(body[2:]))
		padded := 4 + (length+3)&^3
		if padded > len(body) {
			return malformed
		}
		value := body[4 : 4+length]
		if !lengthFits(attr, value) {
			return malformed
		}
		if attr == attrUsername && v == nameless {
			v = stranger
			if addressesUfrag(value, ufrag) {
				v = fine
			}
		}
		body = body[padded:]
	}
	return v
}

func lengthFits(attr uint16, value []byte) bool {
	switch attr {
	case attrMappedAddress, attrXORMappedAddress, attrOldXORMapped, attrXORPeerAddress, attrXORRelayed,
		attrAlternateServer, attrResponseOrigin, attrOtherAddress:
		return (len(value) == 8 && value[1] == 1) || (len(value) == 20 && value[1] == 2)
	case attrIntegrity:
		return len(value) == 20
	case attrIntegritySHA256:
		return len(value) >= 16 && len(value) <= 32 && len(value)%4 == 0
	case attrFingerprint, attrPriority:
		return len(value) == 4
	case attrControlled, attrControlling:
		return len(value) == 8
	case attrUseCandidate:
		return len(value) == 0
	case attrErrorCode:
		return len(value) >= 4
	case attrUsername:
		return len(value) > 0 && len(value) <= 513
	default:
		return true
	}
}

// isSuccess reports whether a message of ours says that a check has passed.
func isSuccess(pkt []byte) bool {
	return len(pkt) >= stunHeader && binary.BigEndian.Uint16(pkt) == bindingSuccess
}

func addressesUfrag(username []byte, ufrag string) bool {
	n := len(ufrag)
	return len(username) > n && username[n] == ':' && string(username[:n]) == ufrag
}
