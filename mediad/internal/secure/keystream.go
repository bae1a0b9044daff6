package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"

	"github.com/tandem-sbc/tandem/pkg/aesctr"
)

// counterMode is AES in counter mode (RFC 3711 §4.1.1, RFC 6188).
type counterMode struct {
	high, low uint64 // the session salt times 2^16
	cipher    aesctr.Cipher
}

func newCounterMode(key, salt []byte) (counterMode, error) {
	var first [aes.BlockSize]byte
	copy(first[:], salt)
	c, err := aesctr.New(key)
	return counterMode{binary.BigEndian.Uint64(first[:]), binary.BigEndian.Uint64(first[8:]), c}, err
}

func (c *counterMode) xor(data []byte, at position) {
	c.cipher.XOR(data, c.high^uint64(at.ssrc), c.low^at.index<<16)
}

// f8 is AES in f8 mode (RFC 3711 §4.1.2).
type f8 struct {
	block, masked   cipher.Block // with the key, and with the key masked by the salt
	start, stream   [aes.BlockSize]byte
	initialization  [aes.BlockSize]byte
	feedbackCounter uint64
}

func newF8(key, salt []byte) (*f8, error) {
	mask := make([]byte, len(key))
	for i := range mask {
		mask[i] = 0x55
	}
	copy(mask, salt)
	subtle.XORBytes(mask, mask, key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	masked, err := aes.NewCipher(mask)
	return &f8{block: block, masked: masked}, err
}

func (f *f8) xor(data, header []byte, at position, control bool) {
	iv := &f.initialization
	if control { // §4.1.2.3
		binary.BigEndian.PutUint32(iv[0:], 0)
		binary.BigEndian.PutUint32(iv[4:], uint32(at.index)|encryptedFlag)
		copy(iv[8:], header[:4])
		binary.BigEndian.PutUint32(iv[12:], at.ssrc)
	} else { // §4.1.2.2
		copy(iv[:], header[:12])
		iv[0] = 0
		binary.BigEndian.PutUint32(iv[12:], uint32(at.index>>16))
	}
	f.masked.Encrypt(f.start[:], iv[:])
	f.stream = [aes.BlockSize]byte{}
	for f.feedbackCounter = 0; len(data) > 0; f.feedbackCounter++ {
		subtle.XORBytes(f.stream[:], f.stream[:], f.start[:])
		low := f.stream[8:]
		binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^f.feedbackCounter)
		f.block.Encrypt(f.stream[:], f.stream[:])
		data = data[subtle.XORBytes(data, data, f.stream[:]):]
	}
}
