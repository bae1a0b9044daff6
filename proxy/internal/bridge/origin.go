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

// midsOf are the media identifications of a description by the place of their m-lines; empty where there is none.
func midsOf(sdp string) (mids []string) {
	for line := range strings.Lines(sdp) {
		if strings.HasPrefix(line, "m=") {
			mids = append(mids, "")
		} else if mid, ok := strings.CutPrefix(line, "a=mid:"); ok && len(mids) > 0 {
			mids[len(mids)-1] = strings.TrimSpace(mid)
		}
	}
	return mids
}

// rename gives the media of a description the identifications that its receiver has for them (RFC 9143 §7.3: they stay for
// the session); another daemon has made up its own.
func rename(sdp string, known []string) string {
	mids := midsOf(sdp)
	now := make(map[string]string)
	for i, mid := range mids {
		if i < len(known) && known[i] != "" && mid != "" {
			now[mid] = known[i]
		}
	}
	if len(now) == 0 {
		return sdp
	}
	var b strings.Builder
	for line := range strings.Lines(sdp) {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		if mid, ok := strings.CutPrefix(text, "a=mid:"); ok && now[strings.TrimSpace(mid)] != "" {
			line = "a=mid:" + now[strings.TrimSpace(mid)] + end
		} else if strings.HasPrefix(text, "a=group:") {
			fields := strings.Fields(text)
			for i, f := range fields[1:] {
				if name := now[f]; name != "" {
					fields[i+1] = name
				}
			}
			line = strings.Join(fields, " ") + end
		}
		b.WriteString(line)
	}
	return b.String()
}

// said is the last description that a party has agreed with; empty if there is none.
func (c *call) said(tag string) string {
	if a := c.agreed; a != nil {
		for _, side := range []agreementSide{a.offer, a.answer} {
			if side.tag == tag {
				return side.sdp
			}
		}
	}
	return ""
}

// stamp notes the description that goes to a side. In a call that has moved to another media daemon it goes on with the
// origin that the side knows, under a version that is higher by one when something has changed (RFC 3264 §8): the other
// daemon, and the sides, count on their own.
func (c *call) stamp(seed maphash.Seed, tag, sdp string) string {
	if c.moved {
		sdp = rename(sdp, midsOf(c.said(tag)))
	}
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
