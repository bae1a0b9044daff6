package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// Errors of stream framing; each ends the connection, as the next message can not be found (RFC 3261 §18.3).
var (
	errHeaderTooLarge = errors.New("header over the limit")
	errBodyTooLarge   = errors.New("body over the limit")
	errNoLength       = errors.New("no usable Content-Length on a stream")
)

// frames cuts messages out of a byte stream (RFC 3261 §18.3) without ever holding more than one message and one read.
type frames struct {
	in           io.Reader
	header, body int
	buf          []byte
	scanned      int // bytes of buf already searched for the end of the header
	// started is called when the first byte of a message has come, pong when a keep-alive (RFC 5626 §3.5.1) is due.
	started func()
	pong    func()
}

// next returns the bytes of the next message; they are valid until the next call. With errNoLength they are its header.
func (f *frames) next() ([]byte, error) {
	if err := f.skipLineEnds(); err != nil {
		return nil, err
	}
	f.started()
	end := -1
	for f.scanned = 0; end < 0; {
		from := max(0, f.scanned-3)
		if i := bytes.Index(f.buf[from:], []byte("\r\n\r\n")); i >= 0 {
			end = from + i + 4
			break
		}
		f.scanned = len(f.buf)
		if len(f.buf) > f.header {
			return nil, errHeaderTooLarge
		}
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
	if end > f.header {
		return nil, errHeaderTooLarge
	}
	length, err := contentLength(f.buf[:end])
	if err != nil {
		return f.buf[:end], err
	}
	if length > f.body {
		return nil, errBodyTooLarge
	}
	for len(f.buf) < end+length {
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
	msg := f.buf[:end+length]
	f.buf = f.buf[end+length:]
	return msg, nil
}

// skipLineEnds drops CRLFs in front of a message and answers each double CRLF by one (RFC 5626 §4.4.1).
func (f *frames) skipLineEnds() error {
	ends := 0
	for {
		for len(f.buf) > 0 && (f.buf[0] == '\r' || f.buf[0] == '\n') {
			if f.buf[0] == '\n' {
				if ends++; ends%2 == 0 {
					f.pong()
				}
			}
			f.buf = f.buf[1:]
		}
		if len(f.buf) > 0 {
			return nil
		}
		if err := f.fill(); err != nil {
			return err
		}
	}
}

// fill reads once more, moving what is left to the front first.
func (f *frames) fill() error {
	const chunk = 4096
	if cap(f.buf)-len(f.buf) < chunk {
		grown := make([]byte, len(f.buf), 2*len(f.buf)+chunk)
		copy(grown, f.buf)
		f.buf = grown
	}
	n, err := f.in.Read(f.buf[len(f.buf):cap(f.buf)])
	f.buf = f.buf[:len(f.buf)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// contentLength reads the one Content-Length of a header; differing duplicates are refused, as two readers of one stream
// would cut it differently.
func contentLength(head []byte) (int, error) {
	length := -1
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if !ok || !(bytes.EqualFold(name, []byte("Content-Length")) || bytes.EqualFold(name, []byte("l"))) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil || (length >= 0 && length != int(n)) {
			return 0, errNoLength
		}
		length = int(n)
	}
	if length < 0 {
		return 0, errNoLength
	}
	return length, nil
}

// encode writes a message to bytes. Content-Length is always there (SetBody keeps it), as the next hop may be a stream.
func encode(msg sip.Message) []byte {
	if msg.ContentLength() == nil {
		msg = withLength(msg)
	}
	var b bytes.Buffer
	b.Grow(1024 + len(msg.Body()))
	msg.StringWrite(&b)
	return b.Bytes()
}

// withLength is a copy with Content-Length for messages that were built without one.
func withLength(msg sip.Message) sip.Message {
	switch m := msg.(type) {
	case *sip.Request:
		c := *m
		c.MessageData.SetBody(m.Body())
		return &c
	case *sip.Response:
		c := *m
		c.MessageData.SetBody(m.Body())
		return &c
	default:
		panic(fmt.Sprintf("edge: unknown message type %T", msg))
	}
}
