package secure

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

const (
	controlTag      = 10 // SRTCP has the long tag with every suite (RFC 4568 §6.2.2, RFC 6188 §4)
	controlIndex    = 4
	encryptedFlag   = 1 << 31
	maxControlIndex = 1<<31 - 1
)

// classic has the transforms of RFC 3711: AES-CM, also with longer keys (RFC 6188), AES-f8 or no encryption, signed with HMAC-SHA1.
type classic struct {
	media, control direction
	mediaTag       int // bytes, 0 without authentication
	signer         *signer
}

// direction holds the session keys of SRTP or of SRTCP.
type direction struct {
	stream keystream // nil: NULL cipher
	sends  bool      // encrypted what is sent; what is received tells for itself in SRTCP
	mac    macKey
}

// keystream is an additive cipher.
type keystream interface {
	// xor encrypts or decrypts data in place. header is that of the packet.
	xor(data, header []byte, at position, control bool)
}

// newClassic makes the transforms of a key whose lengths are right.
func newClassic(k Key) (*classic, error) {
	f := k.Suite.facts()
	d, err := newDerivation(k.Master[:f.key], k.Master[f.key:])
	if err != nil {
		return nil, err
	}
	c := &classic{mediaTag: f.tag}
	if k.UnauthenticatedSRTP {
		c.mediaTag = 0
	}
	if c.signer, err = newSigner(); err != nil {
		return nil, err
	}
	if c.media, err = newDirection(f, d, 0, c.signer); err != nil {
		return nil, err
	}
	if c.control, err = newDirection(f, d, labelsOfControl, c.signer); err != nil {
		return nil, err
	}
	if k.UnencryptedSRTP {
		c.media.stream = nil
	}
	c.control.sends = c.control.stream != nil && !k.UnencryptedSRTCP
	return c, nil
}

func newDirection(f suiteFacts, from *derivation, label byte, s *signer) (d direction, err error) {
	d.mac = s.key(from.derive(label+labelAuthentication, authKeyLength))
	var salt [saltLength]byte
	copy(salt[:], from.derive(label+labelSalt, saltLength))
	key := from.derive(label+labelEncryption, f.key)
	switch f.cipher {
	case cipherF8:
		d.stream, err = newF8(key, salt[:])
	case cipherCM:
		d.stream, err = newCounterMode(key, salt[:])
	}
	return d, err
}

func (c *classic) mkiAt(size, mki int, control bool) int {
	if control {
		return size - controlTag - mki
	}
	return size - c.mediaTag - mki
}

func (c *classic) wordAt(size, mki int) int { return size - controlTag - mki - controlIndex }

func (c *classic) sealRTP(pkt []byte, header int, at position, mki []byte) []byte {
	if c.media.stream != nil {
		c.media.stream.xor(pkt[header:], pkt[:header], at, false)
	}
	if c.mediaTag == 0 {
		return append(pkt, mki...)
	}
	tag := c.signer.sign(&c.media.mac, pkt, uint32(at.index>>16))
	return append(append(pkt, mki...), tag[:c.mediaTag]...)
}

func (c *classic) openRTP(pkt []byte, header int, at position, mki int) ([]byte, error) {
	end := len(pkt) - c.mediaTag - mki
	if c.mediaTag > 0 {
		tag := c.signer.sign(&c.media.mac, pkt[:end], uint32(at.index>>16))
		if subtle.ConstantTimeCompare(tag[:c.mediaTag], pkt[len(pkt)-c.mediaTag:]) != 1 {
			return nil, errAuthentication
		}
	}
	pkt = pkt[:end]
	if c.media.stream != nil {
		c.media.stream.xor(pkt[header:], pkt[:header], at, false)
	}
	return pkt, nil
}

func (c *classic) sealRTCP(pkt []byte, at position, mki []byte) []byte {
	word := uint32(at.index)
	if c.control.sends {
		c.control.stream.xor(pkt[rtp.RTCPHeaderSize:], pkt[:rtp.RTCPHeaderSize], at, true)
		word |= encryptedFlag
	}
	tag := c.signer.sign(&c.control.mac, pkt, word)
	pkt = binary.BigEndian.AppendUint32(pkt, word)
	return append(append(pkt, mki...), tag[:controlTag]...)
}

func (c *classic) openRTCP(pkt []byte, at position, word uint32, mki int) ([]byte, error) {
	end := c.wordAt(len(pkt), mki)
	tag := c.signer.sign(&c.control.mac, pkt[:end], word)
	if subtle.ConstantTimeCompare(tag[:controlTag], pkt[len(pkt)-controlTag:]) != 1 {
		return nil, errAuthentication
	}
	pkt = pkt[:end]
	if c.control.stream != nil && word&encryptedFlag != 0 {
		c.control.stream.xor(pkt[rtp.RTCPHeaderSize:], pkt[:rtp.RTCPHeaderSize], at, true)
	}
	return pkt, nil
}
