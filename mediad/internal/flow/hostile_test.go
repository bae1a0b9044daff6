package flow

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

var stranger = addr("203.0.113.66:1")

// TestBleed: once learning is over, nothing that a stranger sends brings the media to him, whatever he tries and however long.
func TestBleed(t *testing.T) {
	hello := make([]byte, 40)
	hello[0] = 0x10
	for _, learning := range []Learning{Heuristic, Delayed, Immediate, Off} {
		p := newPair(t, Route{Endpoint: sipPhone, Learning: learning, Muxed: true})
		p.handle(rtpPacket(1, 1), sipPhone, 0)
		p.handle(rtpPacket(1, 2), sipPhone, learningTime)
		for i := range 100 {
			at := learningTime + time.Duration(i)*time.Minute
			p.handle(rtpPacket(1, uint16(3+i)), stranger, at)
			p.handle(rtpPacket(99, uint16(i)), stranger, at)
			p.handle(rtcpPacket(1), stranger, at)
			p.handle(hello, stranger, at)
			require.Equal(t, sipPhone, p.in.Destination(), learning)
		}
	}
}

// TestInject: with strict-source the peer hears nothing of a stranger.
func TestInject(t *testing.T) {
	for _, learning := range []Learning{Heuristic, Delayed, Immediate, Off} {
		p := newPair(t, Route{Endpoint: sipPhone, Learning: learning, Muxed: true, Strict: true})
		p.handle(rtpPacket(1, 1), sipPhone, 0)
		require.Len(t, p.handle(rtpPacket(1, 2), sipPhone, learningTime), 1)
		require.Empty(t, p.handle(rtpPacket(1, 3), stranger, learningTime))
		require.Empty(t, p.handle(rtcpPacket(1), stranger, learningTime))
		require.Equal(t, uint64(2), p.in.Statistics().ErrorsIn)
		require.Len(t, p.handle(rtpPacket(1, 3), sipPhone, learningTime), 1)
	}
}

// TestReopenIsForSignallingOnly: what was learned survives a re-offer while its owner is silent.
func TestReopenIsForSignallingOnly(t *testing.T) {
	p := newPair(t, Route{Endpoint: addr("10.0.0.1:4000")}) // behind NAT: SDP says nothing of use
	p.handle(rtpPacket(1, 1), sipPhone, 0)
	p.handle(rtpPacket(1, 2), sipPhone, learningTime)
	p.in.Reopen(start.Add(time.Minute))
	p.handle(rtpPacket(9, 1), stranger, time.Minute)
	require.Equal(t, sipPhone, p.in.Destination())
}

// TestForgedReports: reports of strangers to the SRTCP keys reach neither the peer nor the quality of the call.
func TestForgedReports(t *testing.T) {
	key, err := secure.NewKey(secure.AESCM12880)
	require.NoError(t, err)
	inbound, err := secure.NewInbound(key)
	require.NoError(t, err)
	q := quality.NewTable(quality.LQ)
	q.Learn(1, 8000)
	w := &witness{}
	p := newPair(t, Route{Endpoint: sipPhone, Muxed: true, Encrypted: true, Inbound: inbound, Quality: q, Observer: w})
	forged := append(rtcpPacket(9), make([]byte, reportBlockSize)...)
	forged[0], forged[3] = 0x81, 7
	binary.BigEndian.PutUint32(forged[8:], 1)
	binary.BigEndian.PutUint32(forged[24:], 77)
	forged[31] = 1 // DLSR
	require.Empty(t, p.handle(forged, sipPhone, 0))
	require.Empty(t, q.Summaries())
	require.Zero(t, w.control)
	require.Equal(t, uint64(1), p.in.Statistics().ErrorsIn)
}

// TestMalformedControl: what is not RTCP, or lies about its length, goes nowhere; a compound that breaks off later is the receiver's to
// judge.
func TestMalformedControl(t *testing.T) {
	p := newPair(t, Route{Endpoint: sipPhone, Control: true, Quality: quality.NewTable(quality.CQ)})
	for _, pkt := range [][]byte{
		nil, {0x80}, {0x80, 200, 0, 0}, {0x80, 201, 0, 1, 0, 0, 0}, {0x80, 201, 0xff, 0xff, 0, 0, 0, 1}, {0, 201, 0, 1, 0, 0, 0, 1},
		{0x40, 201, 0, 1, 0, 0, 0, 1},
	} {
		require.Empty(t, p.handle(append([]byte(nil), pkt...), sipPhone, 0), "% x", pkt)
	}
	require.Equal(t, uint64(7), p.in.Statistics().ErrorsIn)
	cut := append(rtcpPacket(1), 0x81, 206, 0xff, 0xff)
	require.Len(t, p.handle(cut, sipPhone, 0), 1)
}

// TestSourceFlood: a million sources cost the room of maxSources, and make no garbage.
func TestSourceFlood(t *testing.T) {
	q := quality.NewTable(quality.CQ)
	p := newPair(t, Route{Endpoint: sipPhone, Payloads: telephony(), Quality: q, Drop: true})
	pkt := rtpPacket(0, 1)
	ssrc := uint32(0)
	flood := func() {
		ssrc++
		binary.BigEndian.PutUint32(pkt[8:], ssrc)
		p.in.Handle(pkt, sipPhone, start, p.batch)
	}
	for range 1000 {
		flood()
	}
	allocs := testing.AllocsPerRun(10000, flood)
	require.Len(t, p.in.Statistics().Sources, maxSources)
	if !raceEnabled {
		require.Zero(t, allocs)
	}
}
