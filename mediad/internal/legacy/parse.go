package legacy

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxIndex bounds how many medias a call may have.
const maxIndex = 32

// stream is what U and L are about.
type stream struct {
	flags        string
	callID       string
	address      netip.Addr // unset if it could not be understood
	port         int        // 0–65535, or -1
	index        int        // of the media, from 1
	fromTag      string
	toTag        string // "" = none
	understood   bool   // the rest of it; else it is given back as it came
	rawAddress   string
	rawPort      string
	hasAddresses bool // rawAddress and rawPort are there
}

// parseStream reads the words of U and L. What has an address and a port but
// does not go on as it should is not understood.
func parseStream(words []string) stream {
	s := stream{flags: words[0][1:], port: -1}
	if len(words) < 4 {
		return s
	}
	s.hasAddresses, s.rawAddress, s.rawPort = true, words[2], words[3]
	s.callID, _, _ = strings.Cut(words[1], ";")
	if !isAddress(words[2]) || !isNumber(words[3]) || len(words) < 5 || len(words) > 6 {
		return s
	}
	var ok bool
	if s.fromTag, s.index, ok = parseTag(words[4]); !ok {
		return s
	}
	if len(words) == 6 {
		if s.toTag, _, ok = parseTag(words[5]); !ok {
			return s
		}
	}
	s.understood = true
	s.address, _ = netip.ParseAddr(words[2])
	if port, err := strconv.ParseUint(words[3], 10, 16); err == nil {
		s.port = int(port)
	}
	return s
}

// parseTag reads tag;index.
func parseTag(word string) (tag string, index int, ok bool) {
	tag, number, ok := strings.Cut(word, ";")
	if !ok || tag == "" || !isNumber(number) {
		return "", 0, false
	}
	index, err := strconv.Atoi(number)
	if err != nil || index > maxIndex {
		index = maxIndex + 1
	}
	return tag, max(index, 1), true
}

func isNumber(word string) bool {
	return word != "" && strings.Trim(word, "0123456789") == ""
}

// isAddress reports whether a word looks like an address, valid or not.
func isAddress(word string) bool {
	return word != "" && strings.Trim(word, "0123456789abcdefABCDEF:.") == ""
}

// direction returns the interfaces that the first two of the flags E and I
// mean, and whether there are two.
func (s *stream) direction() ([2]string, bool) {
	var d [2]string
	n := 0
	for _, f := range s.flags {
		name := ""
		switch f {
		case 'E', 'e':
			name = "external"
		case 'I', 'i':
			name = "internal"
		default:
			continue
		}
		if n < len(d) {
			d[n] = name
		}
		n++
	}
	return d, n >= len(d)
}

// withoutIndex takes the index off a tag.
func withoutIndex(word string) string {
	tag, _, _ := strings.Cut(word, ";")
	return tag
}
