package aesctr

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// without is the same key without the processor's help.
func without(t testing.TB, key []byte) *Cipher {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	return &Cipher{portable: &portable{block: block}}
}

func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestIsCounterMode compares with crypto/cipher, for each length of key and messages that end anywhere in a block. What lies around a message stays.
func TestIsCounterMode(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{16, 24, 32} {
		key := random(rng, size)
		fast, err := New(key)
		require.NoError(t, err)
		for n := range 600 {
			iv := random(rng, aes.BlockSize)
			iv[8] &= 0x7f // no carry
			plain := random(rng, n+2)
			want := append([]byte(nil), plain...)
			block, err := aes.NewCipher(key)
			require.NoError(t, err)
			cipher.NewCTR(block, iv).XORKeyStream(want[1:n+1], want[1:n+1])
			for name, c := range map[string]*Cipher{"fast": &fast, "portable": without(t, key)} {
				got := append([]byte(nil), plain...)
				c.XOR(got[1:n+1], binary.BigEndian.Uint64(iv), binary.BigEndian.Uint64(iv[8:]))
				require.Equal(t, want, got, "%s, key of %d, %d bytes", name, size, n)
			}
		}
	}
}

// TestCounterWraps: there is no carry, wherever the counter wraps.
func TestCounterWraps(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	key := random(rng, 16)
	fast, err := New(key)
	require.NoError(t, err)
	for before := range uint64(12) {
		a := make([]byte, 12*aes.BlockSize+3)
		b := make([]byte, len(a))
		fast.XOR(a, 7, -before)
		without(t, key).XOR(b, 7, -before)
		require.Equal(t, b, a)
		head := make([]byte, aes.BlockSize)
		fast.XOR(head, 7, 0)
		require.Equal(t, head, a[before*aes.BlockSize:][:aes.BlockSize])
	}
}

func TestKeySize(t *testing.T) {
	for _, n := range []int{0, 15, 17, 31, 33} {
		_, err := New(make([]byte, n))
		require.ErrorAs(t, err, new(aes.KeySizeError))
	}
}

func TestNoAllocation(t *testing.T) {
	fast, err := New(make([]byte, 16))
	require.NoError(t, err)
	for _, c := range []*Cipher{&fast, without(t, make([]byte, 16))} {
		data := make([]byte, 165)
		require.Zero(t, testing.AllocsPerRun(100, func() { c.XOR(data, 1, 2) }))
	}
}

func BenchmarkXOR(b *testing.B) {
	key := make([]byte, 16)
	fast, err := New(key)
	require.NoError(b, err)
	for _, size := range []int{160, 1188} {
		data := make([]byte, size)
		for name, c := range map[string]*Cipher{"fast": &fast, "portable": without(b, key)} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for n := uint64(0); b.Loop(); n++ {
					c.XOR(data, 1, n<<16)
				}
			})
		}
		b.Run(fmt.Sprintf("NewCTR/%d", size), func(b *testing.B) {
			block, err := aes.NewCipher(key)
			require.NoError(b, err)
			iv := make([]byte, aes.BlockSize)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				cipher.NewCTR(block, iv).XORKeyStream(data, data)
			}
		})
	}
}
