package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// counterMode is AES in counter mode (RFC 3711 §4.1.1, RFC 6188).
type counterMode struct {
	block           cipher.Block
	salt            [aes.BlockSize]byte // times 2^16
	counter, stream [aes.BlockSize]byte
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

func (c *counterMode) xor(data, _ []byte, ssrc uint32, index uint64, _ bool) {
	c.counter = c.salt
	binary.BigEndian.PutUint32(c.counter[4:], binary.BigEndian.Uint32(c.counter[4:])^ssrc)
	binary.BigEndian.PutUint64(c.counter[8:], binary.BigEndian.Uint64(c.counter[8:])^index<<16)
	for n := uint16(0); len(data) > 0; n++ {
		binary.BigEndian.PutUint16(c.counter[14:], n)
		c.block.Encrypt(c.stream[:], c.counter[:])
		data = data[subtle.XORBytes(data, data, c.stream[:]):]
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

func (f *f8) xor(data, header []byte, ssrc uint32, index uint64, control bool) {
	iv := &f.initialization
	if control { // §4.1.2.3
		binary.BigEndian.PutUint32(iv[0:], 0)
		binary.BigEndian.PutUint32(iv[4:], uint32(index)|encryptedFlag)
		copy(iv[8:], header[:4])
		binary.BigEndian.PutUint32(iv[12:], ssrc)
	} else { // §4.1.2.2
		copy(iv[:], header[:12])
		iv[0] = 0
		binary.BigEndian.PutUint32(iv[12:], uint32(index>>16))
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
