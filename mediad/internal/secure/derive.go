package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

const (
	saltLength    = 14 // session salt (RFC 3711 §8.2)
	authKeyLength = 20
)

// Labels of the key derivation (RFC 3711 §4.3.2); those of SRTCP are three more.
const (
	labelEncryption = iota
	labelAuthentication
	labelSalt
	labelsOfControl
)

// derive makes a session key with a key derivation rate of 0 (RFC 3711 §4.3.1, §4.3.3). A salt of 12 bytes counts as followed by zeros
// (RFC 7714 §11).
func derive(block cipher.Block, salt []byte, label byte, length int) []byte {
	var counter, out [aes.BlockSize]byte
	copy(counter[:], salt)
	counter[7] ^= label
	key := make([]byte, 0, 3*aes.BlockSize)
	for n := 0; len(key) < length; n++ {
		binary.BigEndian.PutUint16(counter[14:], uint16(n))
		block.Encrypt(out[:], counter[:])
		key = append(key, out[:]...)
	}
	return key[:length]
}
