package secure

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// ErrKeystream says that a packet cannot be protected under a key that was handed through: the peer that made the key has used, or may
// use, the same piece of key stream for other contents, and the two together would show both.
var ErrKeystream = errors.New("secure: key stream belongs to the peer that made the key")

// ownControl is the first SRTCP index for reports of our own under a key of somebody else. Who counts from 0, as RFC 3711 §3.4 wants,
// does not get there.
const ownControl = 1 << 30

// record is the last packet that an Inbound took, as it came and decrypted.
type record struct {
	cipher, plain []byte
	control       bool
}

// begin takes note of a packet before it is decrypted, perhaps in place.
func (r *record) begin(pkt []byte) {
	r.cipher = append(r.cipher[:0], pkt...)
	r.plain = r.plain[:0]
}

func (r *record) finish(plain []byte, control bool) {
	r.plain = append(r.plain[:0], plain...)
	r.control = control
}

// relay protects packets under a key that one party gave to another in SDP (RFC 4568) and that we handed through. What the maker of the key
// has sent under it, and we have authenticated, goes on with the same bytes. Anything else may only take pieces of key stream that
// the maker does not use: those of other SSRCs, and of SRTCP indices far from its own.
type relay struct {
	from *Inbound
	rec  *record

	sameRTP, sameRTCP bool // both sides protect in the same way, so bytes can go on
	onlyOne           bool // of the two sides encrypts RTP, so no key stream is used twice

	own *ownSources
}

// ownSources are the SSRCs that we have protected packets of ourselves.
type ownSources struct{ rtp, rtcp sources }

// Shares reports whether a key is the one that in receives under.
func (in *Inbound) Shares(k Key) bool {
	return in.key.Suite == k.Suite && bytes.Equal(in.key.Master, k.Master)
}

// HandThrough makes the sending context for a key that in Shares: what in has authenticated last is sent on with the same bytes, so the
// rollover counter and the SRTCP index are the maker's, and no key stream is used for different contents. before is the context that was in
// use for the same key, nil if there was none. Both contexts must belong to the same worker.
func (in *Inbound) HandThrough(k Key, before *Outbound) (*Outbound, error) {
	r := &relay{
		from:     in,
		sameRTP:  in.key.UnencryptedSRTP == k.UnencryptedSRTP && in.key.UnauthenticatedSRTP == k.UnauthenticatedSRTP && bytes.Equal(in.key.MKI, k.MKI),
		sameRTCP: in.key.UnencryptedSRTCP == k.UnencryptedSRTCP && bytes.Equal(in.key.MKI, k.MKI),
		onlyOne:  in.key.UnencryptedSRTP || k.UnencryptedSRTP,
		own:      &ownSources{},
	}
	next := &Outbound{relay: r}
	if before != nil {
		next.protector = before.protector
		if before.relay != nil {
			r.own = before.relay.own
		}
	} else {
		p, err := newProtector(k)
		if err != nil {
			return nil, err
		}
		next.protector = p
	}
	in.record.CompareAndSwap(nil, &record{})
	r.rec = in.record.Load()
	return next, nil
}

// Follows reports whether out is the context that in.HandThrough has made.
func (out *Outbound) Follows(in *Inbound) bool { return out.relay != nil && out.relay.from == in }

func (r *relay) protectRTP(p *protector, dst, pkt []byte, header int) ([]byte, error) {
	ssrc := rtp.Packet(pkt).SSRC()
	theirs := r.from.rtp.find(ssrc)
	if theirs != nil && !r.own.rtp.has(ssrc) {
		unchanged := !r.rec.control && bytes.Equal(r.rec.plain, pkt)
		switch {
		case r.sameRTP && unchanged:
			return append(dst[:0], r.rec.cipher...), nil
		case r.sameRTP, !r.onlyOne && !unchanged:
			return nil, ErrKeystream
		case !p.rtp.has(ssrc):
			if src := p.rtp.begin(ssrc); src != nil {
				src.begin(uint32(theirs.highest >> 16))
			}
		}
		return p.protectRTP(dst, pkt, header)
	}
	if theirs != nil {
		return nil, ErrKeystream // the maker of the key has begun to use an SSRC that we had used
	}
	if r.own.rtp.begin(ssrc) == nil {
		return nil, ErrTooManySources
	}
	return p.protectRTP(dst, pkt, header)
}

func (r *relay) protectRTCP(p *protector, dst, pkt []byte) ([]byte, error) {
	ssrc := rtp.RTCP(pkt).SSRC()
	unchanged := r.rec.control && bytes.Equal(r.rec.plain, pkt)
	if unchanged && r.from.controlIndex(r.rec.cipher) >= ownControl {
		return nil, ErrKeystream
	}
	if unchanged && r.sameRTCP && !r.own.rtcp.has(ssrc) {
		return append(dst[:0], r.rec.cipher...), nil
	}
	if !r.own.rtcp.has(ssrc) {
		src := p.rtcp.begin(ssrc)
		if src == nil || r.own.rtcp.begin(ssrc) == nil {
			return nil, ErrTooManySources
		}
		src.highest = ownControl
	}
	return p.protectRTCP(dst, pkt)
}

// controlIndex is the index of an SRTCP packet that was authenticated under the key.
func (in *Inbound) controlIndex(pkt []byte) uint32 {
	at := in.ctx.wordAt(len(pkt), len(in.key.MKI))
	if at < 0 {
		return ownControl
	}
	return binary.BigEndian.Uint32(pkt[at:]) &^ encryptedFlag
}
