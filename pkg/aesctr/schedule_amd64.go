//go:build !purego

package aesctr

import (
	"crypto/aes"
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/cpu"
)

// schedule is an expanded key (FIPS 197 §5.2).
type schedule struct {
	rounds int
	keys   [15 * aes.BlockSize]byte
}

// expand makes the schedule of a key whose length is right; false if the processor lacks the instructions.
func (s *schedule) expand(key []byte) bool {
	if !cpu.X86.HasAES {
		return false
	}
	n := len(key) / 4
	s.rounds = n + 6
	copy(s.keys[:], key)
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(s.keys[4*i:]) }
	constant := uint32(1)
	for i := n; i < 4*(s.rounds+1); i++ {
		w := word(i - 1)
		switch {
		case i%n == 0:
			w = subWord(bits.RotateLeft32(w, -8)) ^ constant
			if constant <<= 1; constant > 0xff {
				constant ^= 0x11b
			}
		case n > 6 && i%n == 4:
			w = subWord(w)
		}
		binary.LittleEndian.PutUint32(s.keys[4*i:], w^word(i-n))
	}
	return true
}

// xorBlocks encrypts or decrypts so many blocks of data; there must be one.
func (s *schedule) xorBlocks(data []byte, blocks int, high, low uint64) {
	_ = data[blocks*aes.BlockSize-1]
	xorBlocks(&s.keys[0], s.rounds, &data[0], blocks, high, low)
}

// xorBlocks takes blocks of at least one, whose memory it may read and write.
//
//go:noescape
func xorBlocks(keys *byte, rounds int, data *byte, blocks int, high, low uint64)

// subWord replaces each byte by way of the S-box, in constant time.
//
//go:noescape
func subWord(w uint32) uint32
