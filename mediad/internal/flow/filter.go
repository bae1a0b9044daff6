package flow

import "github.com/tandem-sbc/tandem/pkg/rtp"

// payloadTypes is the number of RTP payload types.
const payloadTypes = 128

// Filter keeps some packets of a media from a receiver, or changes them. It is immutable once it is part of a route.
type Filter struct {
	// Events are the payload types of telephone events (RFC 4733). All others count as media.
	Events [payloadTypes]bool
	// Fill are the bytes that are silence in media of a payload type, 0 where there is no such byte.
	Fill [payloadTypes]byte

	// DropMedia drops all but telephone events (ng: block media).
	DropMedia bool
	// Silence replaces media by silence of the same length, and drops what has no Fill (ng: silence media).
	Silence bool
	// Player plays telephone events in place of the media, nil for none; what it plays is neither dropped nor silenced.
	Player *Player
	// Block is what happens to telephone events (ng: block DTMF).
	Block EventBlock
}

// EventBlock is what a Filter does with telephone events (ng: DTMF-security).
type EventBlock uint8

// Values of EventBlock.
const (
	EventsPass   EventBlock = iota
	EventsDrop              // none goes on
	EventsZero              // all become the digit 0
	EventsRandom            // each becomes another digit, which says nothing about it
)

// drops reports whether a packet does not go on.
func (f *Filter) drops(p rtp.Packet) bool {
	if pt := p.PayloadType(); !f.Events[pt] {
		return f.DropMedia || f.Silence && f.Fill[pt] == 0
	}
	return f.Block == EventsDrop
}

// change rewrites the payload of a packet that goes on.
func (f *Filter) change(p rtp.Packet) {
	pt, payload := p.PayloadType(), p.Payload()
	switch {
	case len(payload) == 0:
	case f.Events[pt] && f.Block == EventsZero:
		payload[0] = 0
	case f.Events[pt] && f.Block == EventsRandom:
		payload[0] = digitOf(p)
	case !f.Events[pt] && f.Silence:
		fill := f.Fill[pt]
		for i := range payload {
			payload[i] = fill
		}
	}
}

// digitOf makes up an event code: the packets of one event, which share their timestamp, get the same.
func digitOf(p rtp.Packet) byte {
	const digits, golden = 10, 2654435761 // Knuth's multiplicative hash
	return byte((p.Timestamp() ^ p.SSRC()) * golden >> 16 % digits)
}
