package secure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// Overhead is the most bytes protection adds to a packet: SRTCP index, MKI of common length and tag. Buffers with that much room
// behind the packet are protected in place.
const Overhead = 4 + 16 + 16

// replayWindow is in packets (RFC 3711 §3.3.2 asks for at least 64).
const replayWindow = 128

// Errors of contexts.
var (
	// ErrPacket says that a packet is too short or malformed to be protected or unprotected.
	ErrPacket = errors.New("secure: malformed packet")
	// ErrTooManySources says that a context has met its largest number of SSRCs.
	ErrTooManySources = errors.New("secure: too many SSRCs under one key")

	errAuthentication = errors.New("secure: authentication failed")
	errReplayed       = errors.New("secure: replayed packet")
	errExhausted      = errors.New("secure: key used up")
	errMKI            = errors.New("secure: another master key")
)

// Inbound authenticates and decrypts what a peer sends under one key. It belongs to one engine worker and has no lock.
type Inbound struct {
	ctx    transform
	record atomic.Pointer[record] // kept while the key is handed through
	rtp    sources
	key    Key
	rtcp   sources
	fresh  source // a source that is not known yet, until its first packet is authenticated
}

// Outbound encrypts and signs what is sent to a peer under one key. It belongs to one engine worker and has no lock.
type Outbound struct {
	*protector
	relay *relay // nil unless the key was handed through
}

// protector is the state of a sending context.
type protector struct {
	ctx  transform
	mki  []byte
	rtp  sources
	rtcp sources
}

// transform is the cryptography of a key: classic or aead. All of it works in place and for one goroutine at a time; indices, replays and
// key identifiers are not its business.
type transform interface {
	// sealRTP encrypts an RTP packet with so long a header, signs it and appends tag and MKI in their order.
	sealRTP(pkt []byte, header int, at position, mki []byte) []byte
	// openRTP undoes sealRTP. A packet whose authentication fails is lost.
	openRTP(pkt []byte, header int, at position, mki int) ([]byte, error)
	// sealRTCP and openRTCP do the same for RTCP; word is the SRTCP index with the E flag before it.
	sealRTCP(pkt []byte, at position, mki []byte) []byte
	openRTCP(pkt []byte, at position, word uint32, mki int) ([]byte, error)
	// mkiAt is where in a protected packet of so many bytes the MKI begins, if it has mki bytes; wordAt is where the SRTCP index begins.
	// Both are negative if the packet is too short.
	mkiAt(size, mki int, control bool) int
	wordAt(size, mki int) int
}

// position is a packet's place in the key stream.
type position struct {
	ssrc  uint32
	index uint64 // rollover counter and sequence number, or SRTCP index
}

// NewInbound makes the receiving context of a key, with replay protection for SRTP and SRTCP.
func NewInbound(k Key) (*Inbound, error) {
	ctx, err := newTransform(k)
	if err != nil {
		return nil, err
	}
	return &Inbound{ctx: ctx, key: k}, nil
}

// NewOutbound makes the sending context of a key.
func NewOutbound(k Key) (*Outbound, error) {
	p, err := newProtector(k)
	if err != nil {
		return nil, err
	}
	return &Outbound{protector: p}, nil
}

func newProtector(k Key) (*protector, error) {
	ctx, err := newTransform(k)
	if err != nil {
		return nil, err
	}
	return &protector{ctx: ctx, mki: k.MKI}, nil
}

func newTransform(k Key) (ctx transform, err error) {
	f := k.Suite.facts()
	if f.key == 0 {
		return nil, fmt.Errorf("%w: %d", ErrSuite, k.Suite)
	}
	if len(k.Master) != f.key+f.salt {
		return nil, fmt.Errorf("%w: %d bytes", ErrInline, len(k.Master))
	}
	if f.cipher == cipherGCM {
		ctx, err = newAEAD(k)
	} else {
		ctx, err = newClassic(k)
	}
	if err != nil {
		return nil, fmt.Errorf("secure: %s context: %w", k.Suite, err)
	}
	return ctx, nil
}

// UnprotectRTP authenticates and decrypts an SRTP packet into dst, which may be pkt[:0]. The result points into dst's array when
// that has room for all of pkt. A packet that was refused is of no use any more if it was to be decrypted in place.
func (in *Inbound) UnprotectRTP(dst, pkt []byte) ([]byte, error) {
	header, ok := rtp.Packet(pkt).HeaderLen()
	if !ok || isCryptex(pkt) {
		return nil, ErrPacket
	}
	src := in.source(&in.rtp, rtp.Packet(pkt).SSRC())
	if src == nil {
		return nil, ErrTooManySources
	}
	index, ok := src.next(rtp.Packet(pkt).Sequence())
	if !ok || src.replayed(index) {
		return nil, errReplayed
	}
	if at := in.ctx.mkiAt(len(pkt), len(in.key.MKI), false); at < header {
		return nil, ErrPacket
	} else if len(in.key.MKI) > 0 && !bytes.Equal(pkt[at:at+len(in.key.MKI)], in.key.MKI) {
		return nil, errMKI
	}
	rec := in.record.Load()
	if rec != nil {
		rec.begin(pkt)
	}
	out, err := in.ctx.openRTP(append(dst[:0], pkt...), header, position{src.ssrc, index}, len(in.key.MKI))
	if err != nil {
		return nil, err
	}
	in.accept(&in.rtp, src, index)
	if rec != nil {
		rec.finish(out, false)
	}
	return out, nil
}

