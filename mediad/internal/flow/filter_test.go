package flow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// telephoneEvent is a packet of the event code (RFC 4733 §2.3).
func telephoneEvent(code byte, timestamp byte) []byte {
	b := append(rtpPacket(1, 1)[:12:12], code, 10, 0, 160)
	b[1], b[7] = 101, timestamp
	return b
}

func TestFilter(t *testing.T) {
	filtered := func(f Filter) *pair {
		f.Events[101], f.Fill[8] = true, 0xd5
		p := newPair(t, Route{Endpoint: sipPhone})
		p.in.SetRoute(&Route{Endpoint: sipPhone, Media: []Output{{Stream: p.out, Filter: &f}}})
		return p
	}
	media := func(p *pair) []Datagram { return p.handle(rtpPacket(1, 1), sipPhone, 0) }
	event := func(p *pair, code byte) []Datagram { return p.handle(telephoneEvent(code, 9), sipPhone, 0) }

	p := filtered(Filter{})
	require.Equal(t, "sound", string(media(p)[0].Packet[12:17]))
	require.EqualValues(t, 5, event(p, 5)[0].Packet[12])

	p = filtered(Filter{DropMedia: true})
	require.Empty(t, media(p))
	require.Len(t, event(p, 5), 1, "block media leaves telephone events alone")

	p = filtered(Filter{Block: EventsDrop})
	require.Len(t, media(p), 1)
	require.Empty(t, event(p, 5))

	p = filtered(Filter{Silence: true})
	silent := media(p)[0].Packet
	require.Len(t, silent, 172)
	for _, b := range silent[12:] {
		require.EqualValues(t, 0xd5, b)
	}
	unknown := rtpPacket(1, 2)
	unknown[1] = 18
	require.Empty(t, p.handle(unknown, sipPhone, 0), "there is no silence for a codec that is not known")

	p = filtered(Filter{Block: EventsZero})
	require.EqualValues(t, 0, event(p, 7)[0].Packet[12])

	p = filtered(Filter{Block: EventsRandom})
	one := event(p, 3)[0].Packet[12]
	require.Less(t, one, byte(10))
	require.Equal(t, one, event(p, 4)[0].Packet[12], "does not depend on the digit, stays during the event")
	codes := map[byte]bool{}
	for ts := range byte(100) {
		codes[p.handle(telephoneEvent(3, ts), sipPhone, 0)[0].Packet[12]] = true
	}
	require.Greater(t, len(codes), 5)
}

// One receiver may be kept from what others hear.
func TestFilterOfOneOutput(t *testing.T) {
	f := &Filter{Silence: true}
	f.Fill[8] = 0xd5
	p := newPair(t, Route{Endpoint: sipPhone})
	other := newStream(t)
	other.SetRoute(&Route{Endpoint: addr("198.51.100.2:6000")})
	for _, outputs := range [][]Output{
		{{Stream: p.out, Filter: f}, {Stream: other}}, {{Stream: other}, {Stream: p.out, Filter: f}},
	} {
		p.in.SetRoute(&Route{Endpoint: sipPhone, Media: outputs})
		got := p.handle(rtpPacket(1, 1), sipPhone, 0)
		require.Len(t, got, 2)
		for _, d := range got {
			if d.Stream == other {
				require.Equal(t, "sound", string(d.Packet[12:17]))
			} else {
				require.EqualValues(t, 0xd5, d.Packet[12])
			}
		}
	}
}
