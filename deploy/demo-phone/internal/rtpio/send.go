package rtpio

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/g711"
)

const (
	eventFrames = 8  // 160 ms of a digit
	eventEnds   = 3  // the last packet goes out three times (RFC 4733 §2.5.1.4)
	eventPause  = 5  // frames of sound between two digits
	eventVolume = 10 // -10 dBm0
	// maxCatchUp bounds the frames sent at once after the process was not scheduled for a while.
	maxCatchUp = 10
)

// sender is what goes out: counters, and the digit that is being sent.
type sender struct {
	sequence  uint16
	timestamp uint32
	packets   uint64
	octets    uint64
	reports   uint64 // RTCP packets sent
	talking   bool   // the last frame was sent: no marker on the next one
	last      sent

	digit  byte   // being sent; 0 = none
	frames int    // of digit sent so far, negative = pause behind it
	start  uint32 // timestamp of the digit
}

// sent is the timestamp of the newest packet and when it left, for the sender report.
type sent struct {
	timestamp uint32
	at        time.Time
}

// sendFrames sends a packet every 20 ms against a fixed schedule, so that the pace does not drift.
func (s *Session) sendFrames() {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	next := time.Now()
	for {
		select {
		case <-s.stop:
			return
		case now := <-ticker.C:
			for n := 0; !next.After(now); n++ {
				if n < maxCatchUp {
					s.sendFrame()
				}
				next = next.Add(frameTime)
			}
		}
	}
}

func (s *Session) sendFrame() {
	s.mu.Lock()
	defer s.mu.Unlock()
	timestamp := s.out.timestamp
	s.out.timestamp += frameSamples
	if !s.maySend() {
		s.out.talking = false
		return
	}
	if s.sendDigit(timestamp) {
		s.out.talking = false
		return
	}
	if s.config.Echo && s.in.packets > 0 { // before the first packet it is silence, which opens a NAT for the peer's
		return
	}
	var pcm [frameSamples]int16
	s.config.Source.Fill(pcm[:])
	var payload [frameSamples]byte
	encode(payload[:], pcm[:], s.remote.Codec)
	s.write(s.remote.Audio, !s.out.talking, timestamp, payload[:])
	s.out.talking = true
}

func (s *Session) maySend() bool {
	return s.known && s.remote.Send && usable(s.remote.RTP)
}

func usable(to netip.AddrPort) bool {
	return to.IsValid() && !to.Addr().IsUnspecified() && to.Port() != 0
}

// sendDigit sends the next packets of a waiting digit and tells whether it took this frame's place.
func (s *Session) sendDigit(timestamp uint32) bool {
	o := &s.out
	if o.digit == 0 {
		if s.digits == "" {
			return false
		}
		o.digit, o.frames, o.start = s.digits[0], 0, timestamp
		s.digits = s.digits[1:]
	}
	if o.frames < 0 {
		if o.frames++; o.frames == 0 {
			o.digit = 0
		}
		return false
	}
	o.frames++
	code, _ := eventOf(o.digit)
	payload := [4]byte{code, eventVolume}
	binary.BigEndian.PutUint16(payload[2:], uint16(o.frames*frameSamples))
	copies := 1
	if o.frames == eventFrames {
		payload[1] |= 0x80
		copies = eventEnds
	}
	for range copies {
		s.write(s.remote.Event, o.frames == 1, o.start, payload[:])
	}
	if o.frames == eventFrames {
		o.frames = -eventPause
	}
	return true
}

// echo sends a received payload back under this side's own SSRC, sequence and time base.
func (s *Session) echo(p packet, name string) {
	if !s.maySend() {
		return
	}
	payloadType := s.remote.Audio
	if name == eventName {
		if !s.remote.HasEvent {
			return
		}
		payloadType = s.remote.Event
	} else if name != s.remote.Codec {
		return // the peer sends a codec that it did not ask for first; the echo keeps to its answer
	}
	s.write(payloadType, p.marker, p.timestamp, p.payload)
	if name != eventName { // own frames go on in the same time base
		s.out.timestamp = p.timestamp + uint32(len(p.payload))
	}
}

// write sends one RTP packet; the lock is held. Errors are left to the statistics: UDP may lose packets anyway.
func (s *Session) write(payloadType uint8, marker bool, timestamp uint32, payload []byte) {
	var buffer [maxDatagram]byte
	buffer[0], buffer[1] = 0x80, payloadType
	if marker {
		buffer[1] |= 0x80
	}
	binary.BigEndian.PutUint16(buffer[2:], s.out.sequence)
	binary.BigEndian.PutUint32(buffer[4:], timestamp)
	binary.BigEndian.PutUint32(buffer[8:], s.ssrc)
	n := 12 + copy(buffer[12:], payload)
	s.out.sequence++
	if _, err := s.rtp.WriteToUDPAddrPort(buffer[:n], s.remote.RTP); err != nil {
		return
	}
	s.out.packets++
	s.out.octets += uint64(n - 12)
	s.out.last = sent{timestamp, time.Now()}
}

func encode(payload []byte, pcm []int16, codec string) {
	law := g711.EncodeMu
	if codec == "PCMA" {
		law = g711.EncodeA
	}
	for i, sample := range pcm {
		payload[i] = law(sample)
	}
}

func decode(pcm []int16, payload []byte, codec string) {
	law := g711.DecodeMu
	if codec == "PCMA" {
		law = g711.DecodeA
	}
	for i, code := range payload {
		pcm[i] = law(code)
	}
}
