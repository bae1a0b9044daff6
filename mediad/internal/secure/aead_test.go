package secure

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// aeadVector is one of the sets of vectors of RFC 7714 §16 and §17.
type aeadVector struct {
	key                  string
	sealed, signed       string // RTP
	control, openControl string // RTCP
}

func aeadVectors() map[string]aeadVector {
	return map[string]aeadVector{
		"AES-128": {
			key:         "000102030405060708090a0b0c0d0e0f",
			sealed:      "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
			signed:      "22493f82d2bce397e9d79e3b19aa4216",
			control:     "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b46 86303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade",
			openControl: "841dd9683dd78ec92ae58790125f62b3",
		},
		"AES-256": {
			key:         "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
			sealed:      "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
			signed:      "a866d5910f887463067ceefec45215d4",
			control:     "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658 c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be",
			openControl: "91db4afbfeee5a978fab4393ed2615fe",
		},
	}
}

// TestAEADVectors has the packets of RFC 7714 §16 and §17, encrypted and only signed.
func TestAEADVectors(t *testing.T) {
	const rtpHeader = "8040f17b8041f8d35501a0b2"
	plain := append(unhex(t, rtpHeader), "Gallia est omnis divisa in partes tres"...)
	media := position{0x5501a0b2, 0xf17b}
	const rtcpHeader = "81c8000d4d617273"
	rtcpPayload := "4e5450314e545032525450200000042a0000e9304c756e61" + strings.Repeat("deadbeef", 5)
	report := unhex(t, rtcpHeader+rtcpPayload)
	control := position{0x4d617273, 0x5d4}
	for name, v := range aeadVectors() {
		t.Run(name, func(t *testing.T) {
			bytesOf := func(s string) []byte { return unhex(t, strings.ReplaceAll(s, " ", "")) }
			sessions := func(open bool) *aead {
				g, err := newGCM(bytesOf(v.key))
				require.NoError(t, err)
				copy(g.salt[:], "Quid pro quo")
				return &aead{media: g, control: g, openMedia: open, openControl: open}
			}
			for open, want := range map[bool][]byte{
				false: append(unhex(t, rtpHeader), bytesOf(v.sealed)...), true: append(room(plain), bytesOf(v.signed)...),
			} {
				a := sessions(open)
				require.Equal(t, want, a.sealRTP(room(plain), 12, media, nil))
				got, err := a.openRTP(room(want), 12, media, 0)
				require.NoError(t, err)
				require.Equal(t, plain, got)
			}
			for open, want := range map[bool][]byte{
				false: append(append(unhex(t, rtcpHeader), bytesOf(v.control)...), 0x80, 0, 5, 0xd4),
				true:  append(append(room(report), bytesOf(v.openControl)...), 0, 0, 5, 0xd4),
			} {
				a := sessions(open)
				require.Equal(t, want, a.sealRTCP(room(report), control, nil))
				word := binary.BigEndian.Uint32(want[len(want)-4:])
				got, err := a.openRTCP(room(want), control, word, 0)
				require.NoError(t, err)
				require.Equal(t, report, got)
			}
		})
	}
}
