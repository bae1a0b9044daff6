package flow

import (
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// Handle decides what becomes of a datagram that arrived on the stream's port, and appends what is to be sent to the batch. It runs on
// the stream's worker only. The packet is changed in place; it and its capacity, which should have secure.Overhead bytes of room, must
// stay untouched until the batch is sent.
func (s *Stream) Handle(pkt []byte, src netip.AddrPort, now time.Time, out *Batch) {
	r := s.route.Load()
	if r.Opaque {
		s.relay(r, pkt, src, now, out)
		return
	}
	switch kind := rtp.Classify(pkt); kind {
	case rtp.STUN:
		switch {
		case r.ICE != nil:
			r.ICE.HandlePacket(pkt, src)
		case r.PassSTUN:
			s.passSTUN(r, pkt, now, out)
		default:
			s.counters.refuse(len(pkt))
		}
	case rtp.DTLS:
		switch {
		case r.DTLS != nil:
			if s.reachable(r, src) { // a peer that is ahead of ICE's checks repeats itself
				r.DTLS.HandlePacket(pkt, src)
			}
		case r.PassSTUN:
			s.passSTUN(r, pkt, now, out)
		default:
			s.counters.refuse(len(pkt))
		}
	case rtp.Media:
		if r.Control || !rtp.Packet(pkt).Valid() {
			s.counters.refuse(len(pkt))
			return
		}
		s.media(r, pkt, src, now, out)
	case rtp.Control:
		switch {
		case !rtp.RTCP(pkt).Valid():
			s.counters.refuse(len(pkt))
		case r.Control || r.Muxed:
			s.control(r, pkt, src, now, out)
		default: // not agreed, but some peers do it all the same
			s.beside(r, pkt, src, now, out)
		}
	case rtp.ZRTP:
		s.beside(r, pkt, src, now, out)
	default:
		s.counters.refuse(len(pkt))
	}
}

// maxPassed bounds the datagrams a second that passSTUN sends on from one port: strangers may send them, too, and each goes to all outputs.
// Checks of many candidates and the flights of a handshake are far fewer.
const maxPassed = 200

// passSTUN sends a connectivity check or a handshake between the parties on to where media goes.
func (s *Stream) passSTUN(r *Route, pkt []byte, now time.Time, out *Batch) {
	if second := now.Unix(); s.passed.second != second {
		s.passed.second, s.passed.count = second, 0
	}
	if s.passed.count++; s.passed.count > maxPassed {
		s.counters.refuse(len(pkt))
		return
	}
	for i := range r.Media {
		o := &r.Media[i]
		via := o.Stream.Outlet()
		if to := via.Destination(); to.IsValid() && to.Port() != 0 && !via.closed.Load() {
			out.add(via, pkt, to)
		}
	}
}

// reachable reports whether ICE, if in use, has checked a source.
func (s *Stream) reachable(r *Route, src netip.AddrPort) bool {
	return r.ICE == nil || s.Destination() == src || r.ICE.Allows(src)
}

// media takes an RTP packet through its route.
func (s *Stream) media(r *Route, pkt []byte, src netip.AddrPort, now time.Time, out *Batch) {
	if !s.admit(r, src, now) {
		s.counters.refuse(len(pkt))
		return
	}
	if r.Encrypted {
		if r.Inbound == nil {
			s.postpone(r, pkt, src)
			return
		}
		plain, err := r.Inbound.UnprotectRTP(pkt[:0], pkt)
		if err != nil {
			s.counters.refuse(len(pkt))
			return
		}
		pkt = plain
	}
	s.learn(r, src, now)
	if c := s.counters.carry.Load(); c != nil {
		c.Fold() // the packet may come after many that went past
	}
	s.counters.accept(len(pkt), now)
	from := s.counters.sources.count(rtp.Packet(pkt))
	if r.Payloads != nil {
		s.observe(r, pkt, from, src, now)
	}
	if s.counters.sources.turned {
		s.counters.sources.turned = false
		s.ripened()
	}
	if r.Report != nil {
		r.Report.send(now, out)
	}
	if r.Drop {
		return
	}
	outputs := r.Media
	for i := range outputs {
		if o := &outputs[i]; o.Report != nil {
			o.Report.send(now, out)
		}
		outputs[i].sendMedia(pkt, i == len(outputs)-1, out)
	}
}

// control takes an RTCP packet through its route.
func (s *Stream) control(r *Route, pkt []byte, src netip.AddrPort, now time.Time, out *Batch) {
	if !s.admit(r, src, now) {
		s.counters.refuse(len(pkt))
		return
	}
	if r.Encrypted {
		if r.Inbound == nil {
			s.postpone(r, pkt, src)
			return
		}
		plain, err := r.Inbound.UnprotectRTCP(pkt[:0], pkt)
		if err != nil {
			s.counters.refuse(len(pkt))
			return
		}
		pkt = plain
	}
	s.learn(r, src, now)
	s.counters.accept(len(pkt), now)
	s.counters.control(rtp.RTCP(pkt))
	if r.Quality != nil {
		r.Quality.Control(pkt, now)
	}
	if r.Observer != nil {
		r.Observer.Control(pkt, src, s.LocalAddr(), now)
	}
	if r.Report != nil {
		r.Report.heard(pkt, now)
		return
	}
	if r.Drop {
		return
	}
	outputs := r.ControlOut
	for i := range outputs {
		outputs[i].sendControl(pkt, i == len(outputs)-1, out)
	}
}

// beside passes what is neither RTP nor meant for us between parties whose media is plain, as it is: ZRTP, which they speak end to end,
// and RTCP on the RTP port. Nothing is learned from it.
func (s *Stream) beside(r *Route, pkt []byte, src netip.AddrPort, now time.Time, out *Batch) {
	if r.Control || r.Encrypted || r.ICE != nil || !s.admit(r, src, now) {
		s.counters.refuse(len(pkt))
		return
	}
	s.counters.accept(len(pkt), now)
	if r.Drop {
		return
	}
	for i := range r.Media {
		if o := &r.Media[i]; !o.Encrypted {
			o.sendOpaque(pkt, i == len(r.Media)-1, out)
		}
	}
}

// relay passes a datagram of a media that is not RTP.
func (s *Stream) relay(r *Route, pkt []byte, src netip.AddrPort, now time.Time, out *Batch) {
	if len(pkt) == 0 || !s.admit(r, src, now) {
		s.counters.refuse(len(pkt))
		return
	}
	s.learn(r, src, now)
	s.counters.accept(len(pkt), now)
	if r.Drop {
		return
	}
	outputs := r.Media
	for i := range outputs {
		outputs[i].sendOpaque(pkt, i == len(outputs)-1, out)
	}
}
