package rtpio

import (
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

const (
	firstReport    = time.Second
	reportInterval = 5 * time.Second // RFC 3550 §6.2
	senderReport   = 200
	receiverReport = 201
	description    = 202
	goodbye        = 203
	ntpEpoch       = 2208988800 // seconds from 1900 to 1970
)

// reportsIn is what the peer's RTCP said.
type reportsIn struct {
	received     uint64
	middle       uint32 // middle 32 bits of the newest sender report's NTP time
	at           time.Time
	fractionLost uint8
	lost         uint32
	roundTrip    time.Duration
	lastExpected uint32
	lastUnique   uint64
}

func (s *Session) sendReports() {
	timer := time.NewTimer(firstReport)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
			s.report(false)
			timer.Reset(reportInterval)
		}
	}
}

// report sends SR or RR with SDES, and BYE behind them at the end.
func (s *Session) report(last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known || !usable(s.remote.RTCP) {
		return
	}
	now := time.Now()
	out := s.head(now)
	out = binary.BigEndian.AppendUint32(append(out, 0x81, description, 0, 5), s.ssrc)
	out = append(out, "\x01\x0aphone@demo\x00\x00\x00\x00"...) // CNAME, end of items, padding to 32 bits
	if last {
		out = binary.BigEndian.AppendUint32(append(out, 0x81, goodbye, 0, 1), s.ssrc)
	}
	if _, err := s.rtcp.WriteToUDPAddrPort(out, s.remote.RTCP); err == nil {
		s.out.reports++
	}
}

// head is the SR (when something was sent) or RR with at most one report block.
func (s *Session) head(now time.Time) []byte {
	kind, count := byte(receiverReport), byte(0)
	var body []byte
	body = binary.BigEndian.AppendUint32(body, s.ssrc)
	if s.out.packets > 0 {
		kind = senderReport
		sinceLast := now.Sub(s.out.last.at).Microseconds() * tone.Rate / 1_000_000
		body = binary.BigEndian.AppendUint64(body, ntp(now))
		body = binary.BigEndian.AppendUint32(body, s.out.last.timestamp+uint32(sinceLast))
		body = binary.BigEndian.AppendUint32(body, uint32(s.out.packets))
		body = binary.BigEndian.AppendUint32(body, uint32(s.out.octets))
	}
	if s.in.active {
		count = 1
		body = s.in.block(body, now)
	}
	head := []byte{0x80 | count, kind, 0, byte(len(body) / 4)}
	return append(head, body...)
}

// block appends the report block on the current SSRC (RFC 3550 §6.4.1).
func (r *receiver) block(out []byte, now time.Time) []byte {
	expected := r.newest - r.first + 1
	expectedNow, uniqueNow := expected-r.reports.lastExpected, r.unique-r.reports.lastUnique
	if expected < r.reports.lastExpected || r.unique < r.reports.lastUnique { // the SSRC changed
		expectedNow, uniqueNow = expected, r.unique
	}
	r.reports.lastExpected, r.reports.lastUnique = expected, r.unique
	fraction := uint32(0)
	if uint64(expectedNow) > uniqueNow {
		fraction = (expectedNow - uint32(uniqueNow)) * 256 / expectedNow
	}
	lost := min(uint32(r.lost()), 0x7fffff)
	out = binary.BigEndian.AppendUint32(out, r.ssrc)
	out = binary.BigEndian.AppendUint32(out, min(fraction, 255)<<24|lost)
	out = binary.BigEndian.AppendUint32(out, r.newest-1<<16)
	out = binary.BigEndian.AppendUint32(out, uint32(r.jitter))
	out = binary.BigEndian.AppendUint32(out, r.reports.middle)
	delay := uint32(0)
	if r.reports.middle != 0 {
		delay = uint32(now.Sub(r.reports.at) * 65536 / time.Second)
	}
	return binary.BigEndian.AppendUint32(out, delay)
}

func (s *Session) receiveRTCP() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := s.rtcp.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.mu.Lock()
		if !s.known || !usable(s.remote.RTCP) || unmap(from) == s.remote.RTCP {
			s.in.takeReports(buffer[:n], s.ssrc, time.Now())
		} else {
			s.in.stray++
		}
		s.mu.Unlock()
	}
}

// takeReports walks a compound packet and keeps the sender's time and what it says about own.
func (r *receiver) takeReports(data []byte, own uint32, now time.Time) {
	if len(data) < 8 || data[0]>>6 != 2 || data[1] < senderReport || data[1] > receiverReport {
		r.broken++
		return
	}
	r.reports.received++
	for len(data) >= 4 {
		length := 4 + 4*int(binary.BigEndian.Uint16(data[2:]))
		if length > len(data) {
			return
		}
		r.takeReport(data[:length], own, now)
		data = data[length:]
	}
}

func (r *receiver) takeReport(data []byte, own uint32, now time.Time) {
	blocks := 8
	switch {
	case data[1] == senderReport && len(data) >= 28:
		r.reports.middle, r.reports.at = binary.BigEndian.Uint32(data[10:]), now
		blocks = 28
	case data[1] == receiverReport && len(data) >= 8:
	default:
		return
	}
	for b := data[blocks:]; len(b) >= 24; b = b[24:] {
		if binary.BigEndian.Uint32(b) != own {
			continue
		}
		r.reports.fractionLost = b[4]
		r.reports.lost = binary.BigEndian.Uint32(b[4:]) & 0xffffff
		if last := binary.BigEndian.Uint32(b[16:]); last != 0 {
			trip := uint32(ntp(now)>>16) - last - binary.BigEndian.Uint32(b[20:])
			r.reports.roundTrip = time.Duration(trip) * time.Second / 65536
		}
	}
}

// ntp is now as a 64-bit NTP timestamp.
func ntp(now time.Time) uint64 {
	return uint64(now.Unix()+ntpEpoch)<<32 | uint64(now.Nanosecond())<<32/1_000_000_000
}
