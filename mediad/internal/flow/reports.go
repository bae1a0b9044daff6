package flow

import (
	"encoding/binary"
	"time"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// RTCP packet types and items (RFC 3550 §12).
const (
	typeSR    = 200
	typeRR    = 201
	typeSDES  = 202
	itemCNAME = 1
)

// Sizes in bytes (RFC 3550 §6.4).
const (
	senderInfoSize  = 20
	reportBlockSize = 24
)

// ntpEpoch is the time of the Unix epoch in seconds since 1900 (RFC 5905 §6).
const ntpEpoch = 2208988800

// Report says how RTCP is made for a peer: what we send it, as the sender that it hears, and what we have received from it.
type Report struct {
	// Of is the stream that the peer's RTP comes in by, and To the way to the peer for RTCP.
	Of *Stream
	To Output
	// Hears is the stream whose RTP the peer gets, nil if it gets none.
	Hears *Stream
	// Interval between reports; it is varied by a tenth so that calls do not report in step.
	Interval time.Duration
	// Name is our CNAME in the session (RFC 3550 §6.5.1), at most 255 bytes.
	Name string
}

// reporter is the state of the reports that go to the peer of a stream.
type reporter struct {
	next time.Time
	turn uint8
}

// due reports whether it is time for a report, and sets the time of the next one. The first packet only starts the clock.
func (r *reporter) due(interval time.Duration, now time.Time) bool {
	if now.Before(r.next) {
		return false
	}
	first := r.next.IsZero()
	r.turn++
	vary := time.Duration(r.turn*97%21) - 10 // −10…10 hundredths
	r.next = now.Add(interval + interval/100*vary)
	return !first
}

// Report appends the report that the peer is due, if any. Packets that come do so, too; the engine calls it, on the stream's worker and
// with an empty batch, for peers that hear nothing at the moment.
func (s *Stream) Report(now time.Time, out *Batch) {
	if r := s.Route().Report; r != nil {
		r.send(now, out)
	}
}

// send appends a report if it is time for one.
func (r *Report) send(now time.Time, out *Batch) {
	if !r.Of.counters.reporter.due(r.Interval, now) {
		return
	}
	via, to, ok := r.To.ready()
	if !ok {
		return
	}
	pkt := out.blank()
	if pkt == nil {
		return
	}
	pkt = r.compose(pkt, now)
	if len(pkt) == 0 {
		return
	}
	if q := r.Of.Route().Quality; q != nil {
		q.Control(pkt, now) // the peer's reports will refer to it
	}
	if r.To.Encrypted {
		var err error
		if pkt, err = r.To.Outbound.ProtectRTCP(pkt[:0], pkt); err != nil {
			r.To.Stream.counters.errorsOut.Add(1)
			return
		}
	}
	out.add(via, pkt, to)
}

// compose writes a sender report, or a receiver report if the peer hears nothing, and our CNAME. It is empty if there is nothing to
// report.
func (r *Report) compose(b []byte, now time.Time) []byte {
	about := r.Of.counters.sources.talking()
	var sending *source
	if r.Hears != nil {
		sending = r.Hears.counters.sources.talking()
	}
	var ssrc uint32
	switch {
	case sending != nil:
		ssrc = sending.ssrc.Load()
	case about != nil:
		ssrc = ^about.ssrc.Load() // a number of our own, for nobody sends here
	default:
		return nil
	}
	b = append(b, 0x80, typeRR, 0, 0)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	if sending != nil && !sending.timing.arrival.IsZero() {
		b[1] = typeSR
		b = sending.appendInfo(b, now)
	}
	if about != nil {
		b[0]++
		b = about.appendBlock(b, now)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	return appendName(b, ssrc, r.Name)
}

// appendInfo writes the sender info of a sender report (RFC 3550 §6.4.1) about packets that are passed on as they come.
func (s *source) appendInfo(b []byte, now time.Time) []byte {
	t := &s.timing
	timestamp := uint32(s.position.Load()) + uint32(now.Sub(t.arrival)*time.Duration(t.clock)/time.Second)
	packets := s.packets.Load()
	b = binary.BigEndian.AppendUint64(b, ntpTime(now))
	b = binary.BigEndian.AppendUint32(b, timestamp)
	b = binary.BigEndian.AppendUint32(b, uint32(packets))
	return binary.BigEndian.AppendUint32(b, uint32(s.bytes.Load()-packets*rtp.HeaderSize))
}

// appendBlock writes a report block about the source (RFC 3550 §6.4.1, §A.3).
func (s *source) appendBlock(b []byte, now time.Time) []byte {
	t := &s.timing
	highest, received := s.highest(), s.packets.Load()
	expected, got := int64(highest-t.reported), int64(received-t.reportedReceived)
	var fraction uint32
	if missing := expected - got; t.reportedReceived > 0 && expected > 0 && missing > 0 {
		fraction = uint32(missing * 256 / expected)
	}
	t.reported, t.reportedReceived = highest, received
	lost := max(min(s.lost(), 0x7fffff), -0x800000)
	b = binary.BigEndian.AppendUint32(b, s.ssrc.Load())
	b = binary.BigEndian.AppendUint32(b, min(fraction, 255)<<24|uint32(lost)&0xffffff)
	b = binary.BigEndian.AppendUint32(b, highest)
	b = binary.BigEndian.AppendUint32(b, t.jitter>>4)
	var delay uint32
	if t.sr != 0 {
		delay = uint32(now.Sub(t.srAt) * 65536 / time.Second)
	}
	b = binary.BigEndian.AppendUint32(b, t.sr)
	return binary.BigEndian.AppendUint32(b, delay)
}

// appendName writes the SDES packet that every compound has to have (RFC 3550 §6.1).
func appendName(b []byte, ssrc uint32, name string) []byte {
	start := len(b)
	b = append(b, 0x81, typeSDES, 0, 0)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = append(b, itemCNAME, byte(len(name)))
	b = append(b, name...)
	for end := len(b) + 1; len(b) < (end+3)&^3; { // a zero ends the items, more of them fill the word
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16((len(b)-start)/4-1))
	return b
}

// ntpTime is the time in the format of NTP (RFC 3550 §4).
func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// time takes the arrival of a packet into account: for the jitter (RFC 3550 §A.8), and to tell later what the timestamp would be.
func (s *source) time(p rtp.Packet, clock uint32, now time.Time) {
	t := &s.timing
	arrival := uint32(now.Unix())*clock + uint32(uint64(now.Nanosecond())*uint64(clock)/uint64(time.Second))
	transit := arrival - p.Timestamp()
	if t.clock == clock {
		d := int32(transit - t.transit)
		d = max(d, -d)
		if uint32(d) < clock { // a jump of more than a second is another stream of timestamps, not jitter
			t.jitter += uint32(d) - (t.jitter+8)>>4
		}
	}
	t.transit, t.clock = transit, clock
	if uint32(s.position.Load()) == p.Timestamp() {
		t.arrival = now
	}
}

// heard takes note of a sender report of the peer, which our own reports refer to.
func (r *Report) heard(pkt rtp.RTCP, now time.Time) {
	if pkt.Type() != typeSR || len(pkt) < rtp.RTCPHeaderSize+senderInfoSize {
		return
	}
	if from := r.Of.counters.sources.lookup(pkt.SSRC()); from != nil {
		from.timing.sr, from.timing.srAt = binary.BigEndian.Uint32(pkt[10:]), now
	}
}
