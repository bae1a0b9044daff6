package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
)

// Sound is mono 16-bit PCM.
type Sound struct {
	Rate    int // samples a second
	Samples []int16
}

// ReadWAV reads a mono 16-bit PCM file. A header that gives no length (a file
// still being written) is taken to run to the end of the file.
func ReadWAV(path string) (Sound, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Sound{}, err
	}
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return Sound{}, fmt.Errorf("%s is no WAV file", path)
	}
	var sound Sound
	for at := 12; at+8 <= len(data); {
		kind, size := string(data[at:at+4]), int(binary.LittleEndian.Uint32(data[at+4:]))
		body := data[at+8:]
		if size > len(body) || (kind == "data" && size == 0) {
			size = len(body)
		}
		body = body[:size]
		switch kind {
		case "fmt ":
			if size < 16 || binary.LittleEndian.Uint16(body) != 1 || binary.LittleEndian.Uint16(body[2:]) != 1 ||
				binary.LittleEndian.Uint16(body[14:]) != 16 {
				return Sound{}, fmt.Errorf("%s is not mono 16-bit PCM", path)
			}
			sound.Rate = int(binary.LittleEndian.Uint32(body[4:]))
		case "data":
			sound.Samples = make([]int16, size/2)
			for i := range sound.Samples {
				sound.Samples[i] = int16(binary.LittleEndian.Uint16(body[2*i:]))
			}
			return sound, nil
		}
		at += 8 + size + size%2
	}
	return sound, errors.New(path + " has no samples")
}

// Last is the sound's last seconds.
func (s Sound) Last(seconds float64) Sound {
	if n := int(seconds * float64(s.Rate)); n < len(s.Samples) {
		s.Samples = s.Samples[len(s.Samples)-n:]
	}
	return s
}

const (
	toneStep    = 5.0  // Hz between the frequencies that Dominant tries
	toneLow     = 50.0 // Hz
	silenceRoot = 100  // root mean square below which a sound is silence, of 32767
)

// Dominant is the strongest frequency in Hz between 50 Hz and the Nyquist
// frequency, to 5 Hz; 0 when the sound is silent or shorter than 0.1 s.
func (s Sound) Dominant() float64 {
	if s.Rate == 0 || len(s.Samples) < s.Rate/10 {
		return 0
	}
	var energy float64
	for _, sample := range s.Samples {
		energy += float64(sample) * float64(sample)
	}
	if math.Sqrt(energy/float64(len(s.Samples))) < silenceRoot {
		return 0
	}
	var best, bestPower float64
	for hz := toneLow; hz < float64(s.Rate)/2; hz += toneStep {
		if power := s.power(hz); power > bestPower {
			best, bestPower = hz, power
		}
	}
	return best
}

// power is the Goertzel power at hz under a Hann window.
func (s Sound) power(hz float64) float64 {
	turn := 2 * math.Cos(2*math.Pi*hz/float64(s.Rate))
	n := float64(len(s.Samples))
	var a, b float64
	for i, sample := range s.Samples {
		window := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/n)
		a, b = window*float64(sample)+turn*a-b, a
	}
	return a*a + b*b - turn*a*b
}
