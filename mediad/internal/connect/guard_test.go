package connect

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v2"
	"github.com/stretchr/testify/require"
)

// message builds a STUN message out of raw attributes.
func message(typ uint16, attrs ...[]byte) []byte {
	b := make([]byte, stunHeader)
	binary.BigEndian.PutUint16(b, typ)
	binary.BigEndian.PutUint32(b[4:], stunCookie)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader))
	return b
}

func attribute(typ uint16, value ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// TestGuardKeepsPanicAway shows the hole in stun/v2 v2.0.0 (GHSA-34rh-wp3j-6cxc) and that the guard closes it.
func TestGuardKeepsPanicAway(t *testing.T) {
	evil := message(bindingSuccess, attribute(attrXORMappedAddress))
	readAddress := func() {
		m := &stun.Message{Raw: append([]byte(nil), evil...)}
		if m.Decode() == nil {
			var a stun.XORMappedAddress
			_ = a.GetFrom(m)
		}
	}
	require.Panics(t, readAddress, "stun has been mended: the guard may go")

	port := newPort(t, "127.0.0.1")
	a, err := NewAgent(Config{Local: port.addr(), Credentials: NewCredentials(), Sender: port})
	require.NoError(t, err)
	defer a.Close()
	require.False(t, a.guard.Load().pass(evil, 0, netip.MustParseAddrPort("127.0.0.2:1")))
}

func TestAcceptable(t *testing.T) {
	const ufrag = "ours"
	username := attribute(attrUsername, []byte("ours:theirs")...)
	v4 := []byte{0, 1, 0, 80, 127, 0, 0, 1}
	v6 := append([]byte{0, 2, 0, 80}, make([]byte, 16)...)
	for _, tc := range []struct {
		name string
		pkt  []byte
		ok   bool
	}{
		{"request", message(bindingRequest, username), true},
		{"request with everything", message(bindingRequest, username, attribute(attrPriority, 1, 2, 3, 4), attribute(attrControlling, make([]byte, 8)...),
			attribute(attrUseCandidate), attribute(attrIntegrity, make([]byte, 20)...), attribute(attrFingerprint, 1, 2, 3, 4)), true},
		{"request without a name", message(bindingRequest), false},
		{"request for somebody else", message(bindingRequest, attribute(attrUsername, []byte("other:theirs")...)), false},
		{"request whose name only begins like ours", message(bindingRequest, attribute(attrUsername, []byte("ours2:theirs")...)), false},
		{"request that names us alone", message(bindingRequest, attribute(attrUsername, []byte("ours")...)), false},
		{"success", message(bindingSuccess, attribute(attrXORMappedAddress, v4...)), true},
		{"success, IPv6", message(bindingSuccess, attribute(attrXORMappedAddress, v6...)), true},
		{"IPv6 family, IPv4 length", message(bindingSuccess, attribute(attrXORMappedAddress, 0, 2, 0, 80, 1, 2, 3, 4)), false},
		{"error", message(bindingError, attribute(attrErrorCode, 0, 0, 4, 87)), true},
		{"error without a code", message(bindingError, attribute(attrErrorCode, 0)), false},
		{"indication", message(bindingIndication), true},
		{"another method", message(0x0003, username), false},
		{"short integrity", message(bindingRequest, username, attribute(attrIntegrity, 1, 2, 3, 4)), false},
		{"long use-candidate", message(bindingRequest, username, attribute(attrUseCandidate, 1)), false},
		{"empty priority", message(bindingRequest, username, attribute(attrPriority)), false},
		{"no cookie", append([]byte{0, 1, 0, 0}, make([]byte, 16)...), false},
		{"length beyond end", append([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...), false},
		{"bytes behind the end", append(message(bindingSuccess), 0, 0, 0, 0), false},
		{"attribute beyond end", message(bindingSuccess, []byte{0, 0x20, 0xff, 0xff}), false},
		{"attribute header cut", message(bindingSuccess, []byte{0, 0x20}), false},
		{"too large", message(bindingSuccess, make([]byte, maxSTUN)), false},
		{"too many attributes", message(bindingSuccess, make([]byte, 4*maxAttributes+4)), false},
		{"empty", nil, false},
	} {
		require.Equal(t, tc.ok, acceptable(tc.pkt, ufrag), tc.name)
	}
	pkt := message(bindingRequest, username, attribute(attrPriority, 1, 2, 3, 4))
	require.Zero(t, testing.AllocsPerRun(100, func() { acceptable(pkt, ufrag) }))
}

// TestPeerReflexiveFlood: a peer that checks from ever new ports does not make the agent grow without end.
func TestPeerReflexiveFlood(t *testing.T) {
	o := newOurs(t, "127.0.0.1", nil)
	theirs := NewCredentials()
	require.NoError(t, o.Start(Remote{Credentials: theirs}))
	c := o.Credentials()
	for i := range 300 {
		m, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername(c.Ufrag+":"+theirs.Ufrag),
			stun.NewShortTermIntegrity(c.Password), stun.Fingerprint)
		require.NoError(t, err)
		o.HandlePacket(m.Raw, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), uint16(2000+i)))
		if i%8 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	time.Sleep(50 * time.Millisecond)
	list, err := o.generation.agent.GetRemoteCandidates()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(list), maxChecked)
	require.LessOrEqual(t, len(list), maxChecked+queueDepth)
}

// FuzzGuard: what the guard lets pass must not make stun/v2 panic, whichever address attribute is read from it.
func FuzzGuard(f *testing.F) {
	f.Add(message(bindingSuccess, attribute(attrXORMappedAddress)))
	f.Add(message(bindingSuccess, attribute(attrXORMappedAddress, 0, 1, 0, 80, 127, 0, 0, 1)))
	f.Add(message(bindingRequest, attribute(attrUsername, []byte("ours:theirs")...), attribute(attrIntegrity, make([]byte, 20)...)))
	f.Add(message(bindingError, attribute(attrErrorCode, 0, 0, 4, 87)))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if !acceptable(pkt, "ours") {
			return
		}
		m := &stun.Message{Raw: append([]byte(nil), pkt...)}
		if m.Decode() != nil {
			return
		}
		var xor stun.XORMappedAddress
		_ = xor.GetFrom(m)
		for _, attr := range []stun.AttrType{stun.AttrXORPeerAddress, stun.AttrXORRelayedAddress} {
			_ = xor.GetFromAs(m, attr)
		}
		var mapped stun.MappedAddress
		_ = mapped.GetFrom(m)
		var alternate stun.AlternateServer
		_ = alternate.GetFrom(m)
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(m)
		_ = stun.NewShortTermIntegrity("password").Check(m)
		_ = stun.Fingerprint.Check(m)
	})
}
