package secure

import (
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"
)

// TestFloodOfHellos: ClientHellos from ever new sources start a bounded number of handshakes, get no more bytes than they bring, and do
// not keep the peer out.
func TestFloodOfHellos(t *testing.T) {
	hello := clientHello(t)
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer peer.Close()
	theirs := newCert(t)
	p := newPort(t)
	out := &counting{port: p}
	e, o := newTestEndpoint(t, p, newCert(t), func(c *EndpointConfig) {
		c.Remote = func() netip.AddrPort { return addrOf(peer) } // SDP has named it
		c.Sender = out
	})
	require.NoError(t, e.Start(Passive, []Fingerprint{fingerprint(t, theirs, "sha-256")}))
	before := runtime.NumGoroutine()
	stranger := netip.MustParseAddr("127.0.0.66")
	const flood = 5000
	for i := range flood {
		e.HandlePacket(hello, netip.AddrPortFrom(stranger, uint16(1024+i)))
	}
	e.mu.Lock()
	require.LessOrEqual(t, len(e.attempts), maxAttempts)
	e.mu.Unlock()
	require.Less(t, runtime.NumGoroutine(), before+maxAttempts*8)

	conn, _, err := pionPeer(t, peer, addrOf(p.conn), true, theirs, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	require.NoError(t, err)
	defer conn.Close()
	select {
	case <-o.keys:
	case <-time.After(5 * time.Second):
		t.Fatal("the peer was kept out")
	}
	require.LessOrEqual(t, out.toStrangers.Load(), int64(flood*len(hello)))
}

// counting counts the bytes that go to strangers.
type counting struct {
	port        *port
	toStrangers atomic.Int64
}

func (c *counting) Send(pkt []byte, dst netip.AddrPort) error {
	if dst.Addr() == netip.MustParseAddr("127.0.0.66") {
		c.toStrangers.Add(int64(len(pkt)))
		return nil
	}
	return c.port.Send(pkt, dst)
}
