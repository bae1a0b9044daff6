package secure

import (
	"net/netip"
	"sync"
)

// changeCipherSpec is the content type of the record that begins the last flight of a handshake (RFC 6347 §4.1).
const changeCipherSpec = 20

// maxHeld bounds the datagrams of a last flight.
const maxHeld = 4

// hold keeps back the last flight of a server until the keys are in place: it tells the peer that it may send media, and that comes
// at once.
type hold struct {
	mu   sync.Mutex
	open bool
	held []heldPacket
}

type heldPacket struct {
	pkt []byte
	dst netip.AddrPort
}

// keeps reports whether it keeps a datagram back: the last flight, from its first record on.
func (h *hold) keeps(pkt []byte, dst netip.AddrPort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open || len(h.held) == 0 && (len(pkt) == 0 || pkt[0] != changeCipherSpec) {
		return false
	}
	if len(h.held) < maxHeld {
		h.held = append(h.held, heldPacket{append([]byte(nil), pkt...), dst})
	}
	return true
}

// release sends what was kept back, and keeps nothing any more.
func (h *hold) release(send func(pkt []byte, dst netip.AddrPort) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	for _, p := range h.held {
		_ = send(p.pkt, p.dst)
	}
	h.held = nil
}
