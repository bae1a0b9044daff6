package flow

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// While a digit is played, packets of sound go on as its packets, under their own numbers; then sound goes on.
func TestPlayer(t *testing.T) {
	var payloads Payloads
	payloads.Events[101] = true
	y := NewPlayer(96, 8000, 8000, &payloads)
	p := newPair(t, Route{Endpoint: sipPhone})
	p.in.SetRoute(&Route{Endpoint: sipPhone, Media: []Output{{Stream: p.out, Filter: &Filter{Player: y, DropMedia: true}}}})
	seq := uint16(0)
	send := func() []byte {
		seq++
		b := rtpPacket(1, 1)
		binary.BigEndian.PutUint16(b[2:], seq)
		binary.BigEndian.PutUint32(b[4:], uint32(seq)*160)
		out := p.handle(b, sipPhone, 0)
		if len(out) == 0 {
			return nil
		}
		return out[0].Packet
	}
	require.Nil(t, send(), "sound is blocked")
	require.True(t, y.Stuck())
	for code := range uint8(2) {
		require.True(t, y.Play(Digit{Code: 5 + code, Volume: 10, Duration: 100 * time.Millisecond, Pause: 40 * time.Millisecond}))
	}
	for digit := range byte(2) {
		start := uint32(seq+1) * 160
		for i, want := range []struct {
			marker, end bool
			duration    uint16
		}{
			{true, false, 160}, {false, false, 160}, {false, false, 320}, {false, false, 480}, {false, false, 640},
			{false, true, 800}, {false, true, 800}, {false, true, 800},
		} {
			got := send()
			require.Len(t, got, 16, "packet %d", i)
			require.Equal(t, want.marker, got[1]&0x80 != 0, "packet %d", i)
			require.EqualValues(t, 96, got[1]&0x7f)
			require.Equal(t, seq, binary.BigEndian.Uint16(got[2:]))
			require.Equal(t, start, binary.BigEndian.Uint32(got[4:]))
			require.Equal(t, 5+digit, got[12])
			require.Equal(t, want.end, got[13]&0x80 != 0, "packet %d", i)
			require.EqualValues(t, 10, got[13]&0x3f)
			require.Equal(t, want.duration, binary.BigEndian.Uint16(got[14:]), "packet %d", i)
		}
		require.Nil(t, send(), "the pause")
		require.Equal(t, digit == 1, y.Idle())
	}
	require.Nil(t, send())
	require.Nil(t, send())
	require.Equal(t, whyFilter, p.in.hindrance(p.in.Route()), "not by the kernel")
}

// Digits of the source's own are left alone, long ones end where their duration can not count further, and the queue is bounded.
func TestPlayerBounds(t *testing.T) {
	var payloads Payloads
	payloads.Events[101] = true
	y := NewPlayer(101, 48000, 48000, &payloads)
	require.True(t, y.Play(Digit{Code: 1, Duration: 5 * time.Second}))
	own := telephoneEvent(7, 9)
	got, played := y.play(own)
	require.False(t, played)
	require.Equal(t, own, got)
	for ts := range uint32(2000) {
		b := make([]byte, 172)
		b[0] = 0xa0 // with padding
		b[171] = 4
		binary.BigEndian.PutUint32(b[4:], ts*960)
		got, played = y.play(b)
		require.True(t, played)
		require.Zero(t, got[0]&0x20)
		if got[13]&0x80 != 0 {
			require.EqualValues(t, 0xffff, binary.BigEndian.Uint16(got[14:]))
			require.EqualValues(t, 69, ts)
			break
		}
	}
	_, played = y.play([]byte{0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}[:12:12])
	require.False(t, played, "no room for an event")
	for range maxDigits - 1 {
		require.True(t, y.Play(Digit{}))
	}
	require.False(t, y.Play(Digit{}))
}
