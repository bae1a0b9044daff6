// Package aesctr is AES in counter mode for many short messages under one key, as in SRTP. cipher.NewCTR copies the key schedule into a new
// allocation for each message, which costs more than the message; a Cipher of this package allocates nothing. With Go 1.26 that is 512 bytes
// and, like crypto/aes block by block, several times as long for the 160 bytes of a packet (BenchmarkXOR): a twentieth of all that a relayed
// SRTP packet costs, or more, which is why there is assembly here.
package aesctr

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// Cipher is an AES key. It is for one goroutine at a time.
type Cipher struct {
	portable *portable // if the processor has no AES instructions that we know to use
	schedule schedule
}

// portable makes the key stream by way of crypto/aes.
type portable struct {
	block  cipher.Block
	stream [8 * aes.BlockSize]byte
}

// New takes a key of 16, 24 or 32 bytes; the error is an aes.KeySizeError.
func New(key []byte) (c Cipher, err error) {
	if len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return c, aes.KeySizeError(len(key))
	}
	if c.schedule.expand(key) {
		return c, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return c, err
	}
	c.portable = &portable{block: block}
	return c, nil
}

// XOR encrypts or decrypts data in place. high and low are the halves of the first counter block in network order; low counts up by one for
// each block, without a carry into high.
func (c *Cipher) XOR(data []byte, high, low uint64) {
	if c.portable != nil {
		c.portable.xor(data, high, low)
		return
	}
	whole := len(data) / aes.BlockSize
	if whole > 0 {
		c.schedule.xorBlocks(data, whole, high, low)
	}
	if rest := data[whole*aes.BlockSize:]; len(rest) > 0 {
		var last [aes.BlockSize]byte
		copy(last[:], rest)
		c.schedule.xorBlocks(last[:], 1, high, low+uint64(whole))
		copy(rest, last[:])
	}
}

func (p *portable) xor(data []byte, high, low uint64) {
	for len(data) > 0 {
		piece := p.stream[:min(len(p.stream), (len(data)+aes.BlockSize-1)&^(aes.BlockSize-1))]
		for b := piece; len(b) > 0; b = b[aes.BlockSize:] {
			binary.BigEndian.PutUint64(b, high)
			binary.BigEndian.PutUint64(b[8:], low)
			p.block.Encrypt(b, b)
			low++
		}
		data = data[subtle.XORBytes(data, data, piece):]
	}
}
