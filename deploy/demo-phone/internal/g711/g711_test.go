package g711

import "testing"

// The corner values are those of the tables in ITU-T G.711.
func TestKnownCodes(t *testing.T) {
	for _, c := range []struct {
		name   string
		encode func(int16) byte
		decode func(byte) int16
		sample int16
		code   byte
		back   int16
	}{
		{"A zero", EncodeA, DecodeA, 0, 0xd5, 8},
		{"A minus one", EncodeA, DecodeA, -1, 0x55, -8},
		{"A top", EncodeA, DecodeA, 32767, 0xaa, 32256},
		{"A bottom", EncodeA, DecodeA, -32768, 0x2a, -32256},
		{"µ zero", EncodeMu, DecodeMu, 0, 0xff, 0},
		{"µ top", EncodeMu, DecodeMu, 32767, 0x80, 32124},
		{"µ bottom", EncodeMu, DecodeMu, -32768, 0x00, -32124},
	} {
		if got := c.encode(c.sample); got != c.code {
			t.Errorf("%s: encode(%d) = %#02x, want %#02x", c.name, c.sample, got, c.code)
		}
		if got := c.decode(c.code); got != c.back {
			t.Errorf("%s: decode(%#02x) = %d, want %d", c.name, c.code, got, c.back)
		}
	}
}

// Every code decodes to a value that encodes to the same code, but for µ-law's second zero.
func TestCodesAreStable(t *testing.T) {
	for code := range 256 {
		if got := EncodeA(DecodeA(byte(code))); got != byte(code) {
			t.Errorf("A-law %#02x came back as %#02x", code, got)
		}
		if got := EncodeMu(DecodeMu(byte(code))); got != byte(code) && code != 0x7f {
			t.Errorf("µ-law %#02x came back as %#02x", code, got)
		}
	}
}

// The relative error of both laws stays below 1/16 for all but the smallest samples.
func TestErrorIsBounded(t *testing.T) {
	for sample := -32000; sample <= 32000; sample += 7 {
		limit := max(abs(sample)/16, 16)
		for name, back := range map[string]int{
			"A": int(DecodeA(EncodeA(int16(sample)))),
			"µ": int(DecodeMu(EncodeMu(int16(sample)))),
		} {
			if abs(back-sample) > limit {
				t.Fatalf("%s-law: %d came back as %d", name, sample, back)
			}
		}
	}
}

func abs(n int) int { return max(n, -n) }
