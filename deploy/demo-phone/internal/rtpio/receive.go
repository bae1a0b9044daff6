package rtpio

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

const (
	eventName = "TELEPHONE-EVENT"
	eventKeys = "0123456789*#ABCD" // event codes 0-15 of RFC 4733 §3.2
	window    = 1024               // packets of memory for duplicates
	maxGap    = 2 * tone.Rate      // longest gap in samples that is handed to the sink
	heard     = tone.Rate          // samples kept for Stats' frequency: one second
)

func eventOf(digit byte) (code uint8, ok bool) {
	at := strings.IndexByte(eventKeys, digit)
	return uint8(max(at, 0)), at >= 0
}

// packet is a parsed RTP packet; payload points into the datagram.
type packet struct {
	payloadType uint8
	marker      bool
	sequence    uint16
	timestamp   uint32
	ssrc        uint32
	payload     []byte
}

// parse reads an RTP packet (RFC 3550 §5.1), skipping CSRCs, header extension and padding.
func parse(datagram []byte) (packet, bool) {
	if len(datagram) < 12 || datagram[0]>>6 != 2 {
		return packet{}, false
	}
	p := packet{
		payloadType: datagram[1] & 0x7f,
		marker:      datagram[1]&0x80 != 0,
		sequence:    binary.BigEndian.Uint16(datagram[2:]),
		timestamp:   binary.BigEndian.Uint32(datagram[4:]),
		ssrc:        binary.BigEndian.Uint32(datagram[8:]),
	}
	body := datagram[12:]
	csrcs := 4 * int(datagram[0]&0x0f)
	if len(body) < csrcs {
		return packet{}, false
	}
	body = body[csrcs:]
	if datagram[0]&0x10 != 0 {
		if len(body) < 4 {
			return packet{}, false
		}
		length := 4 + 4*int(binary.BigEndian.Uint16(body[2:]))
		if len(body) < length {
			return packet{}, false
		}
		body = body[length:]
	}
	if datagram[0]&0x20 != 0 {
		if len(body) == 0 || int(body[len(body)-1]) > len(body) || body[len(body)-1] == 0 {
			return packet{}, false
		}
		body = body[:len(body)-int(body[len(body)-1])]
	}
	p.payload = body
	return p, true
}

// receiver is what came in. Loss is counted per SSRC by extended sequence number (RFC 3550 appendix A.3).
type receiver struct {
	packets, duplicates uint64
	stray               uint64 // from another address than the peer's
	broken              uint64 // no RTP
	unknown             uint64 // payload type not agreed
	lostBefore          uint64 // by earlier SSRCs

	ssrc          uint32
	active        bool
	first, newest uint32 // extended sequence numbers
	unique        uint64
	seen          [window]uint32 // extended sequence number + 1
	jitter        float64        // in timestamp units
	transit       uint32
	timestamp     uint32 // of the newest audio packet
	hasAudio      bool

	ring   [heard]int16
	filled int
	at     int
	last   time.Time // newest audio packet

	digits   []byte
	event    uint32 // timestamp of the newest event
	hasEvent bool
	reports  reportsIn
}

func (r *receiver) lost() uint64 {
	if !r.active {
		return r.lostBefore
	}
	return r.lostBefore + uint64(r.newest-r.first) + 1 - r.unique
}

// count books a packet and tells whether it is new.
func (r *receiver) count(p packet, now time.Time) bool {
	if !r.active || r.ssrc != p.ssrc {
		if r.active {
			r.lostBefore = r.lost()
		}
		start := 1<<16 | uint32(p.sequence) // one cycle up, so that a late packet stays above zero
		r.ssrc, r.active, r.first, r.newest, r.unique = p.ssrc, true, start, start, 0
		r.jitter, r.hasAudio, r.hasEvent = 0, false, false
		r.seen = [window]uint32{}
		r.transit = arrival(now) - p.timestamp
	}
	extended := r.newest + uint32(int32(int16(p.sequence-uint16(r.newest))))
	if r.seen[extended%window] == extended+1 {
		r.duplicates++
		return false
	}
	r.seen[extended%window] = extended + 1
	r.packets++
	r.unique++
	r.newest = max(r.newest, extended)
	r.first = min(r.first, extended)
	transit := arrival(now) - p.timestamp
	difference := float64(int32(transit - r.transit))
	r.transit = transit
	r.jitter += (max(difference, -difference) - r.jitter) / 16
	return true
}

// arrival is now in timestamp units of 1/8000 s.
func arrival(now time.Time) uint32 { return uint32(now.UnixMicro() * tone.Rate / 1_000_000) }

func (s *Session) receiveRTP() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := s.rtp.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // ICMP errors of packets sent come back here
		}
		if digit := s.take(buffer[:n], unmap(from)); digit != 0 && s.config.OnDigit != nil {
			s.config.OnDigit(digit)
		}
	}
}

// take handles one datagram and returns the digit that it starts, if any.
func (s *Session) take(datagram []byte, from netip.AddrPort) byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && usable(s.remote.RTP) && from != s.remote.RTP {
		s.in.stray++
		return 0
	}
	p, ok := parse(datagram)
	if !ok {
		s.in.broken++
		return 0
	}
	name, ok := s.remote.Receive[p.payloadType]
	if !ok {
		s.in.unknown++
		return 0
	}
	now := time.Now()
	if !s.in.count(p, now) {
		return 0
	}
	if s.config.Echo {
		s.echo(p, name)
	}
	if name == eventName {
		return s.in.takeEvent(p)
	}
	s.takeAudio(p, name, now)
	return 0
}

func (s *Session) takeAudio(p packet, codec string, now time.Time) {
	r := &s.in
	pcm := make([]int16, len(p.payload))
	decode(pcm, p.payload, codec)
	for _, sample := range pcm {
		r.ring[r.at] = sample
		r.at = (r.at + 1) % heard
	}
	r.filled = min(r.filled+len(pcm), heard)
	r.last = now
	if s.config.Sink != nil {
		gap := 0
		if ahead := int32(p.timestamp - r.timestamp); r.hasAudio && ahead > 0 && ahead <= maxGap {
			gap = int(ahead)
		}
		s.config.Sink.Write(pcm, gap)
	}
	r.timestamp, r.hasAudio = p.timestamp+uint32(len(pcm)), true
}

// takeEvent gives the digit of an event's first packet, whichever of its packets arrives first.
func (r *receiver) takeEvent(p packet) byte {
	if len(p.payload) < 4 || int(p.payload[0]) >= len(eventKeys) || r.hasEvent && r.event == p.timestamp {
		return 0
	}
	r.event, r.hasEvent = p.timestamp, true
	digit := eventKeys[p.payload[0]]
	if len(r.digits) < maxDigits {
		r.digits = append(r.digits, digit)
	}
	return digit
}

// pcm is the last second of received audio, oldest sample first; nothing when the peer has been quiet for a second.
func (r *receiver) pcm(now time.Time) []int16 {
	if now.Sub(r.last) > time.Second {
		return nil
	}
	out := make([]int16, 0, r.filled)
	for i := heard - r.filled; i < heard; i++ {
		out = append(out, r.ring[(r.at+i)%heard])
	}
	return out
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
