package bridge

import (
	"hash/maphash"
	"strconv"
	"strings"
)

// origin is the o= line that a side has been told last, and the rest of that description as a hash.
type origin struct {
	head    string // up to the version, with a blank
	version uint64
	tail    string // behind it, with its line end
	rest    uint64
}

// maxOrigins bounds those of a call: the sides of each fork.
const maxOrigins = 64

// readOrigin cuts a description at its o= line, o=<user> <id> <version> <network> <type> <address> (RFC 8866 §5.2).
func readOrigin(sdp string) (o origin, before, after string, ok bool) {
	start := strings.Index(sdp, "\no=") + 1
	if start == 0 {
		return o, "", "", false
	}
	line, after, _ := strings.Cut(sdp[start:], "\n")
	parts := strings.SplitN(line, " ", 4)
	if len(parts) < 4 {
		return o, "", "", false
	}
	version, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return o, "", "", false
	}
	return origin{head: parts[0] + " " + parts[1] + " ", version: version, tail: " " + parts[3] + "\n"}, sdp[:start], after, true
}

func (o origin) String() string { return o.head + strconv.FormatUint(o.version, 10) + o.tail }

// stamp notes the description that goes to a side. In a call that has moved to another media daemon it goes on with the
// origin that the side knows, under a version that is higher by one when something has changed (RFC 3264 §8): the other
// daemon, and the sides, count on their own.
func (c *call) stamp(seed maphash.Seed, tag, sdp string) string {
	o, before, after, ok := readOrigin(sdp)
	if !ok {
		return sdp
	}
	o.rest = maphash.String(seed, before+"\x00"+after)
	last, known := c.origins[tag]
	if !known {
		last, known = c.origins[""] // told before the side had a tag
	}
	if c.moved && known {
		rest := o.rest
		o = last
		if rest != o.rest {
			o.version++
		}
		o.rest = rest
		sdp = before + o.String() + after
	}
	if c.origins == nil {
		c.origins = make(map[string]origin)
	}
	if _, listed := c.origins[tag]; listed || len(c.origins) < maxOrigins {
		c.origins[tag] = o
	}
	return sdp
}
