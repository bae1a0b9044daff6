// Package rtp looks at RTP and RTCP packets in place: header views, the demultiplexing rules of a shared port and sequence
// arithmetic. It never copies and never allocates; what it returns points into the packet it was given.
package rtp

import "encoding/binary"

// HeaderSize is the length in bytes of the fixed part of an RTP header (RFC 3550 §5.1).
const HeaderSize = 12

// RTCPHeaderSize is the length in bytes of the shortest RTCP packet that names a sender (RFC 3550 §6.4): common header and SSRC.
const RTCPHeaderSize = 8

// Version is the only RTP version in use (RFC 3550 §5.1).
const Version = 2

// Packet is a datagram that holds RTP. The accessors may only be used after Valid or HeaderLen said that the header is whole.
type Packet []byte

// Valid reports whether the packet is RTP version 2 and has a whole header including its CSRC list and extension.
func (p Packet) Valid() bool {
	_, ok := p.HeaderLen()
	return ok
}

// HeaderLen is the number of bytes before the payload: fixed header, CSRC list and header extension (RFC 3550 §5.1, §5.3.1).
// ok is false when the packet is not version 2 or ends inside its header.
func (p Packet) HeaderLen() (n int, ok bool) {
	if len(p) < HeaderSize || p[0]>>6 != Version {
		return 0, false
	}
	n = HeaderSize + 4*int(p[0]&0x0f)
	if p[0]&0x10 != 0 {
		if len(p) < n+4 {
			return 0, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(p[n+2:]))
	}
	if len(p) < n {
		return 0, false
	}
	return n, true
}

// Marker is the M bit.
func (p Packet) Marker() bool { return p[1]&0x80 != 0 }

// PayloadType is the payload type, 0–127.
func (p Packet) PayloadType() uint8 { return p[1] & 0x7f }

// Sequence is the sequence number.
func (p Packet) Sequence() uint16 { return binary.BigEndian.Uint16(p[2:]) }

// Timestamp is the media timestamp in units of the payload's clock rate.
func (p Packet) Timestamp() uint32 { return binary.BigEndian.Uint32(p[4:]) }

// SSRC is the synchronisation source.
func (p Packet) SSRC() uint32 { return binary.BigEndian.Uint32(p[8:]) }

// Payload is what follows the header, without the padding (RFC 3550 §5.1, P bit). It is nil when the packet is malformed.
func (p Packet) Payload() []byte {
	n, ok := p.HeaderLen()
	if !ok {
		return nil
	}
	end := len(p)
	if p[0]&0x20 != 0 {
		pad := int(p[end-1])
		if pad == 0 || end-pad < n {
			return nil
		}
		end -= pad
	}
	return p[n:end]
}

// RTCP is a datagram that holds a compound RTCP packet.
type RTCP []byte

// Valid reports whether the first packet of the compound is version 2, long enough to name its sender and inside the datagram
// (RFC 3550 §A.2, RFC 5506 for reduced-size packets that start with any type).
func (p RTCP) Valid() bool {
	return len(p) >= RTCPHeaderSize && p[0]>>6 == Version && 4*(int(binary.BigEndian.Uint16(p[2:]))+1) <= len(p)
}

// Type is the packet type of the first packet, for example 200 for a sender report.
func (p RTCP) Type() uint8 { return p[1] }

// SSRC is the sender of the first packet.
func (p RTCP) SSRC() uint32 { return binary.BigEndian.Uint32(p[4:]) }
