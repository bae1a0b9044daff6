// Package sdp edits session descriptions (RFC 8866) without disturbing what it
// does not understand. The received bytes are indexed once by line; fields are
// parsed on demand and leniently; edits are recorded beside the lines and the
// result is spliced together from the received bytes. Unknown lines, their
// order, their spacing and the line ending survive as they came.
package sdp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Bounds of what Parse accepts.
const (
	MaxBytes  = 64 << 10 // of a body
	MaxLines  = 4096     // in a body
	MaxMedias = 256      // m= lines in a body

	MaxPayloads = 256 // payload types of one media
)

// Errors of Parse.
var (
	ErrTooBig = errors.New("sdp: body too big")
	ErrNoSDP  = errors.New("sdp: not a session description")
)

// eol ends the lines that are added, whatever ends the received ones.
const eol = "\r\n"

// Document is a session description under edit. It is not safe for concurrent
// use.
type Document struct {
	src     string
	lines   []line
	session Section
	medias  []*Section
	tail    string
}

// line is one line of the input and what is to become of it.
type line struct {
	start, end int32    // in src, without the line ending
	next       int32    // in src, start of the next line
	typ        byte     // 'v', 'o', 'm', …; 0 = not of the form x=…
	deleted    bool     // not to be emitted
	replaced   bool     // by text
	text       string   // without line ending
	after      []string // lines inserted behind it, without line ending
}

// Section is the session part of a document, or one m= line with what
// belongs to it.
type Section struct {
	doc         *Document
	first, last int // lines [first, last)
	head        []string

	media    Media // what the m= line says, once known
	known    bool
	readable bool
}

// Parse indexes body. It fails only if the body exceeds the bounds or does not
// begin with a line of the form "v=…". A blank line ends the body.
func Parse[T string | []byte](body T) (*Document, error) {
	if len(body) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooBig, len(body))
	}
	d, err := index(string(body))
	if err != nil {
		return nil, err
	}
	for i := range d.lines {
		if d.lines[i].start == d.lines[i].end {
			continue
		}
		if d.lines[i].typ != 'v' {
			break
		}
		return d, nil
	}
	return nil, ErrNoSDP
}

// ParseFragment is Parse for a body that has no v= line, such as a trickle ICE
// fragment (RFC 8840).
func ParseFragment[T string | []byte](body T) (*Document, error) {
	if len(body) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooBig, len(body))
	}
	return index(string(body))
}

func index(src string) (*Document, error) {
	d := &Document{src: src, lines: make([]line, 0, strings.Count(src, "\n")+1)}
	d.session.doc = d
	section := &d.session
	for pos := 0; pos < len(src); {
		if len(d.lines) == MaxLines {
			return nil, fmt.Errorf("%w: more than %d lines", ErrTooBig, MaxLines)
		}
		l := cut(src, pos)
		if l.start == l.end && len(d.lines) > 0 {
			d.tail = tail(src[pos:])
			break
		}
		if l.typ == 'm' {
			if len(d.medias) == MaxMedias {
				return nil, fmt.Errorf("%w: more than %d m= lines", ErrTooBig, MaxMedias)
			}
			section.last = len(d.lines)
			section = &Section{doc: d, first: len(d.lines)}
			d.medias = append(d.medias, section)
		}
		d.lines = append(d.lines, l)
		pos = int(l.next)
	}
	section.last = len(d.lines)
	return d, nil
}

// tail is what stays of the blank line that ends a body early: nothing, unless
// it is the very end and a bare LF.
func tail(rest string) string {
	if len(rest) == 1 {
		return rest
	}
	return ""
}

// cut finds the line that begins at pos: it ends with CRLF, LF or the end of
// the input.
func cut(src string, pos int) line {
	l := line{start: int32(pos), end: int32(len(src)), next: int32(len(src))} // MaxBytes is less
	if n := strings.IndexByte(src[pos:], '\n'); n >= 0 {
		l.end, l.next = l.start+int32(n), l.start+int32(n)+1
	}
	if l.end > l.start && src[l.end-1] == '\r' {
		l.end--
	}
	if l.end-l.start >= 2 && src[l.start+1] == '=' {
		l.typ = src[l.start]
	}
	return l
}

// Session returns the part before the first m= line.
func (d *Document) Session() *Section { return &d.session }

// Medias returns the m= sections in order.
func (d *Document) Medias() []*Section { return d.medias }

// Bytes emits the document with all edits. Without edits it returns the bytes
// that were parsed, up to a blank line that ended them early.
func (d *Document) Bytes() []byte {
	out := make([]byte, 0, len(d.src)+512)
	for _, text := range d.session.head {
		out = appendLine(out, text)
	}
	for i := range d.lines {
		l := &d.lines[i]
		switch {
		case l.deleted:
		case l.replaced:
			out = append(out, l.text...)
			out = append(out, d.ending(l)...)
		default:
			out = append(out, d.src[l.start:l.next]...)
		}
		if len(l.after) == 0 {
			continue
		}
		// Behind a last line without an ending, or what is left of it.
		if n := len(out); n > 0 && out[n-1] != '\n' {
			out = append(bytes.TrimSuffix(out, []byte("\r")), eol...)
		}
		for _, text := range l.after {
			out = appendLine(out, text)
		}
	}
	return append(out, d.tail...)
}

func appendLine(out []byte, text string) []byte {
	return append(append(out, text...), eol...)
}

// forget says that a line has changed.
func (d *Document) forget(line int) {
	for _, s := range d.medias {
		if s.first == line {
			s.known = false
		}
	}
}

// ending returns the line ending that l had.
func (d *Document) ending(l *line) string { return d.src[l.end:l.next] }

// Changed reports whether any edit has been recorded.
func (d *Document) Changed() bool {
	if len(d.session.head) > 0 {
		return true
	}
	for i := range d.lines {
		l := &d.lines[i]
		if l.deleted || l.replaced || len(l.after) > 0 {
			return true
		}
	}
	return false
}
