package conformance

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// build makes an RTP packet (RFC 3550 §5.1) or an empty receiver report (§6.4.2).
func build(fields map[string]string) ([]byte, error) {
	number := func(key string, bits int) uint64 {
		n, _ := strconv.ParseUint(fields[key], 0, bits)
		return n
	}
	for key, value := range fields {
		switch key {
		case "kind", "payload", "hex", "repeat", "damage", "to":
		case "pt", "seq", "ts", "ssrc", "marker":
			if _, err := strconv.ParseUint(value, 0, 32); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("unknown field %q", key)
		}
	}
	if kind := fields["kind"]; kind == "rtcp" || kind == "srtcp" {
		return binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, uint32(number("ssrc", 32))), nil
	}
	b := []byte{0x80, byte(number("pt", 7) | number("marker", 1)<<7)}
	b = binary.BigEndian.AppendUint16(b, uint16(number("seq", 16)))
	b = binary.BigEndian.AppendUint32(b, uint32(number("ts", 32)))
	b = binary.BigEndian.AppendUint32(b, uint32(number("ssrc", 32)))
	if text := fields["hex"]; text != "" {
		for i := 0; i+1 < len(text); i += 2 {
			n, err := strconv.ParseUint(text[i:i+2], 16, 8)
			if err != nil {
				return nil, err
			}
			b = append(b, byte(n))
		}
		return b, nil
	}
	return append(b, fields["payload"]...), nil
}

func isRTCP(b []byte) bool { return len(b) >= 8 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223 }

// describe writes a packet in the words of scenario files.
func describe(b []byte) string {
	switch {
	case isRTCP(b):
		return fmt.Sprintf("rtcp type=%d ssrc=%#x", b[1], binary.BigEndian.Uint32(b[4:]))
	case len(b) >= 12 && b[0]>>6 == 2:
		return fmt.Sprintf("rtp pt=%d marker=%d seq=%d ts=%d ssrc=%#x payload=%s", b[1]&0x7f, b[1]>>7,
			binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), printable(b[12:]))
	}
	return fmt.Sprintf("other hex=%x", b)
}

// printable keeps test payloads readable and encrypted ones comparable by length.
func printable(b []byte) string {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return fmt.Sprintf("{%d-bytes}", len(b))
		}
	}
	return string(b)
}
