package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 3711 §4.2.1 prescribes HMAC-SHA1
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// Errors of the classic transforms.
var (
	errAuthentication = errors.New("secure: authentication failed")
	errReplayed       = errors.New("secure: replayed packet")
	errExhausted      = errors.New("secure: key used up")
)

const (
	saltLength        = 14 // master and session salt (RFC 3711 §8.2)
	authKeyLength     = 20
	controlTag        = 10 // SRTCP has the long tag with every suite (RFC 4568 §6.2.2, RFC 6188 §4)
	controlIndex      = 4
	encryptedFlag     = 1 << 31
	maxControlIndex   = 1<<31 - 1
	controlHeaderSize = 8
)

// Labels of the key derivation (RFC 3711 §4.3.2); those of SRTCP are three more.
const (
	labelEncryption = iota
	labelAuthentication
	labelSalt
	labelsOfControl
)

// classic is the part of RFC 3711 that pion lacks: AES-CM with 192-bit keys (RFC 6188), AES-f8, no encryption, and SRTP without
// authentication. It is used by one goroutine at a time.
type classic struct {
	key            Key
	media, control direction
	mediaTag       int // bytes, 0 without authentication
	sum            []byte
	word           [4]byte

	mediaIdx, ctrlIdx map[uint32]*rollover
	fresh             rollover // of a source that is not known yet, until its first packet is authenticated
}

// direction holds the session keys of SRTP or of SRTCP.
type direction struct {
	stream keystream // nil: NULL cipher
	mac    hash.Hash
}

// keystream is an additive cipher.
type keystream interface {
	// xor encrypts or decrypts data in place. header is that of the packet, index the SRTP or SRTCP index.
	xor(data, header []byte, ssrc uint32, index uint64, control bool)
}

// newClassic makes the context of a key whose lengths are right.
func newClassic(k Key) (*classic, error) {
	f := k.Suite.facts()
	master, salt := k.Master[:f.key], k.Master[f.key:]
	c := &classic{
		key: k, mediaTag: f.tag,
		mediaIdx: make(map[uint32]*rollover, 1), ctrlIdx: make(map[uint32]*rollover, 1),
	}
	if k.UnauthenticatedSRTP {
		c.mediaTag = 0
	}
	var err error
	if c.media, err = newDirection(f, master, salt, 0); err != nil {
		return nil, err
	}
	c.control, err = newDirection(f, master, salt, labelsOfControl)
	return c, err
}

func newDirection(f suiteFacts, master, salt []byte, label byte) (direction, error) {
	block, err := aes.NewCipher(master)
	if err != nil {
		return direction{}, err
	}
	d := direction{mac: hmac.New(sha1.New, derive(block, salt, label+labelAuthentication, authKeyLength))}
	key := derive(block, salt, label+labelEncryption, f.key)
	sessionSalt := derive(block, salt, label+labelSalt, saltLength)
	switch f.cipher {
	case cipherF8:
		d.stream, err = newF8(key, sessionSalt)
	case cipherCM:
		d.stream, err = newCounterMode(key, sessionSalt)
	}
	return d, err
}

// derive makes a session key with a key derivation rate of 0 (RFC 3711 §4.3.1, §4.3.3).
func derive(block cipher.Block, salt []byte, label byte, length int) []byte {
	var counter, out [aes.BlockSize]byte
	copy(counter[:], salt)
	counter[7] ^= label
	var key []byte
	for n := 0; len(key) < length; n++ {
		binary.BigEndian.PutUint16(counter[14:], uint16(n))
		block.Encrypt(out[:], counter[:])
		key = append(key, out[:]...)
	}
	return key[:length]
}

// EncryptRTP encrypts and signs an RTP packet.
func (c *classic) EncryptRTP(dst, pkt []byte, h *rtp.Header) ([]byte, error) {
	offset, err := h.Unmarshal(pkt)
	if err != nil {
		return nil, err
	}
	r := c.state(c.mediaIdx, h.SSRC)
	index, ok := r.next(h.SequenceNumber)
	if !ok {
		return nil, errExhausted
	}
	r.seen(index)
	dst = append(dst[:0], pkt...)
	if c.media.stream != nil && !c.key.UnencryptedSRTP {
		c.media.stream.xor(dst[offset:], dst[:offset], h.SSRC, index, false)
	}
	dst = append(dst, c.key.MKI...)
	if c.mediaTag > 0 {
		tag := c.sign(c.media.mac, dst[:len(dst)-len(c.key.MKI)], uint32(index>>16))
		dst = append(dst, tag[:c.mediaTag]...)
	}
	return dst, nil
}

