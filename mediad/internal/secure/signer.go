package secure

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 3711 §4.2.1 prescribes HMAC-SHA1
	"encoding"
	"encoding/binary"
	"errors"
	"hash"
)

// The state of crypto/sha1 as it is marshalled: a name, the five words of the state, a block that is not full yet, the length in bytes.
const (
	shaName  = "sha\x01"
	shaBlock = len(shaName) + sha1.Size
	shaSize  = shaBlock + sha1.BlockSize + 8
)

var errSHAState = errors.New("secure: unknown state of crypto/sha1")

// macKey is a key of HMAC-SHA1 (RFC 2104): the states of the hash behind the inner and the outer pad.
type macKey struct {
	inner, outer [sha1.Size]byte
}

// sha is what crypto/sha1 promises.
type sha interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// signer computes HMAC-SHA1 over a packet and a word behind it. crypto/hmac takes half as long again, because it copies and pads in pieces.
type signer struct {
	hash  sha
	state [shaSize]byte            // one block was hashed, and none is open
	tail  [2 * sha1.BlockSize]byte // what follows the packet's whole blocks
	outer [sha1.BlockSize]byte     // the inner hash, padded
	sum   [shaSize]byte
}

// prepare fails if crypto/sha1 is not as we know it.
func (s *signer) prepare() error {
	var ok bool
	if s.hash, ok = sha1.New().(sha); !ok {
		return errSHAState
	}
	s.hash.Write(s.outer[:])
	state, err := s.hash.AppendBinary(s.sum[:0])
	copy(s.state[:], shaName)
	binary.BigEndian.PutUint64(s.state[shaSize-8:], sha1.BlockSize)
	if err != nil || len(state) != shaSize || string(state[:len(shaName)]) != shaName || !bytes.Equal(state[shaBlock:], s.state[shaBlock:]) {
		return errSHAState
	}
	pad(s.outer[sha1.Size:], sha1.BlockSize+sha1.Size)
	return nil
}

// key prepares a key of at most sha1.BlockSize bytes.
func (s *signer) key(key []byte) (k macKey) {
	k.inner = s.padded(key, 0x36)
	k.outer = s.padded(key, 0x5c)
	return k
}

func (s *signer) padded(key []byte, pad byte) [sha1.Size]byte {
	block := s.tail[:sha1.BlockSize]
	clear(block[copy(block, key):])
	for i := range block {
		block[i] ^= pad
	}
	s.hash.Reset()
	s.hash.Write(block)
	return [sha1.Size]byte(s.read())
}

// sign computes the whole tag over data and a word: the rollover counter for SRTP, E flag and index for SRTCP (RFC 3711 §4.2). It holds
// until the next call.
func (s *signer) sign(k *macKey, data []byte, word uint32) []byte {
	whole := len(data) &^ (sha1.BlockSize - 1)
	n := copy(s.tail[:], data[whole:])
	binary.BigEndian.PutUint32(s.tail[n:], word)
	n += 4
	end := sha1.BlockSize
	if n+9 > end {
		end = 2 * sha1.BlockSize
	}
	pad(s.tail[n:end], sha1.BlockSize+len(data)+4)
	s.load(&k.inner)
	s.hash.Write(data[:whole])
	s.hash.Write(s.tail[:end])
	copy(s.outer[:], s.read())
	s.load(&k.outer)
	s.hash.Write(s.outer[:])
	return s.read()
}

// load begins a hash whose first block is known.
func (s *signer) load(state *[sha1.Size]byte) {
	copy(s.state[len(shaName):], state[:])
	_ = s.hash.UnmarshalBinary(s.state[:]) // it has the right name and length
}

// read returns the hash of what was written, which is whole blocks.
func (s *signer) read() []byte {
	state, _ := s.hash.AppendBinary(s.sum[:0]) // it never fails
	return state[len(shaName):shaBlock]
}

// pad fills the end of the last block of a message of so many bytes (FIPS 180-4 §5.1.1).
func pad(rest []byte, length int) {
	clear(rest)
	rest[0] = 0x80
	binary.BigEndian.PutUint64(rest[len(rest)-8:], uint64(length)*8)
}
