//go:build integration

package kernel

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
)

// TestRewrite: SSRC, sequence number and timestamp are shifted, and the checksum stays right, with an entry made by hand.
func TestRewrite(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		p, err := load(1)
		require.NoError(t, err)
		changed := make(chan struct{}, 1)
		n, err := newNetwork(p.objects.Forward, false, changed)
		require.NoError(t, err)
		at := netip.MustParseAddr(addr)
		alice, bob := newPhone(t, netip.AddrPortFrom(at, 0).String()), newPhone(t, netip.AddrPortFrom(at, 0).String())
		local := netip.AddrPortFrom(at, 40000)
		r := forwardRoute{
			Types: [2]uint64{1 << 8}, Ssrc: wire32(7), Source: addressOf(at), SourcePort: wire16(alice.addr.Port()),
			From: addressOf(at), FromPort: wire16(40002), To: addressOf(at), ToPort: wire16(bob.addr.Port()), Largest: 65535,
			Flags: rewrite, NewSsrc: wire32(0xdeadbeef), SequenceAdd: 65000, TimestampAdd: 0xfffffff0,
		}
		require.NoError(t, p.install(local, &r))
		for _, seq := range []uint16{1, 1000, 65535} {
			alice.seq = seq
			sent := alice.packet()
			alice.send(sent, local)
			got, from := bob.next()
			require.Equal(t, netip.AddrPortFrom(at, 40002), from)
			require.Equal(t, seq+65000, binary.BigEndian.Uint16(got[2:]))
			require.Equal(t, uint32(seq)*160+0xfffffff0, binary.BigEndian.Uint32(got[4:]))
			require.Equal(t, uint32(0xdeadbeef), binary.BigEndian.Uint32(got[8:]))
			require.Equal(t, sent[:2], got[:2])
			require.Equal(t, sent[12:], got[12:])
		}
		require.NoError(t, n.close())
		require.NoError(t, p.close())
	}
}

// TestJitter: packets that come four times as fast as they should jitter by three quarters of their distance (RFC 3550 §A.8).
func TestJitter(t *testing.T) {
	c := loopbackCall(t, Config{})
	c.routeA.Payloads = &flow.Payloads{}
	c.routeA.Payloads.Clock[8] = 8000
	c.set()
	c.both()
	for range 40 {
		c.alice.talk(c.toA.LocalAddr(), 1)
		time.Sleep(5 * time.Millisecond)
	}
	c.bob.hears(c.alice, c.toB.LocalAddr(), 40)
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	jitter := atomic.LoadUint32(&c.engine.program.count(c.engine.records[c.toA].entry.slot).Jitter) >> 4
	require.Greater(t, jitter, uint32(20)) // 120 on a machine with nothing else to do
	require.Less(t, jitter, uint32(200))
}