// UnprotectRTCP authenticates and decrypts an SRTCP packet into dst, which may be pkt[:0], as UnprotectRTP does.
func (in *Inbound) UnprotectRTCP(dst, pkt []byte) ([]byte, error) {
	word := in.ctx.wordAt(len(pkt), len(in.key.MKI))
	at := in.ctx.mkiAt(len(pkt), len(in.key.MKI), true)
	if word < rtp.RTCPHeaderSize || at < word {
		return nil, ErrPacket
	}
	src := in.source(&in.rtcp, rtp.RTCP(pkt).SSRC())
	if src == nil {
		return nil, ErrTooManySources
	}
	esrtcp := binary.BigEndian.Uint32(pkt[word:])
	index := uint64(esrtcp &^ encryptedFlag)
	if src.replayed(index) {
		return nil, errReplayed
	}
	if len(in.key.MKI) > 0 && !bytes.Equal(pkt[at:at+len(in.key.MKI)], in.key.MKI) {
		return nil, errMKI
	}
	rec := in.record.Load()
	if rec != nil {
		rec.begin(pkt)
	}
	out, err := in.ctx.openRTCP(append(dst[:0], pkt...), position{src.ssrc, index}, esrtcp, len(in.key.MKI))
	if err != nil {
		return nil, err
	}
	in.accept(&in.rtcp, src, index)
	if rec != nil {
		rec.finish(out, true)
	}
	return out, nil
}

// source finds what is known of the source of a packet that is to be authenticated yet; nil if it is one too many.
func (in *Inbound) source(of *sources, ssrc uint32) *source {
	if src := of.find(ssrc); src != nil {
		return src
	}
	if len(of.list) >= maxSSRCs {
		return nil
	}
	in.fresh = source{ssrc: ssrc}
	return &in.fresh
}

// accept takes note of an authenticated packet, and remembers its source.
func (in *Inbound) accept(of *sources, src *source, index uint64) {
	src.seen(index)
	if src == &in.fresh {
		of.add(in.fresh)
	}
}

// isCryptex tells of a packet with a whole header whose extension is encrypted together with the payload (RFC 9335 §5), which is never
// negotiated. Its payload would come out wrong.
func isCryptex(pkt []byte) bool {
	if pkt[0]&0x10 == 0 {
		return false
	}
	profile := binary.BigEndian.Uint16(pkt[rtp.HeaderSize+4*int(pkt[0]&0x0f):])
	return profile == 0xc0de || profile == 0xc2de
}

// ProtectRTP encrypts and signs an RTP packet into dst, which may be pkt[:0].
func (out *Outbound) ProtectRTP(dst, pkt []byte) ([]byte, error) {
	header, ok := rtp.Packet(pkt).HeaderLen()
	if !ok {
		return nil, ErrPacket
	}
	if out.relay != nil {
		return out.relay.protectRTP(out.protector, dst, pkt, header)
	}
	return out.protectRTP(dst, pkt, header)
}

// ProtectRTCP encrypts and signs an RTCP packet into dst, which may be pkt[:0].
func (out *Outbound) ProtectRTCP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < rtp.RTCPHeaderSize {
		return nil, ErrPacket
	}
	if out.relay != nil {
		return out.relay.protectRTCP(out.protector, dst, pkt)
	}
	return out.protectRTCP(dst, pkt)
}

func (p *protector) protectRTP(dst, pkt []byte, header int) ([]byte, error) {
	src := p.rtp.begin(rtp.Packet(pkt).SSRC())
	if src == nil {
		return nil, ErrTooManySources
	}
	index, ok := src.next(rtp.Packet(pkt).Sequence())
	if !ok {
		return nil, errExhausted
	}
	src.seen(index)
	return p.ctx.sealRTP(append(dst[:0], pkt...), header, position{src.ssrc, index}, p.mki), nil
}

func (p *protector) protectRTCP(dst, pkt []byte) ([]byte, error) {
	src := p.rtcp.begin(rtp.RTCP(pkt).SSRC())
	if src == nil {
		return nil, ErrTooManySources
	}
	index := src.highest + 1
	if index > maxControlIndex {
		return nil, errExhausted
	}
	src.seen(index)
	return p.ctx.sealRTCP(append(dst[:0], pkt...), position{src.ssrc, index}, p.mki), nil
}