// DecryptRTP authenticates and decrypts an SRTP packet.
func (c *classic) DecryptRTP(dst, pkt []byte, h *rtp.Header) ([]byte, error) {
	offset, err := h.Unmarshal(pkt)
	if err != nil {
		return nil, err
	}
	end := len(pkt) - c.mediaTag - len(c.key.MKI)
	if end < offset {
		return nil, ErrPacket
	}
	r := c.known(c.mediaIdx, h.SSRC)
	index, ok := r.next(h.SequenceNumber)
	if !ok || r.replayed(index) {
		return nil, errReplayed
	}
	if c.mediaTag > 0 {
		tag := c.sign(c.media.mac, pkt[:end], uint32(index>>16))
		if subtle.ConstantTimeCompare(tag[:c.mediaTag], pkt[len(pkt)-c.mediaTag:]) != 1 {
			return nil, errAuthentication
		}
	}
	r.seen(index)
	c.keep(c.mediaIdx, h.SSRC, r)
	dst = append(dst[:0], pkt[:end]...)
	if c.media.stream != nil && !c.key.UnencryptedSRTP {
		c.media.stream.xor(dst[offset:], dst[:offset], h.SSRC, index, false)
	}
	return dst, nil
}

// EncryptRTCP encrypts and signs an RTCP packet.
func (c *classic) EncryptRTCP(dst, pkt []byte, _ *rtcp.Header) ([]byte, error) {
	if len(pkt) < controlHeaderSize {
		return nil, ErrPacket
	}
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	r := c.state(c.ctrlIdx, ssrc)
	index := r.highest + 1
	if index > maxControlIndex {
		return nil, errExhausted
	}
	r.seen(index)
	dst = append(dst[:0], pkt...)
	word := uint32(index)
	if c.control.stream != nil && !c.key.UnencryptedSRTCP {
		c.control.stream.xor(dst[controlHeaderSize:], dst[:controlHeaderSize], ssrc, index, true)
		word |= encryptedFlag
	}
	tag := c.sign(c.control.mac, dst, word)
	dst = binary.BigEndian.AppendUint32(dst, word)
	dst = append(dst, c.key.MKI...)
	return append(dst, tag[:controlTag]...), nil
}

// DecryptRTCP authenticates and decrypts an SRTCP packet.
func (c *classic) DecryptRTCP(dst, pkt []byte, _ *rtcp.Header) ([]byte, error) {
	end := len(pkt) - controlTag - len(c.key.MKI) - controlIndex
	if end < controlHeaderSize {
		return nil, ErrPacket
	}
	word := binary.BigEndian.Uint32(pkt[end:])
	index, ssrc := uint64(word&^encryptedFlag), binary.BigEndian.Uint32(pkt[4:])
	r := c.known(c.ctrlIdx, ssrc)
	if r.replayed(index) {
		return nil, errReplayed
	}
	tag := c.sign(c.control.mac, pkt[:end], word)
	if subtle.ConstantTimeCompare(tag[:controlTag], pkt[len(pkt)-controlTag:]) != 1 {
		return nil, errAuthentication
	}
	r.seen(index)
	c.keep(c.ctrlIdx, ssrc, r)
	dst = append(dst[:0], pkt[:end]...)
	if c.control.stream != nil && word&encryptedFlag != 0 {
		c.control.stream.xor(dst[controlHeaderSize:], dst[:controlHeaderSize], ssrc, index, true)
	}
	return dst, nil
}

// state finds what is known of a source, and begins it for a sender.
func (c *classic) state(of map[uint32]*rollover, ssrc uint32) *rollover {
	r := of[ssrc]
	if r == nil {
		r = &rollover{}
		of[ssrc] = r
	}
	return r
}

// known finds what is known of a source that is to be authenticated yet.
func (c *classic) known(of map[uint32]*rollover, ssrc uint32) *rollover {
	if r := of[ssrc]; r != nil {
		return r
	}
	c.fresh = rollover{}
	return &c.fresh
}

// keep remembers a source once one of its packets is authenticated.
func (c *classic) keep(of map[uint32]*rollover, ssrc uint32, r *rollover) {
	if r == &c.fresh {
		first := c.fresh
		of[ssrc] = &first
	}
}

// sign computes the whole tag over data and the word behind it: the rollover counter for SRTP, E flag and index for SRTCP (RFC 3711 §4.2).
func (c *classic) sign(mac hash.Hash, data []byte, word uint32) []byte {
	binary.BigEndian.PutUint32(c.word[:], word)
	mac.Reset()
	mac.Write(data)
	mac.Write(c.word[:])
	c.sum = mac.Sum(c.sum[:0])
	return c.sum
}

// SetROC begins a source at a rollover counter.
func (c *classic) SetROC(ssrc, roc uint32) {
	c.state(c.mediaIdx, ssrc).begin(roc)
}

// ROC of a source; false if it is not known.
func (c *classic) ROC(ssrc uint32) (uint32, bool) {
	r, ok := c.mediaIdx[ssrc]
	if !ok {
		return 0, false
	}
	return uint32(r.highest >> 16), true
}

// SetIndex sets the SRTCP index that was used last.
func (c *classic) SetIndex(ssrc, index uint32) {
	c.state(c.ctrlIdx, ssrc).highest = uint64(index)
}
