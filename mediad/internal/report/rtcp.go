package report

import (
	"encoding/binary"
	"iter"
	"strconv"
)

// RTCP packet types (RFC 3550 §12.1).
const (
	typeSR   = 200
	typeRR   = 201
	typeSDES = 202
)

// rtcpPacket is one packet of a compound. body follows the common header.
type rtcpPacket struct {
	version, count, kind uint8
	padding              bool
	words                int // of the header's length field
	body                 []byte
}

// packets are those of a compound, as far as their lengths hold.
func packets(pkt []byte) iter.Seq[rtcpPacket] {
	return func(yield func(rtcpPacket) bool) {
		for len(pkt) >= 4 {
			words := int(binary.BigEndian.Uint16(pkt[2:]))
			size := 4 * (words + 1)
			if pkt[0]>>6 != 2 || size > len(pkt) {
				return
			}
			p := rtcpPacket{
				version: pkt[0] >> 6, padding: pkt[0]&0x20 != 0, count: pkt[0] & 0x1f, kind: pkt[1], words: words, body: pkt[4:size],
			}
			if !yield(p) {
				return
			}
			pkt = pkt[size:]
		}
	}
}

// u32 is the word at an offset of bytes.
func u32(b []byte, at int) uint64 { return uint64(binary.BigEndian.Uint32(b[at:])) }

// Sizes in bytes (RFC 3550 §6.4.1).
const (
	ssrcSize       = 4
	senderInfoSize = 20
	blockSize      = 24
)

// sender returns the SSRC and sender info of a sender report; ok is false if it is cut.
func (p rtcpPacket) sender() (ssrc uint64, info []byte, ok bool) {
	if len(p.body) < ssrcSize+senderInfoSize {
		return 0, nil, false
	}
	return u32(p.body, 0), p.body[ssrcSize : ssrcSize+senderInfoSize], true
}

// blocks are the report blocks of a sender or receiver report.
func (p rtcpPacket) blocks() iter.Seq[[]byte] {
	at := ssrcSize
	if p.kind == typeSR {
		at += senderInfoSize
	}
	return func(yield func([]byte) bool) {
		for n := 0; n < int(p.count) && at+blockSize <= len(p.body); n++ {
			if !yield(p.body[at : at+blockSize]) {
				return
			}
			at += blockSize
		}
	}
}

// item of a source description (RFC 3550 §6.5).
type sdesItem struct {
	ssrc uint64
	kind uint8
	text []byte
}

// items are those of all chunks of a source description.
func (p rtcpPacket) items() iter.Seq[sdesItem] {
	return func(yield func(sdesItem) bool) {
		b := p.body
		for n := 0; n < int(p.count) && len(b) >= ssrcSize; n++ {
			ssrc, at := u32(b, 0), ssrcSize
			for at+2 <= len(b) && b[at] != 0 {
				end := at + 2 + int(b[at+1])
				if end > len(b) || !yield(sdesItem{ssrc, b[at], b[at+2 : end]}) {
					return
				}
				at = end
			}
			b = b[min((at+4)&^3, len(b)):] // the zero that ends the chunk, and what fills its word
		}
	}
}

// appendField appends what stands before a number, and the number.
func appendField(b []byte, key string, value uint64) []byte {
	b = append(b, key...)
	return strconv.AppendUint(b, value, 10)
}
