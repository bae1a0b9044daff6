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

// classic has the transforms of RFC 3711: AES-CM, also with longer keys (RFC 6188), AES-f8 or no encryption, signed with HMAC-SHA1. It is in
// one piece of memory: with thousands of calls, a packet waits for each pointer that is followed.
type classic struct {
	media, control direction
	mediaTag       int  // bytes, 0 without authentication
	plainControl   bool // RTCP that we send is not encrypted; what is received tells for itself
	signer         signer
}

// direction holds the session keys of SRTP or of SRTCP.
type direction struct {
	mac     macKey
	cipher  cipherMode
	counter counterMode
	f8      *f8
}

// xor encrypts or decrypts data in place. header is that of the packet.
func (d *direction) xor(data, header []byte, at position, control bool) {
	switch d.cipher {
	case cipherCM:
		d.counter.xor(data, at)
	case cipherF8:
		d.f8.xor(data, header, at, control)
	}
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
	if err = c.signer.prepare(); err != nil {
		return nil, err
	}
	if err = c.media.prepare(f, d, 0, &c.signer); err != nil {
		return nil, err
	}
	if err = c.control.prepare(f, d, labelsOfControl, &c.signer); err != nil {
		return nil, err
	}
	if k.UnencryptedSRTP {
		c.media.cipher = cipherNull
	}
	c.plainControl = f.cipher == cipherNull || k.UnencryptedSRTCP
	return c, nil
}

func (d *direction) prepare(f suiteFacts, from *derivation, label byte, s *signer) (err error) {
	d.cipher = f.cipher
	d.mac = s.key(from.derive(label+labelAuthentication, authKeyLength))
	var salt [saltLength]byte
	copy(salt[:], from.derive(label+labelSalt, saltLength))
	key := from.derive(label+labelEncryption, f.key)
	switch f.cipher {
	case cipherF8:
		d.f8, err = newF8(key, salt[:])
	case cipherCM:
		d.counter, err = newCounterMode(key, salt[:])
	}
	return err
}

func (c *classic) mkiAt(size, mki int, control bool) int {
	if control {
		return size - controlTag - mki
	}
	return size - c.mediaTag - mki
}

func (c *classic) wordAt(size, mki int) int { return size - controlTag - mki - controlIndex }

func (c *classic) sealRTP(pkt []byte, header int, at position, mki []byte) []byte {
	c.media.xor(pkt[header:], pkt[:header], at, false)
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
	c.media.xor(pkt[header:], pkt[:header], at, false)
	return pkt, nil
}

func (c *classic) sealRTCP(pkt []byte, at position, mki []byte) []byte {
	word := uint32(at.index)
	if !c.plainControl {
		c.control.xor(pkt[rtp.RTCPHeaderSize:], pkt[:rtp.RTCPHeaderSize], at, true)
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
	if word&encryptedFlag != 0 {
		c.control.xor(pkt[rtp.RTCPHeaderSize:], pkt[:rtp.RTCPHeaderSize], at, true)
	}
	return pkt, nil
}
