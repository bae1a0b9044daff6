package connect

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v2"
	"github.com/stretchr/testify/require"
)

// TestEarlyCheckIsAnswered: before Start, a check with our credentials gets its success response, one with another password an error.
func TestEarlyCheckIsAnswered(t *testing.T) {
	for _, local := range []string{"127.0.0.1", "::1"} {
		o := newOurs(t, local, nil)
		socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0)))
		require.NoError(t, err)
		defer func() { _ = socket.Close() }()
		check := func(password string) *stun.Message {
			return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(o.Credentials().Ufrag+":peer"),
				stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 1, 255}},
				stun.RawAttribute{Type: stun.AttrICEControlled, Value: make([]byte, 8)},
				stun.NewShortTermIntegrity(password), stun.Fingerprint)
		}
		for password, answered := range map[string]bool{o.Credentials().Password: true, NewCredentials().Password: false} {
			request := check(password)
			_, err := socket.WriteToUDPAddrPort(request.Raw, o.port.addr())
			require.NoError(t, err)
			require.NoError(t, socket.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
			buf := make([]byte, 1500)
			n, _, err := socket.ReadFromUDPAddrPort(buf)
			require.NoError(t, err)
			require.LessOrEqual(t, n, len(request.Raw))
			response := &stun.Message{Raw: buf[:n]}
			require.NoError(t, response.Decode())
			if !answered {
				require.Equal(t, stun.BindingError, response.Type)
				continue
			}
			require.Equal(t, stun.BindingSuccess, response.Type)
			require.Equal(t, request.TransactionID, response.TransactionID)
			require.NoError(t, stun.NewShortTermIntegrity(password).Check(response))
			var mapped stun.XORMappedAddress
			require.NoError(t, mapped.GetFrom(response))
			addr, _ := netip.AddrFromSlice(mapped.IP)
			require.Equal(t, socket.LocalAddr().String(), netip.AddrPortFrom(addr.Unmap(), uint16(mapped.Port)).String())
		}
		require.Empty(t, o.selected)
	}
}
