package rtpio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"github.com/tandem-sbc/tandem/deploy/demo-phone/internal/tone"
)

const (
	wavHeader     = 44
	maxWavSamples = 10 * 60 * tone.Rate // a recording stops after ten minutes
)

// Wav is a Sink that writes 8 kHz 16-bit mono WAV; lost samples become silence.
type Wav struct {
	mu      sync.Mutex
	file    *os.File
	out     *bufio.Writer
	samples int
	err     error
}

// CreateWav makes the file; its header is complete after Close.
func CreateWav(path string) (*Wav, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Wav{file: file, out: bufio.NewWriter(file)}
	_, w.err = w.out.Write(make([]byte, wavHeader))
	return w, nil
}

// Write appends gap samples of silence and pcm. The first error is kept for Close.
func (w *Wav) Write(pcm []int16, gap int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range gap {
		w.sample(0)
	}
	for _, s := range pcm {
		w.sample(s)
	}
}

func (w *Wav) sample(s int16) {
	if w.err != nil || w.samples == maxWavSamples {
		return
	}
	w.samples++
	if w.err = w.out.WriteByte(byte(s)); w.err == nil {
		w.err = w.out.WriteByte(byte(s >> 8))
	}
}

// Close writes the header and closes the file.
func (w *Wav) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := uint32(2 * w.samples)
	header := binary.LittleEndian.AppendUint32([]byte("RIFF"), 36+size)
	header = append(header, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...) // 16 bytes follow, PCM, one channel
	header = binary.LittleEndian.AppendUint32(header, tone.Rate)
	header = binary.LittleEndian.AppendUint32(header, 2*tone.Rate)
	header = append(header, "\x02\x00\x10\x00data"...)
	header = binary.LittleEndian.AppendUint32(header, size)
	flush := w.out.Flush()
	_, err := w.file.WriteAt(header, 0)
	return errors.Join(w.err, flush, err, w.file.Close())
}
