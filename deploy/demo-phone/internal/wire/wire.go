// Package wire is a UDP socket that writes every SIP message it carries into a log, one JSON object a line.
package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// maxLog bounds what one Log writes, in bytes; later messages are dropped.
const maxLog = 64 << 20

// Entry is one line of the log.
type Entry struct {
	Time      time.Time `json:"time"`
	Direction string    `json:"direction"` // sent or received
	Local     string    `json:"local"`
	Remote    string    `json:"remote"`
	Start     string    `json:"start"` // request or status line
	CallID    string    `json:"callId"`
	Message   string    `json:"message"` // all of it
	Body      string    `json:"body,omitempty"`
}

// Log writes entries. A nil Log writes nothing. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	out  io.Writer
	size int
}

// NewLog makes a Log on out, which stays the caller's to close.
func NewLog(out io.Writer) *Log { return &Log{out: out} }

func (l *Log) write(direction string, local, remote net.Addr, message []byte) {
	if l == nil || len(bytes.Trim(message, "\r\n\x00")) == 0 {
		return
	}
	head, body, _ := strings.Cut(string(message), "\r\n\r\n")
	start, headers, _ := strings.Cut(head, "\r\n")
	line, err := json.Marshal(Entry{time.Now(), direction, local.String(), remote.String(), start, callID(headers), string(message), body})
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size += len(line) + 1; l.size <= maxLog {
		_, _ = l.out.Write(append(line, '\n')) // a full disk must not end calls
	}
}

func callID(headers string) string {
	for line := range strings.SplitSeq(headers, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); strings.EqualFold(name, "Call-ID") || strings.EqualFold(name, "i") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Conn is a packet socket under a Log.
type Conn struct {
	net.PacketConn
	Log *Log
}

// ReadFrom reads and logs one datagram.
func (c Conn) ReadFrom(buffer []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(buffer)
	if err == nil {
		c.Log.write("received", c.LocalAddr(), from, buffer[:n])
	}
	return n, from, err
}

// WriteTo logs and sends one datagram.
func (c Conn) WriteTo(message []byte, to net.Addr) (int, error) {
	c.Log.write("sent", c.LocalAddr(), to, message)
	return c.PacketConn.WriteTo(message, to)
}
