package report

import (
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// Homer says where captures go.
type Homer struct {
	Address   netip.AddrPort // homer; unset = nowhere
	TCP       bool           // homer-protocol
	CaptureID uint32         // homer-id
	NoRTCP    bool           // homer-disable-rtcp-stats
	NG        bool           // homer-enable-ng
	// NGProtocol is the HEP protocol number of ng messages (homer-ng-capture-proto).
	NGProtocol uint8
}

const (
	// homerTimeout bounds connecting and each write.
	homerTimeout = 2 * time.Second
	// homerPause is how long nothing is tried after a failure.
	homerPause = 10 * time.Second
)

// homer is the connection to a capture server. The goroutine of the reporter owns it.
type homer struct {
	Homer
	log   *zap.Logger
	conn  net.Conn
	retry time.Time
	buf   []byte
}

// send captures a packet. It is lost if the server cannot be reached.
func (h *homer) send(p packet, protocol uint8, payload []byte) {
	if h.conn == nil && !h.connect() {
		return
	}
	h.buf = p.hep(h.buf[:0], protocol, h.CaptureID, payload)
	if len(h.buf) == 0 {
		return
	}
	_ = h.conn.SetWriteDeadline(time.Now().Add(homerTimeout))
	if _, err := h.conn.Write(h.buf); err != nil && h.TCP {
		h.log.Warn("connection to Homer lost", zap.Stringer("address", h.Address), zap.Error(err))
		_ = h.conn.Close()
		h.conn, h.retry = nil, time.Now().Add(homerPause)
	}
}

func (h *homer) connect() bool {
	if time.Now().Before(h.retry) {
		return false
	}
	network := "udp"
	if h.TCP {
		network = "tcp"
	}
	c, err := net.DialTimeout(network, h.Address.String(), homerTimeout)
	if err != nil {
		h.log.Warn("Homer cannot be reached", zap.Stringer("address", h.Address), zap.Error(err))
		h.retry = time.Now().Add(homerPause)
		return false
	}
	h.conn = c
	return true
}

func (h *homer) close() error {
	if h.conn == nil {
		return nil
	}
	return h.conn.Close()
}

// Control reports an RTCP packet that has come in for a call. The packet is copied.
func (r *Reporter) Control(callID string, pkt []byte, src, dst netip.AddrPort, at time.Time) {
	if r == nil || (r.cfg.RTCP == nil && (r.homer == nil || r.cfg.Homer.NoRTCP)) {
		return
	}
	r.copy(pkt, packet{kindRTCP, callID, src, dst, at})
}

// Message reports an ng message, as it is on the wire. It is copied.
func (r *Reporter) Message(callID string, msg []byte, src, dst netip.AddrPort, at time.Time) {
	if r == nil || r.homer == nil || !r.cfg.Homer.NG {
		return
	}
	r.copy(msg, packet{kindNG, callID, src, dst, at})
}

func (r *Reporter) copy(pkt []byte, about packet) {
	if len(pkt) > maxPacket {
		r.lost.Add(1)
		return
	}
	buf := r.buffers.Get().(*[maxPacket]byte)
	r.enqueue(item{packet: buf, length: copy(buf[:], pkt), about: about})
}
