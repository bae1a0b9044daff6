package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// ErrNoReply means that the daemon did not answer in time.
var ErrNoReply = errors.New("conformance: no reply")

const (
	replyTime = 2 * time.Second
	// quietTime is how long nothing must come where nothing is expected.
	quietTime = 150 * time.Millisecond
)

// link is an association with a daemon's ng listener. It is not the project's
// own client: the examiner must not share a mistake with a daemon that is built
// from the same code.
type link struct {
	carrier
	last []byte // message sent
}

// carrier is one transport of messages "cookie body".
type carrier interface {
	send(message []byte, limit time.Duration) error
	// receive returns the next message, or an error that wraps ErrNoReply.
	receive(limit time.Duration) ([]byte, error)
	close()
}

// dial connects to udp:host:port, tcp:host:port, http://host:port/ng,
// http://host:port/ng-plain or ws://host:port/.
func dial(target string) (*link, error) {
	scheme, address, _ := strings.Cut(target, ":")
	var c carrier
	var err error
	switch scheme {
	case "udp", "tcp":
		var conn net.Conn
		if conn, err = net.DialTimeout(scheme, address, replyTime); err == nil {
			c = &wire{conn: conn, stream: scheme == "tcp"}
		}
	case "http", "https":
		c = &post{url: target, plain: strings.HasSuffix(target, "-plain"), client: &http.Client{Transport: &http.Transport{}}}
	case "ws", "wss":
		ctx, cancel := context.WithTimeout(context.Background(), replyTime)
		defer cancel()
		var conn *websocket.Conn
		conn, _, err = websocket.Dial(ctx, target, &websocket.DialOptions{Subprotocols: []string{"ng.rtpengine.com"}})
		if err == nil {
			conn.SetReadLimit(maxMessage)
			c = &frames{conn: conn}
		}
	default:
		return nil, fmt.Errorf("conformance: target %q is not udp:host:port, tcp:host:port, http://host:port/ng or ws://host:port/", target)
	}
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	return &link{carrier: c}, nil
}

const maxMessage = 1 << 20

// exchange sends a message and returns the body of the reply to its cookie.
func (l *link) exchange(message []byte, limit time.Duration) ([]byte, error) {
	l.last = message
	if err := l.send(message, limit); err != nil {
		return nil, err
	}
	cookie, _, _ := bytes.Cut(message, []byte(" "))
	for until := time.Now().Add(limit); ; {
		reply, err := l.receive(time.Until(until))
		if err != nil {
			return nil, err
		}
		if got, body, _ := bytes.Cut(reply, []byte(" ")); bytes.Equal(got, cookie) {
			return body, nil
		}
	}
}

// wire is UDP, or TCP: messages follow each other without a delimiter, so the
// length of a reply is that of its bencode dictionary.
type wire struct {
	conn   net.Conn
	stream bool
	read   []byte // TCP: received and not used yet
}

func (w *wire) close() { _ = w.conn.Close() }

func (w *wire) send(message []byte, _ time.Duration) error {
	_, err := w.conn.Write(message)
	return err
}

func (w *wire) receive(limit time.Duration) ([]byte, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	buffer := make([]byte, 65536)
	for {
		if at := messageEnd(w.read); w.stream && at > 0 {
			message := bytes.Clone(w.read[:at])
			w.read = w.read[at:]
			return message, nil
		}
		n, err := w.conn.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return nil, ErrNoReply
		case err != nil:
			return nil, err
		case !w.stream:
			return bytes.Clone(buffer[:n]), nil
		case len(w.read) > maxMessage:
			return nil, errors.New("conformance: endless reply")
		}
		w.read = append(w.read, buffer[:n]...)
	}
}

// messageEnd is the length of "cookie dictionary" at the beginning of b, 0 if
// it is not complete.
func messageEnd(b []byte) int {
	at := bytes.IndexByte(b, ' ') + 1
	depth := 0
	for at > 0 && at < len(b) {
		switch c := b[at]; {
		case c == 'd' || c == 'l':
			depth, at = depth+1, at+1
		case c == 'e':
			depth, at = depth-1, at+1
		case c == 'i':
			end := bytes.IndexByte(b[at:], 'e')
			if end < 0 {
				return 0
			}
			at += end + 1
		default:
			head, _, found := bytes.Cut(b[at:], []byte(":"))
			length := 0
			if _, err := fmt.Sscan(string(head), &length); !found || err != nil || length < 0 {
				return 0
			}
			at += len(head) + 1 + length
		}
		if depth == 0 {
			return min(at, len(b))
		}
	}
	return 0
}

// post is HTTP: /ng with cookies, /ng-plain without.
type post struct {
	url    string
	plain  bool
	client *http.Client
	reply  []byte
}

func (p *post) close() { p.client.CloseIdleConnections() }

func (p *post) send(message []byte, limit time.Duration) error {
	cookie, body, _ := bytes.Cut(message, []byte(" "))
	kind := "application/x-rtpengine-ng"
	if !p.plain {
		body = message
	} else if bytes.HasPrefix(body, []byte("{")) {
		kind = "application/json"
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	response, err := p.client.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // receive says so
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMessage))
	if err != nil || response.StatusCode != http.StatusOK {
		return err // another status: no reply
	}
	if p.reply = text; p.plain {
		p.reply = slices.Concat(cookie, []byte(" "), text)
	}
	return nil
}

func (p *post) receive(time.Duration) ([]byte, error) {
	reply := p.reply
	if p.reply = nil; reply == nil {
		return nil, ErrNoReply
	}
	return reply, nil
}

// frames is WebSocket with the subprotocol ng.rtpengine.com.
type frames struct{ conn *websocket.Conn }

func (f *frames) close() { _ = f.conn.CloseNow() }

func (f *frames) send(message []byte, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return f.conn.Write(ctx, websocket.MessageBinary, message)
}

func (f *frames) receive(limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, message, err := f.conn.Read(ctx)
	if ctx.Err() != nil {
		return nil, ErrNoReply
	}
	return message, err
}
