package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// counterMode is AES in counter mode (RFC 3711 §4.1.1, RFC 6188).
type counterMode struct {
	block  cipher.Block
	salt   [aes.BlockSize]byte // times 2^16
	stream [8 * aes.BlockSize]byte
}

func newCounterMode(key, salt []byte) (*counterMode, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	c := &counterMode{block: block}
	copy(c.salt[:], salt)
	return c, nil
}

func (c *counterMode) xor(data, _ []byte, at position, _ bool) {
	high := binary.BigEndian.Uint64(c.salt[:]) ^ uint64(at.ssrc)
	low := binary.BigEndian.Uint64(c.salt[8:]) ^ at.index<<16
	for len(data) > 0 {
		piece := c.stream[:min(len(c.stream), (len(data)+aes.BlockSize-1)&^(aes.BlockSize-1))]
		for b := piece; len(b) > 0; b = b[aes.BlockSize:] {
			binary.BigEndian.PutUint64(b, high)
			binary.BigEndian.PutUint64(b[8:], low)
			c.block.Encrypt(b, b)
			low++
		}
		data = data[subtle.XORBytes(data, data, piece):]
	}
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
