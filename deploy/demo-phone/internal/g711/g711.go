// Package g711 encodes and decodes ITU-T G.711 A-law and µ-law, one sample a byte.
package g711

import "math/bits"

// EncodeA turns one 16-bit linear sample into A-law (G.711 §3, even bits inverted).
func EncodeA(sample int16) byte {
	value, sign := int(sample)>>3, byte(0x80)
	if value < 0 {
		value, sign = -value-1, 0
	}
	segment := max(bits.Len(uint(value))-5, 0) // 0…7
	code := byte(segment << 4)
	if segment < 2 {
		code |= byte(value>>1) & 0x0f
	} else {
		code |= byte(value>>segment) & 0x0f
	}
	return (code | sign) ^ 0x55
}

// DecodeA is the inverse of EncodeA, within the quantisation error of the law.
func DecodeA(code byte) int16 {
	code ^= 0x55
	segment := int(code>>4) & 0x07
	value := int(code&0x0f)<<4 + 8
	if segment > 0 {
		value = (value + 0x100) << (segment - 1)
	}
	if code&0x80 == 0 {
		value = -value
	}
	return int16(value)
}

const (
	muBias = 0x84  // G.711's 33, scaled from 14 to 16 bits
	muClip = 32635 // largest magnitude that muBias still leaves in 16 bits
)

// EncodeMu turns one 16-bit linear sample into µ-law (G.711 §3, all bits inverted).
func EncodeMu(sample int16) byte {
	value, sign := int(sample), byte(0)
	if value < 0 {
		value, sign = -value, 0x80
	}
	value = min(value, muClip) + muBias
	segment := bits.Len(uint(value)) - 8 // 0…7, as the bias alone has eight bits
	return ^(sign | byte(segment<<4) | byte(value>>(segment+3))&0x0f)
}

// DecodeMu is the inverse of EncodeMu, within the quantisation error of the law.
func DecodeMu(code byte) int16 {
	code = ^code
	value := (int(code&0x0f)<<3+muBias)<<(code>>4&0x07) - muBias
	if code&0x80 != 0 {
		value = -value
	}
	return int16(value)
}
