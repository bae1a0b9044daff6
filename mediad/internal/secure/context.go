package secure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// Overhead is the most bytes protection adds to a packet: SRTCP index, MKI of common length and tag. Buffers with that much room
// behind the packet are protected in place.
const Overhead = 4 + 16 + 16

// maxSSRCs bounds the replay and rollover state of one context. A context that has met so many sources refuses new ones, because
// forgetting one would let its packets be replayed or its key stream be used twice.
const maxSSRCs = 256

// replayWindow is in packets (RFC 3711 §3.3.2 asks for at least 64).
const replayWindow = 128

// ErrPacket says that a packet is too short or malformed to be protected or unprotected.
var ErrPacket = errors.New("secure: malformed packet")

// ErrTooManySources says that a context has met its largest number of SSRCs.
var ErrTooManySources = errors.New("secure: too many SSRCs under one key")

// Inbound authenticates and decrypts what a peer sends under one key. It belongs to one engine worker and has no lock.
type Inbound struct {
	key    Key
	ctx    transform
	header rtp.Header
	rtp    sources
	rtcp   sources
	record atomic.Pointer[record] // kept while the key is handed through
}

// Outbound encrypts and signs what is sent to a peer under one key. It belongs to one engine worker and has no lock.
type Outbound struct {
	*protector
	relay *relay // nil unless the key was handed through
}

// protector is the state of a sending context.
type protector struct {
	ctx    transform
	header rtp.Header
	rtp    sources
	rtcp   sources
}

// transform is pion's context or ours.
type transform interface {
	EncryptRTP(dst, pkt []byte, h *rtp.Header) ([]byte, error)
	DecryptRTP(dst, pkt []byte, h *rtp.Header) ([]byte, error)
	EncryptRTCP(dst, pkt []byte, h *rtcp.Header) ([]byte, error)
	DecryptRTCP(dst, pkt []byte, h *rtcp.Header) ([]byte, error)
	ROC(ssrc uint32) (uint32, bool)
	SetROC(ssrc, roc uint32)
	SetIndex(ssrc, index uint32)
}

// NewInbound makes the receiving context of a key, with replay protection for SRTP and SRTCP.
func NewInbound(k Key) (*Inbound, error) {
	ctx, err := newContext(k, srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, err
	}
	return &Inbound{ctx: ctx, key: k}, nil
}

// NewOutbound makes the sending context of a key.
func NewOutbound(k Key) (*Outbound, error) {
	ctx, err := newContext(k)
	if err != nil {
		return nil, err
	}
	return &Outbound{protector: &protector{ctx: ctx}}, nil
}

func newContext(k Key, opts ...srtp.ContextOption) (transform, error) {
	f := k.Suite.facts()
	if f.key == 0 {
		return nil, fmt.Errorf("%w: %d", ErrSuite, k.Suite)
	}
	if len(k.Master) != f.key+f.salt {
		return nil, fmt.Errorf("%w: %d bytes", ErrInline, len(k.Master))
	}
	if f.profile == 0 || k.UnauthenticatedSRTP && f.cipher != cipherGCM {
		ctx, err := newClassic(k)
		if err != nil {
			return nil, fmt.Errorf("secure: %s context: %w", k.Suite, err)
		}
		return ctx, nil
	}
	if len(k.MKI) > 0 {
		opts = append(opts, srtp.MasterKeyIndicator(k.MKI))
	}
	if k.UnencryptedSRTP {
		opts = append(opts, srtp.SRTPNoEncryption())
	}
	if k.UnencryptedSRTCP {
		opts = append(opts, srtp.SRTCPNoEncryption())
	}
	ctx, err := srtp.CreateContext(k.Master[:f.key], k.Master[f.key:], f.profile, opts...)
	if err != nil {
		return nil, fmt.Errorf("secure: %s context: %w", k.Suite, err)
	}
	return ctx, nil
}

// UnprotectRTP authenticates and decrypts an SRTP packet into dst, which may be pkt[:0]. The result points into dst's array when
// that is large enough.
func (in *Inbound) UnprotectRTP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 12 {
		return nil, ErrPacket
	}
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	if !in.rtp.admits(ssrc) {
		return nil, ErrTooManySources
	}
	rec := in.record.Load()
	if rec != nil {
		rec.begin(pkt)
	}
	out, err := in.ctx.DecryptRTP(dst, pkt, &in.header)
	if err != nil {
		return nil, err
	}
	in.rtp.add(ssrc)
	if rec != nil {
		rec.finish(out, false)
	}
	return out, nil
}

// UnprotectRTCP authenticates and decrypts an SRTCP packet into dst, which may be pkt[:0].
func (in *Inbound) UnprotectRTCP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 8 {
		return nil, ErrPacket
	}
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	if !in.rtcp.admits(ssrc) {
		return nil, ErrTooManySources
	}
	rec := in.record.Load()
	if rec != nil {
		rec.begin(pkt)
	}
	out, err := in.ctx.DecryptRTCP(dst, pkt, nil)
	if err != nil {
		return nil, err
	}
	in.rtcp.add(ssrc)
	if rec != nil {
		rec.finish(out, true)
	}
	return out, nil
}

// ProtectRTP encrypts and signs an RTP packet into dst, which may be pkt[:0].
func (out *Outbound) ProtectRTP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 12 {
		return nil, ErrPacket
	}
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	if out.relay != nil {
		return out.relay.protectRTP(out.protector, dst, pkt, ssrc)
	}
	return out.protectRTP(dst, pkt, ssrc)
}

// ProtectRTCP encrypts and signs an RTCP packet into dst, which may be pkt[:0].
func (out *Outbound) ProtectRTCP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 8 {
		return nil, ErrPacket
	}
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	if out.relay != nil {
		return out.relay.protectRTCP(out.protector, dst, pkt, ssrc)
	}
	return out.protectRTCP(dst, pkt, ssrc)
}

func (p *protector) protectRTP(dst, pkt []byte, ssrc uint32) ([]byte, error) {
	if !p.rtp.admits(ssrc) {
		return nil, ErrTooManySources
	}
	b, err := p.ctx.EncryptRTP(dst, pkt, &p.header)
	if err != nil {
		return nil, err
	}
	p.rtp.add(ssrc)
	return b, nil
}

func (p *protector) protectRTCP(dst, pkt []byte, ssrc uint32) ([]byte, error) {
	if !p.rtcp.admits(ssrc) {
		return nil, ErrTooManySources
	}
	b, err := p.ctx.EncryptRTCP(dst, pkt, nil)
	if err != nil {
		return nil, err
	}
	p.rtcp.add(ssrc)
	return b, nil
}

// sources is the set of SSRCs a context holds state for. The latest is remembered apart: nearly every packet has it.
type sources struct {
	last  uint32
	known map[uint32]struct{}
}

func (s *sources) admits(ssrc uint32) bool {
	if s.known == nil || (ssrc == s.last && len(s.known) > 0) {
		return true
	}
	if _, ok := s.known[ssrc]; ok {
		return true
	}
	return len(s.known) < maxSSRCs
}

// has reports whether a source is known.
func (s *sources) has(ssrc uint32) bool {
	_, ok := s.known[ssrc]
	return ok
}

func (s *sources) add(ssrc uint32) {
	if ssrc == s.last && len(s.known) > 0 {
		return
	}
	if s.known == nil {
		s.known = make(map[uint32]struct{}, 2)
	}
	s.known[ssrc] = struct{}{}
	s.last = ssrc
}
