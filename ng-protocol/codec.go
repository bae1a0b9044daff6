package ng

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/zeebo/bencode"
)

// Format is how a body is written. A reply has the format of its request.
type Format uint8

// Formats of a body.
const (
	FormatBencode Format = iota // first byte "d"
	FormatJSON                  // first byte "{"
)

// ErrNoCookie means that a datagram has no cookie, so that it cannot be
// answered.
var ErrNoCookie = errors.New("ng: no cookie")

// SplitCookie splits a message at the first space into its cookie and its
// body. Both alias the message.
func SplitCookie(message []byte) (cookie, body []byte, err error) {
	i := bytes.IndexByte(message, ' ')
	if i <= 0 || i > MaxCookie {
		return nil, nil, ErrNoCookie
	}
	return message[:i], message[i+1:], nil
}

// DecodeRequest decodes the body of a request. On error it wraps the Reason
// that the client is to be told; the Format is valid nevertheless. Unknown
// keys, flags and values are no error; they are listed in Request.Unknown.
func DecodeRequest(body []byte) (*Request, Format, error) { return new(Decoder).Request(body) }

// Decoder decodes one body after the other with less garbage than single calls
// make. The zero value is ready. It is safe for concurrent use.
type Decoder struct {
	readers sync.Pool // *bufio.Reader; each is far bigger than most messages
}

// Request is DecodeRequest.
func (d *Decoder) Request(body []byte) (*Request, Format, error) {
	fields, format, err := d.requestFields(body)
	if err != nil {
		return nil, format, err
	}
	req, err := requestOf(fields)
	return req, format, err
}

// bencode decodes what has passed the bounds check.
func (d *Decoder) bencode(body []byte, into any) error {
	r, ok := d.readers.Get().(*bufio.Reader)
	if !ok {
		r = bufio.NewReader(nil)
	}
	r.Reset(bytes.NewReader(body))
	err := bencode.NewDecoder(r).Decode(into) // reads from r itself, as it is big enough
	r.Reset(nil)
	d.readers.Put(r)
	return err
}

// DecodeReply decodes the body of a reply to command. The daemon's refusals are
// replies too (*Failure, *LoadLimit); an error means that the reply could not be
// understood.
func DecodeReply(command Command, body []byte) (Reply, error) {
	m, _, err := new(Decoder).dictionary(body, false)
	if err != nil {
		return nil, err
	}
	return replyOf(command, m)
}

// EncodeRequest writes a request as a body in format.
func EncodeRequest(req *Request, format Format) ([]byte, error) {
	return appendDictionary(nil, format, func(w *writer) { w.entries(req.dict()) })
}

// EncodeReply writes a reply as a body in format.
func EncodeReply(reply Reply, format Format) ([]byte, error) {
	return AppendReply(nil, reply, format)
}

// AppendReply is EncodeReply behind what is in out, a cookie for example. It
// returns nil with an error.
func AppendReply(out []byte, reply Reply, format Format) ([]byte, error) {
	return appendDictionary(out, format, reply.write)
}

func appendDictionary(out []byte, format Format, entries func(*writer)) ([]byte, error) {
	w := &writer{out: out, json: format == FormatJSON}
	w.dict(func() { entries(w) })
	if w.err != nil {
		return nil, w.err
	}
	return w.out, nil
}

// dictionary decodes a body of either format into strings, int64, []any
// and map[string]any. A request must not hold what bencode cannot say.
func (d *Decoder) dictionary(body []byte, request bool) (map[string]any, Format, error) {
	if len(body) == 0 {
		return nil, FormatBencode, ReasonNoPayload
	}
	var m map[string]any
	switch body[0] {
	case 'd':
		end, err := bencodeEnd(body)
		if err != nil {
			return nil, FormatBencode, fmt.Errorf("%w: %w", ReasonBadBencode, err)
		}
		if err := d.bencode(body[:end], &m); err != nil {
			return nil, FormatBencode, fmt.Errorf("%w: %w", ReasonBadBencode, err)
		}
		return m, FormatBencode, nil
	case '{':
		if err := checkJSON(body); err != nil {
			return nil, FormatJSON, fmt.Errorf("%w: %w", ReasonBadJSONDictionary, err)
		}
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&m); err != nil {
			return nil, FormatJSON, fmt.Errorf("%w: %w", ReasonBadJSON, err)
		}
		if _, err := dec.Token(); err != io.EOF {
			return nil, FormatJSON, fmt.Errorf("%w: trailing bytes", ReasonBadJSON)
		}
		if request && hasNoBencode(m) {
			return nil, FormatJSON, fmt.Errorf("%w: null or a fraction", ReasonBadBencode)
		}
		for k, v := range m {
			m[k] = plain(v)
		}
		return m, FormatJSON, nil
	}
	return nil, FormatBencode, ReasonBadFormat
}

// hasNoBencode reports whether there is null or a number with a fraction in v,
// which bencode cannot say: rtpengine refuses them.
func hasNoBencode(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case json.Number:
		return bytes.ContainsAny([]byte(v), ".eE")
	case []any:
		return slices.ContainsFunc(v, hasNoBencode)
	case map[string]any:
		for _, e := range v {
			if hasNoBencode(e) {
				return true
			}
		}
	}
	return false
}

// plain turns what the JSON decoder makes into what the bencode decoder makes.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		return v.String()
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}
