package tone

import (
	"math"
	"testing"
	"time"
)

func TestDominantFindsPureTones(t *testing.T) {
	for _, want := range []float64{60, 440, 1000, 1003.7, 2500, 3400} {
		pcm := make([]int16, Rate)
		NewPlayer(want).Fill(pcm)
		hz, dbfs := Dominant(pcm)
		if math.Abs(hz-want) > 1 {
			t.Errorf("%.1f Hz was heard as %.2f Hz", want, hz)
		}
		if math.Abs(dbfs+15.3) > 0.3 { // 8000 of 32768, as RMS
			t.Errorf("%.1f Hz has %.1f dBFS", want, dbfs)
		}
	}
}

func TestDominantIgnoresSilence(t *testing.T) {
	if hz, dbfs := Dominant(make([]int16, Rate)); hz != 0 || dbfs != -100 {
		t.Fatalf("silence was heard as %.1f Hz at %.1f dBFS", hz, dbfs)
	}
	if hz, _ := Dominant([]int16{9000, -9000}); hz != 0 {
		t.Fatalf("two samples were heard as %.1f Hz", hz)
	}
}

func TestPlayerReturnsToItsBase(t *testing.T) {
	p := NewPlayer(440)
	p.PlayDigit('5')
	pcm := make([]int16, samples(2*digitPause+digitLength))
	p.Fill(pcm)
	pause := samples(digitPause)
	if level := Level(pcm[:pause]); level != -100 {
		t.Errorf("the pause has %.1f dBFS", level)
	}
	digit := pcm[pause : pause+samples(digitLength)]
	if hz, _ := Dominant(digit); math.Abs(hz-770) > 5 && math.Abs(hz-1336) > 5 {
		t.Errorf("digit 5 was heard as %.1f Hz", hz)
	}
	after := make([]int16, Rate)
	p.Fill(after)
	if hz, _ := Dominant(after); math.Abs(hz-440) > 1 {
		t.Errorf("after the digit %.1f Hz, want 440", hz)
	}
}

func TestPlayerQueueIsBounded(t *testing.T) {
	p := NewPlayer(0)
	for range 10 * maxQueued {
		p.Play(Segment{Length: time.Hour})
	}
	if len(p.queue) != maxQueued {
		t.Fatalf("%d segments queued, want %d", len(p.queue), maxQueued)
	}
}

func TestDigitTable(t *testing.T) {
	for digit, want := range map[byte][2]float64{'1': {697, 1209}, '0': {941, 1336}, '#': {941, 1477}, 'D': {941, 1633}} {
		if low, high, ok := Digit(digit); !ok || low != want[0] || high != want[1] {
			t.Errorf("digit %c has %v and %v Hz", digit, low, high)
		}
	}
	if _, _, ok := Digit('x'); ok {
		t.Error("x is taken for a digit")
	}
}
