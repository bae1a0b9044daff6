package secure

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // as RFC 3711 has it
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSignerIsHMAC compares with crypto/hmac, for messages that end anywhere in a block, and with keys that take turns.
func TestSignerIsHMAC(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1500)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	var s signer
	require.NoError(t, s.prepare())
	keys := [][]byte{data[:authKeyLength], data[100 : 100+sha1.BlockSize], {}}
	made := make([]macKey, len(keys))
	for i, key := range keys {
		made[i] = s.key(key)
	}
	for n := range 400 {
		i, word := n%len(keys), rng.Uint32()
		message := data[n : 2*n]
		mac := hmac.New(sha1.New, keys[i])
		mac.Write(message)
		mac.Write(binary.BigEndian.AppendUint32(nil, word))
		require.Equal(t, mac.Sum(nil), s.sign(&made[i], message, word), "%d bytes", n)
	}
}
