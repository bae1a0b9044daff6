package secure

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInlineRoundTrip(t *testing.T) {
	for _, suite := range allSuites() {
		for _, pad := range []bool{false, true} {
			key, err := NewKey(suite)
			require.NoError(t, err)
			got, err := ParseInline(suite, key.Inline(pad))
			require.NoError(t, err)
			require.Equal(t, key, got)
			key.Lifetime, key.MKI = "2^31", []byte{1, 2}
			got, err = ParseInline(suite, key.Inline(pad))
			require.NoError(t, err)
			require.Equal(t, key, got)
		}
	}
}

// TestParseInline has the examples of RFC 4568 §6.1 and what phones make of them.
func TestParseInline(t *testing.T) {
	const k = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj" // 30 bytes, no padding needed
	for _, good := range []string{
		"inline:" + k, "INLINE:" + k, "inline:" + k + "|2^20|1:4", "inline:" + k + "|2^20", "inline:" + k + "|1:4",
		"inline:" + k + "|1048576", "inline:" + k + ";inline:" + k,
	} {
		key, err := ParseInline(AESCM12880, good)
		require.NoError(t, err, good)
		require.Len(t, key.Master, 30)
	}
	key, err := ParseInline(AESCM12880, "inline:"+k+"|2^20|258:2")
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2}, key.MKI)
	require.Equal(t, "2^20", key.Lifetime)
	for _, bad := range []string{
		"", "inline:", k, "inline:" + k[:36], "inline:" + k + k, "inline:!!!" + k[3:], "inline:" + k + "|1:4|2:4|3", "inline:" + k + "|1:0",
		"inline:" + k + "|1:129", "inline:" + k + "|256:1", "inline:" + k + "|x:4", "inline:" + k + "|-1:4", "inline:" + k + "|forever", "uri:" + k,
	} {
		_, err := ParseInline(AESCM12880, bad)
		require.ErrorIs(t, err, ErrInline, bad)
		require.NotContains(t, err.Error(), k[:8], "errors must not show keys")
	}
	_, err = ParseInline(NoSuite, "inline:"+k)
	require.ErrorIs(t, err, ErrSuite)
	// 32-byte key and 14-byte salt need padding; take them with and without.
	long, err := NewKey(AES256CM80)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(long.Inline(true), "=="))
	require.False(t, strings.HasSuffix(long.Inline(false), "="))
}

func TestKeysAreNotPrinted(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	secret := strings.TrimPrefix(key.Inline(false), "inline:")
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		shown := fmt.Sprintf(format, key) + fmt.Sprintf(format, Keys{In: key, Out: key})
		require.NotContains(t, shown, secret)
		require.NotContains(t, shown, fmt.Sprint(key.Master[0], key.Master[1]))
	}
}

func TestParseSuite(t *testing.T) {
	for _, suite := range allSuites() {
		got, err := ParseSuite(strings.ToLower(suite.String()))
		require.NoError(t, err)
		require.Equal(t, suite, got)
	}
	got, err := ParseSuite("AES_128_CM_HMAC_SHA1_80")
	require.NoError(t, err)
	require.Equal(t, AESCM12880, got)
	for _, bad := range []string{"", "AES_192_GCM", "F8_256_HMAC_SHA1_80", "none"} {
		_, err := ParseSuite(bad)
		require.ErrorIs(t, err, ErrSuite)
	}
	_, err = NewKey(NoSuite)
	require.ErrorIs(t, err, ErrSuite)
	_, err = NewInbound(Key{Suite: AESCM12880, Master: make([]byte, 29)})
	require.ErrorIs(t, err, ErrInline)
}

func FuzzParseInline(f *testing.F) {
	f.Add(uint8(AESCM12880), "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4")
	f.Add(uint8(AEADAES256GCM), "inline:==|:|;")
	f.Fuzz(func(t *testing.T, suite uint8, s string) {
		key, err := ParseInline(Suite(suite%uint8(suiteCount)), s)
		if err != nil {
			return
		}
		again, err := ParseInline(key.Suite, key.Inline(true))
		if err != nil {
			t.Fatalf("%q: what we write is not read: %v", s, err)
		}
		if string(again.Master) != string(key.Master) {
			t.Fatalf("%q: key changed", s)
		}
	})
}
