// Package tone makes and recognises tones in 8 kHz 16-bit PCM: what the demo phone says and how it tells what it hears.
package tone

import (
	"math"
	"sync"
	"time"
)

const (
	// Rate is the sampling rate of everything in this package, in Hz.
	Rate = 8000
	// maxQueued bounds the segments that wait in a Player; later ones are dropped.
	maxQueued   = 64
	amplitude   = 8000 // about -12 dBFS for one tone
	digitLength = 240 * time.Millisecond
	digitPause  = 80 * time.Millisecond
)

// Segment is a stretch of sound: the sum of its tones (none = silence) for a length of time.
type Segment struct {
	Hz     []float64
	Length time.Duration
}

// Player yields an endless base tone (0 Hz = silence) which queued segments interrupt. It is safe for concurrent use.
type Player struct {
	mu      sync.Mutex
	base    []float64
	queue   []Segment
	left    int // samples left of queue[0]
	elapsed int // samples made, the phase of every tone
}

// NewPlayer makes a Player with the given base tone in Hz; 0 is silence.
func NewPlayer(baseHz float64) *Player {
	p := &Player{}
	if baseHz > 0 {
		p.base = []float64{baseHz}
	}
	return p
}

// Play queues segments behind those that still wait.
func (p *Player) Play(segments ...Segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range segments {
		if len(p.queue) >= maxQueued {
			return
		}
		if len(p.queue) == 0 {
			p.left = samples(s.Length)
		}
		p.queue = append(p.queue, s)
	}
}

// PlayDigit queues the two tones of a DTMF digit between two pauses; unknown digits are ignored.
func (p *Player) PlayDigit(digit byte) {
	low, high, ok := Digit(digit)
	if !ok {
		return
	}
	pause := Segment{Length: digitPause}
	p.Play(pause, Segment{Hz: []float64{low, high}, Length: digitLength}, pause)
}

// Fill writes the next samples into frame; it always fills all of it.
func (p *Player) Fill(frame []int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range frame {
		frame[i] = mix(p.current(), p.elapsed)
		p.elapsed++
	}
}

// current names the tones of the next sample and takes one sample off the running segment.
func (p *Player) current() []float64 {
	for len(p.queue) > 0 {
		if p.left > 0 {
			p.left--
			return p.queue[0].Hz
		}
		p.queue = p.queue[1:]
		if len(p.queue) > 0 {
			p.left = samples(p.queue[0].Length)
		}
	}
	return p.base
}

func mix(tones []float64, at int) int16 {
	var sum float64
	for _, hz := range tones {
		sum += amplitude * math.Sin(2*math.Pi*hz*float64(at)/Rate)
	}
	return int16(sum)
}

func samples(length time.Duration) int { return int(length * Rate / time.Second) }

// Goodbye is a falling three-tone phrase of two seconds.
func Goodbye() []Segment {
	return []Segment{
		{Hz: []float64{660}, Length: 500 * time.Millisecond},
		{Hz: []float64{550}, Length: 500 * time.Millisecond},
		{Hz: []float64{330}, Length: time.Second},
	}
}

// Digit gives the two frequencies of a DTMF digit in Hz (ITU-T Q.23): 0-9, *, #, A-D.
func Digit(digit byte) (low, high float64, ok bool) {
	lows := [4]float64{697, 770, 852, 941}
	highs := [4]float64{1209, 1336, 1477, 1633}
	for row, keys := range [4]string{"123A", "456B", "789C", "*0#D"} {
		for column := range keys {
			if keys[column] == digit {
				return lows[row], highs[column], true
			}
		}
	}
	return 0, 0, false
}
