package ngserver

import (
	"errors"
	"fmt"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// errFrame says that a stream does not hold what can be framed; nothing behind
// that place can be understood.
var errFrame = errors.New("ngserver: stream is not bencode")

// frame finds the end of one bencoded dictionary in a stream that arrives in
// pieces. It looks at each byte once, however small the pieces are, and knows
// the structure only; what is in it is checked by the decoder. The zero value
// is ready.
type frame struct {
	length  int // bytes seen
	depth   int // containers that are open
	number  int // length of a string, so far
	skip    int // bytes of a string still to come
	digits  bool
	integer bool
}

// next takes one byte and reports whether it is the last one.
func (f *frame) next(b byte) (done bool, err error) {
	if f.length++; f.length > ng.MaxSize {
		return false, fmt.Errorf("%w: longer than %d bytes", errFrame, ng.MaxSize)
	}
	switch {
	case f.skip > 0:
		f.skip--
	case f.integer:
		f.integer = b != 'e'
	case b >= '0' && b <= '9' && f.depth > 0:
		f.digits = true
		if f.number = f.number*10 + int(b-'0'); f.number > ng.MaxSize {
			return false, fmt.Errorf("%w: string longer than %d bytes", errFrame, ng.MaxSize)
		}
	case b == ':' && f.digits:
		f.skip, f.number, f.digits = f.number, 0, false
	case f.digits:
		return false, fmt.Errorf("%w: byte %#02x in a length", errFrame, b)
	case b == 'd' || b == 'l' && f.depth > 0:
		if f.depth++; f.depth > ng.MaxDepth {
			return false, fmt.Errorf("%w: nested deeper than %d", errFrame, ng.MaxDepth)
		}
	case b == 'i' && f.depth > 0:
		f.integer = true
	case b == 'e' && f.depth > 0:
		f.depth--
		return f.depth == 0, nil
	default:
		return false, fmt.Errorf("%w: byte %#02x at %d", errFrame, b, f.length-1)
	}
	return false, nil
}
