package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

const aeadTag = 16 // RFC 7714 §13.1

// aead has the transforms of RFC 7714: AES-GCM.
type aead struct {
	media, control gcm
	openMedia      bool // RTP goes unencrypted
	openControl    bool // and RTCP that we send
	aad            [rtp.RTCPHeaderSize + controlIndex]byte
	tag            [aeadTag]byte
}

// gcm holds the session keys of SRTP or of SRTCP.
type gcm struct {
	cipher.AEAD
	salt, iv [12]byte
}

// newAEAD makes the transforms of a key whose lengths are right.
func newAEAD(k Key) (*aead, error) {
	f := k.Suite.facts()
	d, err := newDerivation(k.Master[:f.key], k.Master[f.key:])
	if err != nil {
		return nil, err
	}
	a := &aead{openMedia: k.UnencryptedSRTP, openControl: k.UnencryptedSRTCP}
	if a.media, err = deriveGCM(f, d, 0); err != nil {
		return nil, err
	}
	a.control, err = deriveGCM(f, d, labelsOfControl)
	return a, err
}

func deriveGCM(f suiteFacts, from *derivation, label byte) (gcm, error) {
	g, err := newGCM(from.derive(label+labelEncryption, f.key))
	copy(g.salt[:], from.derive(label+labelSalt, f.salt))
	return g, err
}

// newGCM takes a session key.
func newGCM(key []byte) (g gcm, err error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return g, err
	}
	g.AEAD, err = cipher.NewGCM(block)
	return g, err
}

// nonce is the initialization vector of a packet: SSRC, then rollover counter and sequence number or SRTCP index (RFC 7714 §8.1, §9.1).
func (g *gcm) nonce(at position) []byte {
	binary.BigEndian.PutUint64(g.iv[4:], at.index)
	binary.BigEndian.PutUint32(g.iv[2:], at.ssrc)
	g.iv[0], g.iv[1] = 0, 0
	for i := range g.iv {
		g.iv[i] ^= g.salt[i]
	}
	return g.iv[:]
}

// mkiAt and wordAt: the MKI is last, behind the index, and that is behind the tag (RFC 7714 §17.2).
func (a *aead) mkiAt(size, mki int, _ bool) int { return size - mki }
func (a *aead) wordAt(size, mki int) int        { return size - mki - controlIndex }

func (a *aead) sealRTP(pkt []byte, header int, at position, mki []byte) []byte {
	if a.openMedia {
		header = len(pkt)
	}
	pkt = a.media.Seal(pkt[:header], a.media.nonce(at), pkt[header:], pkt[:header])
	return append(pkt, mki...)
}

func (a *aead) openRTP(pkt []byte, header int, at position, mki int) ([]byte, error) {
	end := len(pkt) - mki
	if end < header+aeadTag {
		return nil, ErrPacket
	}
	if a.openMedia {
		header = end - aeadTag
	}
	out, err := a.media.Open(pkt[:header], a.media.nonce(at), pkt[header:end], pkt[:header])
	if err != nil {
		return nil, errAuthentication
	}
	return out, nil
}

func (a *aead) sealRTCP(pkt []byte, at position, mki []byte) []byte {
	word := uint32(at.index)
	if a.openControl { // signed is the packet with its index (§9.3), and the tag goes between them
		n := len(pkt)
		pkt = binary.BigEndian.AppendUint32(pkt, word)
		tag := a.control.Seal(a.tag[:0], a.control.nonce(at), nil, pkt)
		pkt = append(pkt[:n], tag...)
	} else {
		word |= encryptedFlag
		const header = rtp.RTCPHeaderSize
		pkt = a.control.Seal(pkt[:header], a.control.nonce(at), pkt[header:], a.signed(pkt, word))
	}
	pkt = binary.BigEndian.AppendUint32(pkt, word)
	return append(pkt, mki...)
}

func (a *aead) openRTCP(pkt []byte, at position, word uint32, mki int) ([]byte, error) {
	const header = rtp.RTCPHeaderSize
	end := a.wordAt(len(pkt), mki)
	if end < header+aeadTag {
		return nil, ErrPacket
	}
	if word&encryptedFlag == 0 {
		plain := pkt[:end-aeadTag]
		copy(a.tag[:], pkt[end-aeadTag:])
		if _, err := a.control.Open(nil, a.control.nonce(at), a.tag[:], binary.BigEndian.AppendUint32(plain, word)); err != nil {
			return nil, errAuthentication
		}
		return plain, nil
	}
	out, err := a.control.Open(pkt[:header], a.control.nonce(at), pkt[header:end], a.signed(pkt, word))
	if err != nil {
		return nil, errAuthentication
	}
	return out, nil
}

// signed is what an encrypted RTCP packet's tag stands for beside its contents (§9.2).
func (a *aead) signed(pkt []byte, word uint32) []byte {
	copy(a.aad[:], pkt[:rtp.RTCPHeaderSize])
	binary.BigEndian.PutUint32(a.aad[rtp.RTCPHeaderSize:], word)
	return a.aad[:]
}
