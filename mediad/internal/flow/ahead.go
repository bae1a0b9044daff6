package flow

import (
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/secure"
)

// maxAhead bounds the packets that wait for the keys of a handshake under way. The peer may have them first.
const maxAhead = 8

// ahead is a packet that has come before the keys it is protected with.
type ahead struct {
	pkt []byte
	src netip.AddrPort
}

// postpone keeps a packet for which there are no keys yet, if a handshake is to bring them.
func (s *Stream) postpone(r *Route, pkt []byte, src netip.AddrPort) {
	if r.DTLS == nil || len(s.waiting) >= maxAhead {
		s.counters.refuse(len(pkt))
		return
	}
	s.waiting = append(s.waiting, ahead{append(make([]byte, 0, len(pkt)+secure.Overhead), pkt...), src})
}

// CatchUp handles the packets that have come before the keys of a handshake. The engine calls it, on the stream's worker, with an empty
// batch.
func (s *Stream) CatchUp(now time.Time, out *Batch) {
	list := s.waiting
	s.waiting = nil
	for _, p := range list {
		if out.Room() {
			s.Handle(p.pkt, p.src, now, out)
		}
	}
}
