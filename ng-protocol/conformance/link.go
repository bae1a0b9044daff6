package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/bencode"
)

// ErrNoReply means that the daemon did not answer in time.
var ErrNoReply = errors.New("conformance: no reply")

const (
	replyTime = 2 * time.Second
	// quietTime is how long nothing must come where nothing is expected.
	quietTime = 150 * time.Millisecond
)

// link is a UDP association with a daemon's ng listener. It is not the
// project's own client: the examiner must not share a mistake with a daemon
// that is built from the same code.
type link struct {
	conn net.Conn
	last []byte // datagram sent
}

func dial(target string) (*link, error) {
	address, ok := strings.CutPrefix(target, "udp:")
	if !ok {
		return nil, fmt.Errorf("conformance: target %q is not udp:host:port", target)
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		return nil, err
	}
	return &link{conn: conn}, nil
}

// exchange sends a datagram and returns the body of the reply to its cookie.
func (l *link) exchange(datagram []byte, limit time.Duration) ([]byte, error) {
	l.last = datagram
	if _, err := l.conn.Write(datagram); err != nil {
		return nil, err
	}
	cookie, _, _ := bytes.Cut(datagram, []byte(" "))
	if err := l.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	buffer := make([]byte, 65535)
	for {
		n, err := l.conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, ErrNoReply
		}
		if err != nil {
			return nil, err
		}
		if got, body, _ := bytes.Cut(buffer[:n], []byte(" ")); bytes.Equal(got, cookie) {
			return bytes.Clone(body), nil
		}
	}
}

// encode writes a body; a key whose value is nil is left out.
func encode(keys map[string]any, isJSON bool) ([]byte, error) {
	if isJSON {
		return json.Marshal(keys)
	}
	return bencode.EncodeBytes(integers(keys))
}

// integers makes what JSON wrote as numbers fit for bencode.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = integers(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = integers(e)
		}
		return out
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		return v.String()
	}
	return v
}

// decode reads a reply in the format that its first byte tells.
func decode(body []byte) (map[string]any, error) {
	reply := map[string]any{}
	if bytes.HasPrefix(body, []byte("{")) {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		return reply, d.Decode(&reply)
	}
	return reply, bencode.DecodeBytes(body, &reply)
}
