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

// derivation makes session keys of a master key, with a key derivation rate of 0 (RFC 3711 §4.3.1, §4.3.3).
type derivation struct {
	master  cipher.Block
	salt    [aes.BlockSize]byte
	counter [aes.BlockSize]byte
	key     [3 * aes.BlockSize]byte
}

// newDerivation takes a master key and salt. A salt of 12 bytes counts as followed by zeros (RFC 7714 §11).
func newDerivation(key, salt []byte) (*derivation, error) {
	d := &derivation{}
	copy(d.salt[:], salt)
	var err error
	d.master, err = aes.NewCipher(key)
	return d, err
}

// derive makes a session key or salt of at most 48 bytes. It holds until the next call.
func (d *derivation) derive(label byte, length int) []byte {
	d.counter = d.salt
	d.counter[7] ^= label
	for n := 0; n < length; n += aes.BlockSize {
		binary.BigEndian.PutUint16(d.counter[14:], uint16(n/aes.BlockSize))
		d.master.Encrypt(d.key[n:], d.counter[:])
	}
	return d.key[:length]
}
