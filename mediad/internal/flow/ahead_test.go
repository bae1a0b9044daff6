package flow

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// TestPacketsAheadOfTheirKeys: what comes between the peer's end of a handshake and ours is heard, within bounds.
func TestPacketsAheadOfTheirKeys(t *testing.T) {
	key, err := secure.NewKey(secure.AESCM12880)
	require.NoError(t, err)
	sender, err := secure.NewOutbound(key)
	require.NoError(t, err)
	p := newPair(t, Route{Endpoint: sipPhone, Encrypted: true, DTLS: &gate{}})
	for seq := range uint16(2 * maxAhead) {
		pkt, err := sender.ProtectRTP(nil, rtpPacket(1, seq))
		require.NoError(t, err)
		require.Empty(t, p.handle(pkt, sipPhone, 0))
	}
	require.Equal(t, uint64(maxAhead), p.in.Statistics().ErrorsIn, "the rest is lost")

	p.batch.Reset()
	p.in.CatchUp(start, p.batch)
	require.Empty(t, p.batch.Datagrams(), "still no keys")

	r := *p.in.Route()
	r.Inbound, err = secure.NewInbound(key)
	require.NoError(t, err)
	p.in.SetRoute(&r)
	p.in.CatchUp(start, p.batch)
	require.Len(t, p.batch.Datagrams(), maxAhead)
	p.batch.Reset()
	p.in.CatchUp(start, p.batch)
	require.Empty(t, p.batch.Datagrams(), "once")

	// Without a handshake there is nothing to wait for.
	p = newPair(t, Route{Endpoint: sipPhone, Encrypted: true})
	p.handle(rtpPacket(1, 1), sipPhone, 0)
	require.Equal(t, uint64(1), p.in.Statistics().ErrorsIn)
}
