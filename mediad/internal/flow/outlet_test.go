package flow

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOutlet: media leaves from the port whose pair ICE has chosen, and from the stream's own when ICE ends.
func TestOutlet(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone})
	other := newStream(t)
	ice := &gate{}
	p.out.SetRoute(&Route{Endpoint: sink, ICE: ice})
	other.SetRoute(&Route{ICE: ice})
	require.Empty(t, p.handle(rtpPacket(1, 1), sipPhone, 0), "no pair yet")

	chosen := addr("192.0.2.2:2000")
	other.Select(chosen)
	p.out.SetOutlet(other)
	require.Same(t, other, p.out.Outlet())
	got := p.handle(rtpPacket(1, 2), sipPhone, 0)
	require.Len(t, got, 1)
	require.Same(t, other, got[0].Stream)
	require.Equal(t, chosen, got[0].To)

	p.out.SetOutlet(p.out)
	require.Same(t, p.out, p.out.Outlet())
	p.out.SetOutlet(other)
	p.out.SetRoute(&Route{Endpoint: sink})
	got = p.handle(rtpPacket(1, 3), sipPhone, 0)
	require.Len(t, got, 1)
	require.Same(t, p.out, got[0].Stream)
	require.Equal(t, sink, got[0].To)

	p.out.SetOutlet(other)
	other.Retire()
	require.Empty(t, p.handle(rtpPacket(1, 4), sipPhone, 0), "the other port is closed")
}

func TestPassSTUN(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, PassSTUN: true, Learning: Immediate})
	check := make([]byte, 20)
	got := p.handle(check, addr("203.0.113.66:1"), 0)
	require.Len(t, got, 1)
	require.Equal(t, sink, got[0].To)
	require.Len(t, p.handle([]byte{22, 254, 253, 0}, addr("203.0.113.66:1"), 0), 1, "handshakes go through, too")
	require.Equal(t, sipPhone, p.in.Destination(), "they teach no address")

	for range maxPassed - 2 {
		require.Len(t, p.handle(check, addr("203.0.113.66:1"), 0), 1)
	}
	require.Empty(t, p.handle(check, addr("203.0.113.66:1"), 0), "a flood goes to nobody")
	require.Len(t, p.handle(check, sipPhone, time.Second), 1)
}
