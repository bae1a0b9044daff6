package quality

import "encoding/binary"

// RTCP packet types (RFC 3550 §12.1).
const (
	typeSR = 200
	typeRR = 201
)

// Sizes in bytes (RFC 3550 §6.4.1).
const (
	headerSize     = 8 // common header and SSRC
	senderInfoSize = 20
	blockSize      = 24
)

// block is one report block.
type block struct {
	source       uint32
	fractionLost uint8
	lost         uint32 // cumulative, 24 bits
	jitter       uint32
	lastSR       uint32
	delay        uint32 // since lastSR, 1/65536 s
}

// reports walks over the sender and receiver reports of a compound packet. A packet whose lengths lie ends the walk: what came before
// counts.
func reports(pkt []byte, sender func(ssrc uint32, ntp uint32), receiver func(ssrc uint32, b block)) {
	for len(pkt) >= headerSize {
		size := 4 * (int(binary.BigEndian.Uint16(pkt[2:])) + 1)
		if pkt[0]>>6 != 2 || size > len(pkt) {
			return
		}
		body, ssrc := pkt[:size], uint32(0)
		if size >= headerSize {
			ssrc = binary.BigEndian.Uint32(body[4:])
			body = body[headerSize:]
			switch pkt[1] {
			case typeSR:
				if len(body) >= senderInfoSize {
					sender(ssrc, binary.BigEndian.Uint32(body[2:])) // the middle of the NTP time
					blocks(body[senderInfoSize:], pkt[0]&0x1f, ssrc, receiver)
				}
			case typeRR:
				blocks(body, pkt[0]&0x1f, ssrc, receiver)
			}
		}
		pkt = pkt[size:]
	}
}

func blocks(body []byte, count byte, ssrc uint32, receiver func(uint32, block)) {
	for ; count > 0 && len(body) >= blockSize; count-- {
		receiver(ssrc, block{
			source:       binary.BigEndian.Uint32(body),
			fractionLost: body[4],
			lost:         binary.BigEndian.Uint32(body[4:]) & 0xffffff,
			jitter:       binary.BigEndian.Uint32(body[12:]),
			lastSR:       binary.BigEndian.Uint32(body[16:]),
			delay:        binary.BigEndian.Uint32(body[20:]),
		})
		body = body[blockSize:]
	}
}
