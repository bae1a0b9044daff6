package flow

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// TestZRTP: parties may agree on keys end to end where we protect nothing.
func TestZRTP(t *testing.T) {
	hello := make([]byte, 40)
	hello[0] = 0x10
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Immediate})
	require.Len(t, p.handle(hello, addr("203.0.113.66:1"), 0), 1)
	require.Equal(t, sipPhone, p.in.Destination(), "nothing is learned from it")

	key, err := secure.NewKey(secure.AESCM12880)
	require.NoError(t, err)
	inbound, err := secure.NewInbound(key)
	require.NoError(t, err)
	outbound, err := secure.NewOutbound(key)
	require.NoError(t, err)
	out := newStream(t)
	out.SetRoute(&Route{Endpoint: sink})
	for name, r := range map[string]Route{
		"from an encrypted leg": {Encrypted: true, Inbound: inbound},
		"to an encrypted leg":   {Media: []Output{{Stream: out, Encrypted: true, Outbound: outbound}}},
		"with ICE":              {ICE: &gate{allowed: sipPhone}},
		"on the RTCP port":      {Control: true},
	} {
		require.Empty(t, newPair(t, r).handle(hello, sipPhone, 0), name)
	}
	p = newPair(t, Route{Endpoint: sipPhone, Learning: Off, Strict: true})
	require.Empty(t, p.handle(hello, addr("203.0.113.66:1"), 0), "a stranger")
}

func TestWaitForTheReceiver(t *testing.T) {
	a, b := newStream(t), newStream(t)
	a.SetRoute(&Route{Endpoint: sipPhone, Media: []Output{{Stream: b, Wait: b}}})
	b.SetRoute(&Route{Endpoint: sink, Media: []Output{{Stream: a}}})
	batch := NewBatch()
	a.Handle(rtpPacket(1, 1), sipPhone, start, batch)
	require.Empty(t, batch.Datagrams(), "B has not been heard")
	b.Handle(rtpPacket(2, 1), sink, start, batch)
	require.Len(t, batch.Datagrams(), 1)
	a.Handle(rtpPacket(1, 2), sipPhone, start, batch)
	require.Len(t, batch.Datagrams(), 2)
	require.Zero(t, b.Statistics().ErrorsOut, "waiting is no error")
}

func TestRefusedPacketsAreCounted(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Learning: Off, Strict: true})
	p.handle(rtpPacket(1, 1), addr("203.0.113.66:1"), 0)
	p.handle(rtpPacket(1, 1), sipPhone, 0)
	st := p.in.Statistics()
	require.Equal(t, []uint64{1, 172, 1, 172}, []uint64{st.PacketsIn, st.BytesIn, st.ErrorsIn, st.ErrorBytesIn})
}

func TestConfirmed(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone})
	require.False(t, p.in.Confirmed())
	p.handle(rtpPacket(1, 1), sipPhone, 0)
	require.False(t, p.in.Confirmed(), "learning is open")
	p.handle(rtpPacket(1, 2), sipPhone, learningTime)
	require.True(t, p.in.Confirmed())
	p.in.Reopen(start.Add(learningTime))
	p.handle(rtpPacket(1, 3), sipPhone, learningTime)
	require.False(t, p.in.Confirmed())

	p = newPair(t, Route{Endpoint: sipPhone, Learning: Off})
	p.handle(rtpPacket(1, 1), sipPhone, 0)
	require.True(t, p.in.Confirmed())
	p = newPair(t, Route{ICE: &gate{allowed: sipPhone}})
	require.False(t, p.in.Confirmed())
	p.in.Select(sipPhone)
	require.True(t, p.in.Confirmed())
}
