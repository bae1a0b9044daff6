package secure

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"
)

// TestKeysAreInPlaceBeforeThePeerKnows: a client whose handshake is finished sends media at once, and it must not be lost.
func TestKeysAreInPlaceBeforeThePeerKnows(t *testing.T) {
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer peer.Close()
	theirs := newCert(t)
	p := newPort(t)
	var inPlace atomic.Bool
	e, _ := newTestEndpoint(t, p, newCert(t), func(c *EndpointConfig) {
		c.OnKeys = func(Keys) {
			time.Sleep(100 * time.Millisecond) // the call is busy
			inPlace.Store(true)
		}
	})
	require.NoError(t, e.Start(Passive, []Fingerprint{fingerprint(t, theirs, "sha-256")}))
	conn, _, err := pionPeer(t, peer, addrOf(p.conn), true, theirs, dtls.SRTP_AEAD_AES_128_GCM)
	require.NoError(t, err)
	defer conn.Close()
	require.True(t, inPlace.Load())
}
