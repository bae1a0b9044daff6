package ng

import (
	"errors"
	"fmt"
)

// Limits of one message. They are far above what any client sends and far
// below what would hurt.
const (
	// MaxSize is the largest body, in bytes: what a UDP datagram can carry.
	MaxSize = 65535
	// MaxDepth is how deep lists and dictionaries may nest.
	MaxDepth = 16
	// MaxElements is how many strings, integers, lists and dictionaries one
	// message may hold. A query reply of a call with many streams is the
	// largest real message.
	MaxElements = 16384
	// MaxCookie is the longest cookie, in bytes.
	MaxCookie = 256
)

// errBounds is wrapped by all errors of the bounds checks.
var errBounds = errors.New("out of bounds")

// maxIntegerDigits is the length of the longest int64, sign included.
const maxIntegerDigits = 20

// bencodeEnd walks over body without allocating and makes sure that it begins
// with a bencoded dictionary within the limits, whose length it returns. What
// follows is ignored, as rtpengine does. The decoder behind it allocates what a
// string claims to be long before it has seen the bytes and recurses as deep as
// the input asks, so it must not see anything unchecked.
func bencodeEnd(body []byte) (int, error) {
	if len(body) > MaxSize {
		return 0, fmt.Errorf("%w: %d bytes", errBounds, len(body))
	}
	if len(body) == 0 || body[0] != 'd' {
		return 0, fmt.Errorf("%w: not a dictionary", errBounds)
	}
	w := bencodeWalk{b: body}
	err := w.value(1)
	return w.pos, err
}

type bencodeWalk struct {
	b        []byte
	pos      int
	elements int
}

// value passes over one value. The recursion ends at MaxDepth.
func (w *bencodeWalk) value(depth int) error {
	if w.elements++; w.elements > MaxElements {
		return fmt.Errorf("%w: more than %d elements", errBounds, MaxElements)
	}
	if w.pos >= len(w.b) {
		return w.truncated()
	}
	switch c := w.b[w.pos]; {
	case c >= '0' && c <= '9':
		return w.str()
	case c == 'i':
		return w.integer()
	case c == 'l' || c == 'd':
		return w.container(c == 'd', depth)
	default:
		return fmt.Errorf("%w: byte %#02x at %d", errBounds, c, w.pos)
	}
}

func (w *bencodeWalk) container(dictionary bool, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: nested deeper than %d", errBounds, MaxDepth)
	}
	w.pos++
	for {
		if w.pos >= len(w.b) {
			return w.truncated()
		}
		if w.b[w.pos] == 'e' {
			w.pos++
			return nil
		}
		if dictionary {
			if err := w.str(); err != nil {
				return err
			}
		}
		if err := w.value(depth + 1); err != nil {
			return err
		}
	}
}

// str passes over "length:bytes".
func (w *bencodeWalk) str() error {
	start, n := w.pos, 0
	for ; w.pos < len(w.b) && w.b[w.pos] >= '0' && w.b[w.pos] <= '9'; w.pos++ {
		if n = n*10 + int(w.b[w.pos]-'0'); n > len(w.b) {
			return fmt.Errorf("%w: string longer than the message at %d", errBounds, start)
		}
	}
	switch {
	case w.pos >= len(w.b):
		return w.truncated()
	case w.pos == start || w.b[w.pos] != ':':
		return fmt.Errorf("%w: no string at %d", errBounds, start)
	case w.b[start] == '0' && w.pos > start+1:
		return fmt.Errorf("%w: leading zero at %d", errBounds, start)
	case n > len(w.b)-w.pos-1:
		return w.truncated()
	}
	w.pos += 1 + n
	return nil
}

// integer passes over "i", an optional minus, digits and "e".
func (w *bencodeWalk) integer() error {
	start := w.pos
	w.pos++
	if w.pos < len(w.b) && w.b[w.pos] == '-' {
		w.pos++
	}
	first := w.pos
	for w.pos < len(w.b) && w.b[w.pos] >= '0' && w.b[w.pos] <= '9' && w.pos-start <= maxIntegerDigits {
		w.pos++
	}
	switch {
	case w.pos >= len(w.b):
		return w.truncated()
	case w.pos == first || w.b[w.pos] != 'e':
		return fmt.Errorf("%w: no integer at %d", errBounds, start)
	case w.b[first] == '0' && (w.pos > first+1 || first > start+1):
		return fmt.Errorf("%w: leading zero at %d", errBounds, start)
	}
	w.pos++
	return nil
}

func (w *bencodeWalk) truncated() error {
	return fmt.Errorf("%w: ends within a value at %d", errBounds, len(w.b))
}

// checkJSON makes sure that body cannot cost more than the limits allow. It
// counts brackets and separators outside of strings; the syntax is left to the
// decoder.
func checkJSON(body []byte) error {
	if len(body) > MaxSize {
		return fmt.Errorf("%w: %d bytes", errBounds, len(body))
	}
	depth, elements, quoted := 0, 0, false
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch {
		case quoted && c == '\\':
			i++
			continue
		case c == '"':
			quoted = !quoted
			continue
		case quoted:
			continue
		}
		switch c {
		case '{', '[':
			depth++
			elements++
		case '}', ']':
			depth--
		case ',', ':':
			elements++
		}
		if depth > MaxDepth {
			return fmt.Errorf("%w: nested deeper than %d", errBounds, MaxDepth)
		}
		if elements > MaxElements {
			return fmt.Errorf("%w: more than %d elements", errBounds, MaxElements)
		}
	}
	return nil
}
