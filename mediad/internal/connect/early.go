package connect

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v2"
)

// answerEarly answers an authenticated check that comes before the peer's credentials are known (RFC 8445 §7.3 wants that at once): the checks of a
// called browser come straight, its answer goes through SIP. Chromium sends its answer some 100 ms sooner when a check has succeeded. pion
// cannot do it, as it wants to know the peer's ufrag. Who has not got our password from the offer gets nothing, and what goes back is no
// larger than what came.
func (c *conflict) answerEarly(pkt []byte, port Port, src netip.AddrPort) {
	if binary.BigEndian.Uint16(pkt) != bindingRequest {
		return
	}
	m, err := stun.Build(transactionOf(pkt), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: src.Addr().AsSlice(), Port: int(src.Port())}, stun.NewShortTermIntegrity(c.credentials.Password), stun.Fingerprint)
	if err == nil && len(m.Raw) <= len(pkt) {
		_ = port.Sender.Send(m.Raw, src)
	}
}
