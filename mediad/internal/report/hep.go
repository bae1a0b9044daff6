package report

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Chunk types of HEP3 (HEP/EEP revision 3, §3; vendor 0).
const (
	chunkFamily        = 0x01
	chunkProtocol      = 0x02
	chunkSource4       = 0x03
	chunkDestination4  = 0x04
	chunkSource6       = 0x05
	chunkDestination6  = 0x06
	chunkSourcePort    = 0x07
	chunkDestPort      = 0x08
	chunkSeconds       = 0x09
	chunkMicroseconds  = 0x0a
	chunkType          = 0x0b
	chunkCaptureID     = 0x0c
	chunkPayload       = 0x0f
	chunkCorrelationID = 0x11
)

// Values of chunks.
const (
	familyIPv4   = 2
	familyIPv6   = 10
	transportUDP = 17
	protocolRTCP = 5 // RTCP as JSON
)

const (
	hepMagic      = "HEP3"
	hepHeaderSize = 6
	hepChunkSize  = 6 // of a chunk's header
)

// kind of a packet that goes to Homer.
type kind uint8

const (
	kindRTCP kind = iota + 1
	kindNG
)

// packet tells about a packet what HEP has to say beside its bytes.
type packet struct {
	kind     kind
	callID   string
	src, dst netip.AddrPort
	at       time.Time
}

// hep appends a HEP3 message. What does not fit into its 16 bits of length is refused: nil.
func (p packet) hep(b []byte, protocol uint8, captureID uint32, payload []byte) []byte {
	start := len(b)
	b = append(b, hepMagic...)
	b = append(b, 0, 0)
	src, dst := p.src.Addr().Unmap(), p.dst.Addr().Unmap()
	family, from, to := byte(familyIPv4), uint16(chunkSource4), uint16(chunkDestination4)
	if src.Is6() {
		family, from, to = familyIPv6, chunkSource6, chunkDestination6
	}
	b = chunk(b, chunkFamily, family)
	b = chunk(b, chunkProtocol, transportUDP)
	b = chunk(b, chunkSourcePort, u16(p.src.Port())...)
	b = chunk(b, chunkDestPort, u16(p.dst.Port())...)
	b = chunk(b, chunkSeconds, word(uint32(p.at.Unix()))...)
	b = chunk(b, chunkMicroseconds, word(uint32(p.at.Nanosecond()/1000))...)
	b = chunk(b, chunkType, protocol)
	b = chunk(b, chunkCaptureID, word(captureID)...)
	b = chunk(b, from, src.AsSlice()...)
	b = chunk(b, to, dst.AsSlice()...)
	b = chunk(b, chunkCorrelationID, []byte(p.callID)...)
	b = chunk(b, chunkPayload, payload...)
	size := len(b) - start
	if size > 0xffff {
		return nil
	}
	binary.BigEndian.PutUint16(b[start+len(hepMagic):], uint16(size))
	return b
}

func chunk(b []byte, kind uint16, value ...byte) []byte {
	b = append(b, 0, 0) // vendor: none
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(hepChunkSize+len(value)))
	return append(b, value...)
}

func u16(v uint16) []byte  { return binary.BigEndian.AppendUint16(nil, v) }
func word(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
