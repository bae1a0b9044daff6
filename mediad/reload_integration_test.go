//go:build integration

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReloadsUnderLoad changes the interfaces again and again while calls are
// made: no command fails, and a stream of packets goes through without a gap.
func TestReloadsUnderLoad(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const control = "127.0.0.1:2223"
	file := filepath.Join(t.TempDir(), "m.conf")
	write := func(i int) {
		interfaces := "203.0.113.1 ; pub:1/203.0.113.2 ; pub:2/198.51.100.10"
		if i%2 == 1 {
			interfaces = "198.51.100.10 ; pub:1/203.0.113.1 ; six/2001:db8:4321::1"
		}
		text := fmt.Sprintf("[rtpengine]\ninterface = %s\nlisten-ng = 2223\ntimeout = %d\nlog-stderr = true\nforeground = true\ndelete-delay = 0\n",
			interfaces, 30+i)
		if i%7 == 3 {
			text += "a mistake\n"
		}
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	write(0)
	r := startWith(t, control, "--config-file="+file)
	stream := startStream(t, control)
	for i := range 60 {
		write(i)
		require.NoError(t, r.cmd.Process.Signal(syscall.SIGHUP))
		for j := range 3 {
			id := fmt.Sprintf("%d-%d", i, j)
			for _, c := range []map[string]any{
				{"command": "offer", "direction": []string{"pub", "pub"}},
				{"command": "answer", "to-tag": "b"},
				{"command": "offer", "to-tag": "b"},
				{"command": "delete"},
			} {
				c["call-id"], c["from-tag"], c["sdp"] = id, "a", body("198.51.100.10", 4000)
				reply, err := ask(control, c)
				require.NoError(t, err)
				require.Equal(t, "ok", reply["result"], "%v: %v", c, reply)
			}
		}
	}
	stream.stop()
	r.stop()
	require.Contains(t, r.log.String(), "configuration reloaded")
	require.Contains(t, r.log.String(), "not reloaded, the old one stays in force")
}

func body(address string, port int) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", address, address, port)
}

// stream is packets that go through a call, one way.
type stream struct {
	t        *testing.T
	from, to *net.UDPConn
	relay    *net.UDPAddr
	end      chan struct{}
	sent     chan int
}

// startStream makes a call and sends packets through it.
func startStream(t *testing.T, control string) *stream {
	t.Helper()
	s := &stream{t: t, end: make(chan struct{}), sent: make(chan int, 1)}
	for _, c := range []**net.UDPConn{&s.from, &s.to} {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(198, 51, 100, 10)})
		require.NoError(t, err)
		*c = conn
	}
	portOf := func(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }
	reply, err := ask(control, map[string]any{
		"command": "offer", "call-id": "stream", "from-tag": "a", "sdp": body("198.51.100.10", portOf(s.to)),
	})
	require.NoError(t, err)
	var port int
	var address string
	text := reply["sdp"].(string)
	_, err = fmt.Sscanf(text[mediaLine.FindStringIndex(text)[0]:], "m=audio %d", &port)
	require.NoError(t, err)
	address = connectionLine.FindStringSubmatch(text)[1]
	_, err = ask(control, map[string]any{
		"command": "answer", "call-id": "stream", "from-tag": "a", "to-tag": "b", "sdp": body("198.51.100.10", portOf(s.from)),
	})
	require.NoError(t, err)
	s.relay = &net.UDPAddr{IP: net.ParseIP(address), Port: port}
	go s.send()
	return s
}

func (s *stream) send() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	packet := make([]byte, 172)
	packet[0], packet[1] = 0x80, 8
	for n := 0; ; n++ {
		select {
		case <-s.end:
			s.sent <- n
			return
		case <-tick.C:
			packet[2], packet[3] = byte(n>>8), byte(n)
			_, _ = s.from.WriteToUDP(packet, s.relay)
		}
	}
}

// stop ends the stream and counts what has come through.
func (s *stream) stop() {
	s.t.Helper()
	time.Sleep(100 * time.Millisecond)
	close(s.end)
	sent := <-s.sent
	require.NoError(s.t, s.to.SetReadDeadline(time.Now().Add(time.Second)))
	buf := make([]byte, 2000)
	heard := 0
	for heard < sent {
		if _, err := s.to.Read(buf); err != nil {
			break
		}
		heard++
	}
	require.Greater(s.t, sent, 50)
	require.Equal(s.t, sent, heard, "packets were lost")
	s.from.Close()
	s.to.Close()
}
