package bridge

import (
	"bytes"
	"errors"
	"mime"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

const typeSDP = "application/sdp"

// maxParts bounds the parts of a multipart body (RFC 2046 §5.1).
const maxParts = 64

var (
	errEncoded  = errors.New("body with Content-Encoding")
	errBoundary = errors.New("multipart body without boundary")
)

// message is a request or a response.
type message interface {
	sip.Message
	RemoveHeader(name string) bool
	ReplaceHeader(header sip.Header)
}

// part is where the SDP stands in a body.
type part struct {
	start, end int
	whole      bool // the body is nothing else
}

// findSDP returns the SDP of a message; ok is false if it has none.
func findSDP(msg sip.Message) (p part, ok bool, err error) {
	body := msg.Body()
	if len(body) == 0 {
		return part{}, false, nil
	}
	media, params, err := mime.ParseMediaType(request.Header(msg, "Content-Type"))
	if media == "" {
		// A type that cannot be read is somebody else's.
		return part{}, false, nil
	}
	isSDP, isMultipart := strings.EqualFold(media, typeSDP), strings.HasPrefix(media, "multipart/")
	if !isSDP && !isMultipart {
		return part{}, false, nil
	}
	if e := request.Header(msg, "Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return part{}, false, errEncoded
	}
	if isSDP {
		return part{0, len(body), true}, true, nil
	}
	if err != nil || params["boundary"] == "" {
		return part{}, false, errBoundary
	}
	p, ok = findPart(body, params["boundary"])
	return p, ok, nil
}

// findPart returns the content of the first part of type application/sdp,
// without the line end that belongs to the boundary behind it.
func findPart(body []byte, boundary string) (part, bool) {
	delimiter := []byte("--" + boundary)
	pos := nextDelimiter(body, delimiter, 0)
	for range maxParts {
		if pos < 0 {
			return part{}, false
		}
		line := bytes.IndexByte(body[pos:], '\n')
		if line < 0 || bytes.HasPrefix(body[pos+len(delimiter):], []byte("--")) {
			return part{}, false
		}
		start := pos + line + 1
		next := nextDelimiter(body, delimiter, start)
		if next < 0 {
			return part{}, false // every part ends with a delimiter
		}
		end := next
		if end > start && body[end-1] == '\n' {
			end--
			if end > start && body[end-1] == '\r' {
				end--
			}
		}
		if content, ok := sdpContent(body[start:end]); ok {
			return part{start + content, end, false}, true
		}
		pos = next
	}
	return part{}, false
}

// nextDelimiter finds the delimiter at the start of a line, from pos on.
func nextDelimiter(body, delimiter []byte, pos int) int {
	for pos <= len(body) {
		i := bytes.Index(body[pos:], delimiter)
		if i < 0 {
			return -1
		}
		at := pos + i
		if at == 0 || body[at-1] == '\n' {
			return at
		}
		pos = at + 1
	}
	return -1
}

// sdpContent returns where the content of a part begins; ok is false if it is
// not SDP.
func sdpContent(p []byte) (start int, ok bool) {
	isSDP := false
	for pos := 0; pos < len(p); {
		end := bytes.IndexByte(p[pos:], '\n')
		if end < 0 {
			return 0, false
		}
		line := strings.TrimRight(string(p[pos:pos+end]), "\r")
		pos += end + 1
		if line == "" {
			return pos, isSDP
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(name), "Content-Type") {
			media, _, _ := strings.Cut(value, ";")
			isSDP = strings.EqualFold(strings.TrimSpace(media), typeSDP)
		}
	}
	return 0, false
}

// replaceSDP puts sdp in place of the part of msg's body; all other bytes stay.
// With alone, everything else is dropped. Content-Length is set anew.
func replaceSDP(msg message, p part, sdp string, alone bool) {
	body := msg.Body()
	if p.whole {
		msg.SetBody([]byte(sdp))
		return
	}
	if alone {
		setSDP(msg, sdp)
		return
	}
	out := make([]byte, 0, len(body)+len(sdp))
	out = append(out, body[:p.start]...)
	out = append(out, sdp...)
	msg.SetBody(append(out, body[p.end:]...))
}

// setSDP makes sdp the whole body.
func setSDP(msg message, sdp string) {
	for _, name := range []string{"Content-Disposition", "MIME-Version"} {
		for _, h := range msg.GetHeaders(name) {
			msg.RemoveHeader(h.Name())
		}
	}
	contentType := sip.ContentTypeHeader(typeSDP)
	msg.ReplaceHeader(&contentType)
	msg.SetBody([]byte(sdp))
}

// dropBody takes the body and its type away.
func dropBody(msg message) {
	for _, name := range []string{"Content-Type", "Content-Disposition", "MIME-Version"} {
		for _, h := range msg.GetHeaders(name) {
			msg.RemoveHeader(h.Name())
		}
	}
	msg.SetBody(nil)
}
