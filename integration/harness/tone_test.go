package harness

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func sine(rate int, hz, amplitude, seconds float64) Sound {
	s := Sound{Rate: rate, Samples: make([]int16, int(seconds*float64(rate)))}
	for i := range s.Samples {
		s.Samples[i] = int16(amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	return s
}

func TestDominantFrequency(t *testing.T) {
	for _, hz := range []float64{440, 1000, 3000} {
		s := sine(8000, hz, 8000, 1)
		weak := sine(8000, 700, 2000, 1)
		for i := range s.Samples {
			s.Samples[i] += weak.Samples[i]
		}
		if got := s.Dominant(); math.Abs(got-hz) > 5 {
			t.Errorf("dominant of %v Hz with weaker 700 Hz = %v", hz, got)
		}
	}
	if got := sine(8000, 1000, 50, 1).Dominant(); got != 0 {
		t.Errorf("a whisper counts as %v Hz, want silence", got)
	}
	if got := sine(8000, 1000, 8000, 0.05).Dominant(); got != 0 {
		t.Errorf("50 ms count as %v Hz, want too short", got)
	}
}

func TestReadWAVOfOpenFile(t *testing.T) {
	sound := sine(8000, 1000, 8000, 1)
	file := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	file = binary.LittleEndian.AppendUint32(file, 8000)
	file = binary.LittleEndian.AppendUint32(file, 16000)
	file = append(file, "\x02\x00\x10\x00data\x00\x00\x00\x00"...)
	for _, sample := range sound.Samples {
		file = binary.LittleEndian.AppendUint16(file, uint16(sample))
	}
	path := filepath.Join(t.TempDir(), "open.wav")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	if read.Rate != 8000 || len(read.Samples) != 8000 {
		t.Fatalf("read %d samples at %d/s", len(read.Samples), read.Rate)
	}
	if got := read.Last(0.5); len(got.Samples) != 4000 || math.Abs(got.Dominant()-1000) > 5 {
		t.Errorf("last half second: %d samples, %v Hz", len(got.Samples), got.Dominant())
	}
	if _, err := ReadWAV(os.DevNull); err == nil {
		t.Error("an empty file was read as a sound")
	}
}
