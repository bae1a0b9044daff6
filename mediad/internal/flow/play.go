package flow

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/tandem-sbc/tandem/pkg/rtp"
)

// Digit is a telephone event to be played (ng: play DTMF).
type Digit struct {
	Code     uint8 // RFC 4733 §3.2
	Volume   uint8 // −dBm0, 0–63
	Duration time.Duration
	Pause    time.Duration // behind it, in which sound passes
}

const (
	// endPackets are sent of each event, against loss (RFC 4733 §2.5.1.4).
	endPackets = 3
	// maxDigits bounds those that wait.
	maxDigits = 64
	// maxEventDuration is what the duration of one event can count to (RFC 4733 §2.3.5).
	maxEventDuration = 0xffff
)

// Player plays telephone events into a media on its way to one receiver. While an event lasts, the packets of sound that come
// go on as packets of the event, with their own sequence numbers and the timestamp of its beginning: so nothing has to be made,
// and what follows needs no other numbers. Where no packets come, nothing is played.
type Player struct {
	payloadType  uint8  // of telephone events at the receiver
	clock, sound uint32 // of them, and of the sound, in Hz
	events       [payloadTypes]bool

	mu      sync.Mutex // held for each packet while there are digits
	digits  []Digit
	playing bool
	start   uint32 // timestamp of the event
	ends    int    // end packets sent
	paused  bool
	until   uint32 // end of the pause
}

// NewPlayer makes the player of a receiver whose telephone events have this payload type and clock. The media have theirs from p; sound is
// the clock of what is sent.
func NewPlayer(payloadType uint8, clock, sound uint32, p *Payloads) *Player {
	y := &Player{payloadType: payloadType & (payloadTypes - 1), clock: clock, sound: sound}
	if p != nil {
		y.events = p.Events
	}
	return y
}

// Play appends a digit; false if too many wait.
func (y *Player) Play(d Digit) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(y.digits) >= maxDigits {
		return false
	}
	y.digits = append(y.digits, d)
	return true
}

// Stuck reports that no packet has come to begin a digit with.
func (y *Player) Stuck() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return !y.playing && !y.paused
}

// Idle reports that nothing is left to play.
func (y *Player) Idle() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.digits) == 0
}

// play returns the packet that goes on in place of one of sound; played is false if that is the packet itself. It runs on the worker
// and writes into the packet.
func (y *Player) play(p rtp.Packet) (out []byte, played bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(y.digits) == 0 || y.events[p.PayloadType()] {
		return p, false
	}
	header, ok := p.HeaderLen()
	if !ok || header+eventSize > cap(p) {
		return p, false
	}
	now := p.Timestamp()
	if y.paused {
		if int32(now-y.until) < 0 {
			return p, false
		}
		y.paused = false
	}
	first := !y.playing
	if first {
		y.playing, y.start, y.ends = true, now, 0
	}
	d := y.digits[0]
	total := min(y.units(d.Duration, y.clock), maxEventDuration)
	passed := uint32(uint64(now-y.start) * uint64(y.clock) / uint64(y.sound))
	if first {
		passed = y.clock / 50 // what the packet stands for, mostly 20 ms
	}
	end := passed >= total
	out = p[:header+eventSize]
	out[0] &^= 0x20 // no padding any more
	out[1] = y.payloadType
	if first {
		out[1] |= 0x80
	}
	binary.BigEndian.PutUint32(out[4:], y.start)
	out[header], out[header+1] = d.Code, d.Volume&0x3f
	if end {
		passed = total
		out[header+1] |= 0x80
		if y.ends++; y.ends == endPackets {
			y.digits = y.digits[1:]
			y.playing, y.paused = false, true
			y.until = now + y.units(d.Pause, y.sound)
		}
	}
	binary.BigEndian.PutUint16(out[header+2:], uint16(passed))
	return out, true
}

func (y *Player) units(d time.Duration, clock uint32) uint32 {
	return uint32(uint64(d.Milliseconds()) * uint64(clock) / 1000)
}
