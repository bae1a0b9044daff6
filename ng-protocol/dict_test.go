package ng

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/bencode"
)

// TestBencodeAsTheLibrary compares our way to write values with that of the
// library.
func TestBencodeAsTheLibrary(t *testing.T) {
	for _, v := range []any{
		"", "text", "süß\x00\r\n", 0, -1, 1 << 40, int64(-1 << 62), uint32(1<<32 - 1), uint64(1<<64 - 1), true, false,
		[]string{}, []string(nil), []string{"a", ""}, []any{"a", 1, []any{"b"}, []string{"c"}}, []byte("bytes"),
		Command("named"), map[string]int{"b": 1, "a": 2}, int32(7), []int{1, 2},
	} {
		want, err := bencode.EncodeBytes(v)
		require.NoError(t, err, "%T %v", v, v)
		got, err := appendBencode([]byte("before "), v)
		require.NoError(t, err, "%T %v", v, v)
		require.Equal(t, "before "+string(want), string(got), "%T %v", v, v)
	}
	_, err := appendBencode(nil, Dict{{"list", []any{make(chan int)}}})
	require.Error(t, err)
}

func TestBencodeDict(t *testing.T) {
	out, err := Dict{
		{"z", "first"}, {"absent", nil}, {"half", 0.5}, {"d", Dict{}}, {"n", Dict(nil)}, {"l", []Dict{{{"k", 1}}, nil}}, {"any", []any{Dict{{"x", 2}}, nil}},
	}.MarshalBencode()
	require.NoError(t, err)
	require.Equal(t, "d1:z5:first4:half3:0.51:dde1:nde1:lld1:ki1eedee3:anyld1:xi2eeee", string(out))
}
