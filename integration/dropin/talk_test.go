//go:build integration

package dropin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/zeebo/bencode"
)

// keys are the dictionary of a command.
type keys map[string]any

// with returns a copy of k with those of more.
func (k keys) with(more keys) keys {
	sum := keys{}
	for _, m := range []keys{k, more} {
		for key, value := range m {
			sum[key] = value
		}
	}
	return sum
}

// flags is a key's list of words.
func flags(words ...string) keys { return keys{"flags": words} }

const (
	replyLimit  = 3 * time.Second
	packetLimit = 2 * time.Second
	quietLimit  = 120 * time.Millisecond
)

// A conversation is what a SIP proxy and two parties do. It is held with each of
// the two daemons, so it must not depend on what is random.
type conversation struct {
	name string
	hold func(*talk)
}

// A talk is a conversation under way. What came back is in lines.
type talk struct {
	daemon   *daemon
	conn     net.Conn
	call     string // call-id
	cookies  int
	from     string
	to       string
	lines    []string
	heard    []bool // at each moment of waiting, whether a packet came
	expected []bool // what the other daemon's talk heard, nil for the first
	normal   normal
	sockets  []*socket
	browsers []*browser
}

// hold plays one conversation and returns what came back. How long to wait for a
// packet follows from what was heard when it was held before.
func hold(d *daemon, c conversation, expected []bool) (lines []string, heard []bool, err error) {
	conn, err := d.dial(ngAddress)
	if err != nil {
		return nil, nil, err
	}
	t := &talk{daemon: d, conn: conn, call: "call-" + strings.ReplaceAll(c.name, " ", "_"), from: "from-tag", to: "to-tag", expected: expected}
	defer func() {
		if r := recover(); r != nil {
			stop, ok := r.(stopped)
			if !ok {
				panic(r)
			}
			err = stop.err
		}
		lines, heard = t.lines, t.heard
		for _, b := range t.browsers {
			b.close()
		}
		for _, s := range t.sockets {
			_ = s.conn.Close()
		}
		if _, e := t.exchange(keys{"command": "delete", "call-id": t.call, "delete-delay": 0}); err == nil {
			err = e
		}
		_ = conn.Close()
	}()
	c.hold(t)
	return t.lines, t.heard, nil
}

// patience is how long to wait for a packet that need not come.
func (t *talk) patience() time.Duration {
	switch at := len(t.heard); {
	case t.expected == nil:
		return 2 * quietLimit
	case at < len(t.expected) && t.expected[at]:
		return packetLimit / 2
	}
	return quietLimit
}

// stopped ends a conversation early.
type stopped struct{ err error }

func (t *talk) stop(format string, args ...any) { panic(stopped{fmt.Errorf(format, args...)}) }

func (t *talk) record(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

// exchange sends a command and returns its reply.
func (t *talk) exchange(k keys) (map[string]any, error) {
	body, err := bencode.EncodeBytes(map[string]any(k))
	if err != nil {
		return nil, err
	}
	return t.send(body)
}

func (t *talk) send(body []byte) (map[string]any, error) {
	t.cookies++
	cookie := fmt.Sprintf("%s-%d-%d", t.call, t.cookies, time.Now().UnixNano())
	if _, err := t.conn.Write([]byte(cookie + " " + string(body))); err != nil {
		return nil, err
	}
	_ = t.conn.SetReadDeadline(time.Now().Add(replyLimit))
	buffer := make([]byte, 65535)
	for {
		n, err := t.conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		got, rest, _ := bytes.Cut(buffer[:n], []byte(" "))
		if string(got) != cookie {
			continue
		}
		reply := map[string]any{}
		if bytes.HasPrefix(rest, []byte("{")) {
			return reply, json.Unmarshal(rest, &reply)
		}
		return reply, bencode.DecodeBytes(rest, &reply)
	}
}

// ask sends a command with the conversation's call-id (unless k has one; nil
// leaves a key out) and records the reply.
func (t *talk) ask(command string, k keys) map[string]any {
	all := keys{"command": command, "call-id": t.call}.with(k)
	for key, value := range all {
		if value == nil {
			delete(all, key)
		}
	}
	reply, err := t.exchange(all)
	t.record("> %s", command)
	t.reply(reply, err)
	return reply
}

func (t *talk) reply(reply map[string]any, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.record("no reply")
		return
	}
	if err != nil {
		t.stop("%v", err)
	}
	t.lines = append(t.lines, t.normal.reply(reply)...)
}

// offer sends an offer that has to succeed.
func (t *talk) offer(sdp string, k ...keys) description {
	return t.describe("offer", keys{"from-tag": t.from}, sdp, k)
}

// answer sends an answer that has to succeed.
func (t *talk) answer(sdp string, k ...keys) description {
	return t.describe("answer", keys{"from-tag": t.from, "to-tag": t.to}, sdp, k)
}

func (t *talk) describe(command string, all keys, sdp string, more []keys) description {
	body := crlf(sdp)
	t.normal.sent(body)
	all["sdp"] = body
	for _, k := range more {
		all = all.with(k)
	}
	reply := t.ask(command, all)
	text, _ := reply["sdp"].(string)
	if reply["result"] != "ok" || text == "" {
		t.stop("%s got %v", command, reply)
	}
	return parse(text)
}

// again ends the call, so that the next offer opens a new one.
func (t *talk) again() {
	if _, err := t.exchange(keys{"command": "delete", "call-id": t.call, "delete-delay": 0}); err != nil {
		t.stop("delete: %v", err)
	}
}

// reverse makes the other party the one that offers next.
func (t *talk) reverse() { t.from, t.to = t.to, t.from }

func crlf(text string) string {
	text = strings.TrimLeft(text, "\n")
	return strings.ReplaceAll(text, "\n", "\r\n")
}
