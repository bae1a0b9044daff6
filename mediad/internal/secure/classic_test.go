package secure

import (
	"crypto/aes"
	"encoding/hex"
	"testing"

	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestKeyDerivationVectors has the vectors of RFC 3711 B.3.
func TestKeyDerivationVectors(t *testing.T) {
	d, err := newDerivation(unhex(t, "E1F97A0D3E018BE0D64FA32C06DE4139"), unhex(t, "0EC675AD498AFEEBB6960B3AABE6"))
	require.NoError(t, err)
	require.Equal(t, unhex(t, "C61E7A93744F39EE10734AFE3FF7A087"), d.derive(labelEncryption, 16))
	require.Equal(t, unhex(t, "30CBBC08863D8C85D49DB34A9AE1"), d.derive(labelSalt, 14))
	require.Equal(t, unhex(t, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"), d.derive(labelAuthentication, 20))
}

// TestCounterModeVectors has the key stream of RFC 3711 B.2.
func TestCounterModeVectors(t *testing.T) {
	c, err := newCounterMode(unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C"), unhex(t, "F0F1F2F3F4F5F6F7F8F9FAFBFCFD"))
	require.NoError(t, err)
	stream := make([]byte, 0xff02*aes.BlockSize)
	c.xor(stream, position{})
	for block, want := range map[int]string{
		0: "E03EAD0935C95E80E166B16DD92B4EB4", 1: "D23513162B02D0F72A43A2FE4A5F97AB", 2: "41E95B3BB0A2E8DD477901E4FCA894C0",
		0xfeff: "EC8CDF7398607CB0F2D21675EA9EA1E4", 0xff00: "362B7C3C6773516318A077D7FC5073AE", 0xff01: "6A2CC3787889374FBEB4C81B17BA6C44",
	} {
		require.Equal(t, unhex(t, want), stream[block*aes.BlockSize:(block+1)*aes.BlockSize], "block %#x", block)
	}
}

// TestF8Vector has the packet of RFC 3711 B.1.
func TestF8Vector(t *testing.T) {
	f, err := newF8(unhex(t, "234829008467be186c3de14aae72d62c"), unhex(t, "32f2870d"))
	require.NoError(t, err)
	payload := []byte("pseudorandomness is the next best thing")
	f.xor(payload, unhex(t, "806e5cba50681de55c621599"), position{0x5c621599, 0xd462564a<<16 | 0x5cba}, false)
	require.Equal(t, unhex(t, "019ce7a26e7854014a6366aa95d4eefd1ad4172a14f9faf455b7f1d4b62bd08f562c0eef7c4802"), payload)
}

// TestClassicIsPions: for a suite that both have, the bytes are the same, over rollovers, loss and disorder.
func TestClassicIsPions(t *testing.T) {
	for _, suite := range []Suite{AESCM12880, AESCM12832, AES256CM80} {
		key, err := NewKey(suite)
		require.NoError(t, err)
		f := suite.facts()
		pion, err := srtp.CreateContext(key.Master[:f.key], key.Master[f.key:], f.profile)
		require.NoError(t, err)
		out, in := contexts(t, key)
		for _, seq := range []uint16{65000, 65535, 2, 1, 0, 300, 299, 30000, 60000, 65530, 5, 65531} {
			want, err := pion.EncryptRTP(nil, packet(t, 3, seq), nil)
			require.NoError(t, err)
			got, err := out.ProtectRTP(nil, packet(t, 3, seq))
			require.NoError(t, err)
			require.Equal(t, want, got, "sequence %d", seq)
			back, err := in.UnprotectRTP(nil, got)
			require.NoError(t, err, "sequence %d", seq)
			require.Equal(t, packet(t, 3, seq), back)
			_, err = in.UnprotectRTP(nil, got)
			require.ErrorIs(t, err, errReplayed)

			want, err = pion.EncryptRTCP(nil, report(t, 3), nil)
			require.NoError(t, err)
			got, err = out.ProtectRTCP(nil, report(t, 3))
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
}

func TestUnauthenticated(t *testing.T) {
	for _, suite := range allSuites() {
		key, err := NewKey(suite)
		require.NoError(t, err)
		key.UnauthenticatedSRTP = true
		out, in := contexts(t, key)
		plain := packet(t, 1, 1)
		protected, err := out.ProtectRTP(nil, plain)
		require.NoError(t, err)
		if suite.facts().cipher == cipherGCM {
			require.Len(t, protected, len(plain)+16, "the tag of an AEAD suite cannot be left out")
		} else {
			require.Len(t, protected, len(plain))
		}
		got, err := in.UnprotectRTP(nil, protected)
		require.NoError(t, err)
		require.Equal(t, plain, got)
		control, err := out.ProtectRTCP(nil, report(t, 1))
		require.NoError(t, err)
		control[10] ^= 1
		_, err = in.UnprotectRTCP(nil, control)
		require.Error(t, err, "SRTCP is always authenticated (RFC 3711 §3.4)")
	}
}
