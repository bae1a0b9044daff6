//go:build integration

package negotiate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rtpengine is Debian's daemon, the original that the differential test
// compares with.
type rtpengine struct {
	conn   net.Conn
	cookie int
}

// startRTPEngine runs the daemon with the interfaces of testOptions. It
// returns nil if the program is not installed outside of CI.
func startRTPEngine(t *testing.T) *rtpengine {
	t.Helper()
	path, err := exec.LookPath("rtpengine")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("rtpengine is not installed")
		}
		t.Log("rtpengine is not installed: nothing compared")
		return nil
	}
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	listen := probe.LocalAddr().String()
	require.NoError(t, probe.Close())

	var log bytes.Buffer
	cmd := exec.Command(path, "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=6",
		"--interface=pub/127.0.0.1!203.0.113.1", "--interface=priv/127.0.0.2!10.0.0.1", "--interface=six/::1!2001:db8::6",
		"--listen-ng="+listen, "--port-min=42000", "--port-max=47999")
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && testing.Verbose() {
			t.Log(log.String())
		}
	})
	conn, err := net.Dial("udp", listen)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	e := &rtpengine{conn: conn}
	require.Eventually(t, func() bool {
		reply, err := e.command(map[string]any{"command": "ping"})
		return err == nil && reply["result"] == "pong"
	}, 10*time.Second, 50*time.Millisecond, "rtpengine does not answer ping")
	return e
}

// command sends one command as JSON and reads its reply.
func (e *rtpengine) command(object map[string]any) (map[string]any, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	e.cookie++
	cookie := fmt.Sprintf("negotiate%d ", e.cookie)
	if _, err := e.conn.Write(append([]byte(cookie), body...)); err != nil {
		return nil, err
	}
	buffer := make([]byte, 65536)
	for {
		_ = e.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := e.conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if text, ok := strings.CutPrefix(string(buffer[:n]), cookie); ok {
			reply := map[string]any{}
			return reply, json.Unmarshal([]byte(text), &reply)
		}
	}
}

// step plays one command of a case. In ng the tags of an answer stay those of
// the offer.
func (e *rtpengine) step(callID string, s step) (string, error) {
	object := map[string]any{}
	for k, v := range s.flags {
		object[k] = v
	}
	object["command"], object["call-id"] = s.command, callID
	object["from-tag"], object["to-tag"] = s.from, s.to
	if s.command == "answer" {
		object["from-tag"], object["to-tag"] = s.to, s.from
	}
	object["sdp"] = strings.ReplaceAll(s.body, "\n", "\r\n")
	reply, err := e.command(object)
	if err != nil {
		return "", err
	}
	if reply["result"] != "ok" {
		return fmt.Sprint("error: ", reply["error-reason"]), nil
	}
	body, _ := reply["sdp"].(string)
	return body, nil
}
