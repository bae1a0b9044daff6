package edge

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// closeCode reads frames until one that closes; 0 when the connection just ends.
func closeCode(t *testing.T, r *bufio.Reader) uint16 {
	t.Helper()
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0
		}
		payload := make([]byte, head[1])
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		if head[0] == final|opClose && len(payload) == 2 {
			return binary.BigEndian.Uint16(payload)
		}
	}
}

const opClose = 0x8

// What breaks RFC 6455 or the limits ends the connection with its code, and nothing of it arrives.
func TestWebSocketBounds(t *testing.T) {
	_, box, at := newEdge(t, Limits{Header: 2048, Body: 2048, Handshake: time.Second})
	big := strings.Repeat("x", 3000)
	for name, c := range map[string]struct {
		do   func(net.Conn)
		want uint16
	}{
		"too large":                 {func(c net.Conn) { frame(t, c, final|opText, big+big) }, 1009},
		"too large in two frames":   {func(c net.Conn) { frame(t, c, opText, big); frame(t, c, final|opContinue, big) }, 1009},
		"a size that overflows":     {func(c net.Conn) { _, _ = c.Write([]byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff1234")) }, 1009},
		"not masked":                {func(c net.Conn) { _, _ = c.Write([]byte{final | opText, 1, 'x'}) }, 1002},
		"a reserved opcode":         {func(c net.Conn) { frame(t, c, final|0x3, "x") }, 1002},
		"a compressed frame":        {func(c net.Conn) { frame(t, c, final|0x40|opText, "x") }, 1002},
		"a continuation of nothing": {func(c net.Conn) { frame(t, c, final|opContinue, "x") }, 1002},
		"a fragmented ping":         {func(c net.Conn) { frame(t, c, opPing, "x") }, 1002},
		"closed by the browser":     {func(c net.Conn) { frame(t, c, final|opClose, "\x03\xe9gone") }, 1001},
		"a message never completed": {func(c net.Conn) { frame(t, c, opText, "MESSAGE ") }, 0},
	} {
		conn, r, _ := websocketTo(t, at[request.WS], false, sipProtocol)
		c.do(conn)
		if got := closeCode(t, r); got != c.want {
			t.Errorf("%s: closed with %d, want %d", name, got, c.want)
		}
		<-box.closed
	}
	if len(box.in) != 0 {
		t.Errorf("%d messages arrived", len(box.in))
	}
}

// A browser that has gone without a word is found out, one that answers pings is not.
func TestPings(t *testing.T) {
	_, box, at := newEdge(t, Limits{Ping: 100 * time.Millisecond})
	dead, _, _ := websocketTo(t, at[request.WS], false, sipProtocol)
	frame(t, dead, final|opText, message("dead", ""))
	gone := box.next(t).conn
	alive, r, _ := websocketTo(t, at[request.WSS], true, sipProtocol)
	answering := make(chan struct{})
	go func() {
		defer close(answering)
		for {
			var head [2]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			_, _ = alive.Write([]byte{final | opPong, 0x80, 0, 0, 0, 0}) // until it is closed
		}
	}()
	if c := <-box.closed; c.ID() != gone.ID() {
		t.Errorf("closed: %v", c.Remote())
	}
	select {
	case c := <-box.closed:
		t.Errorf("closed as well: %v", c.Remote())
	case <-time.After(500 * time.Millisecond):
	}
	frame(t, alive, final|opText, message("alive", ""))
	box.next(t)
	_ = alive.Close()
	<-box.closed
	<-answering
}
