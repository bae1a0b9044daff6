package telemetry

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// Marks of a line that goes on in the next one, and of that next one.
const (
	breakEnd   = " ..."
	breakStart = "... "
)

// lineBreaker breaks lines that are too long for their receiver. Every write
// is one line.
type lineBreaker struct {
	io.Writer
	max int // bytes of a line without its end and marks
}

// Write reports all of line as written, or nothing.
func (b lineBreaker) Write(line []byte) (int, error) {
	parts := breakLine(bytes.TrimSuffix(line, []byte("\n")), b.max)
	if _, err := b.Writer.Write(append(bytes.Join(parts, []byte("\n")), '\n')); err != nil {
		return 0, err
	}
	return len(line), nil
}

// breakLine breaks a line into parts of at most limit bytes, without the marks;
// 0 or less means that it stays whole.
func breakLine(line []byte, limit int) [][]byte {
	var parts [][]byte
	start := ""
	for limit > 0 && len(line) > limit {
		at := limit
		for at > 1 && !utf8.RuneStart(line[at]) {
			at--
		}
		parts = append(parts, []byte(start+string(line[:at])+breakEnd))
		line, start = line[at:], breakStart
	}
	return append(parts, []byte(start+string(line)))
}
