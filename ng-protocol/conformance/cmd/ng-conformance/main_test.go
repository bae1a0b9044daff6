package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parrot is a daemon that says pong to everything.
func parrot(t *testing.T) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			cookie, _, _ := strings.Cut(string(buffer[:n]), " ")
			_, _ = conn.WriteTo(fmt.Appendf(nil, "%s d6:result4:ponge", cookie), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return "udp:" + conn.LocalAddr().String()
}

func TestRun(t *testing.T) {
	target := parrot(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("own.txt", "## good\n> ping\n< pong\n\n## bad\n> query\n< ok\n")
	request := write("request.text", "## a\n> ping\n")
	needed := write("needed", "- own: bad | result: ok | r\n+ own: bad | result: pong | r\n")
	stale := write("stale", "- * | a=never | r\n")

	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"one fails":         {[]string{"-v", target}, 1, "pass own: good\nFAIL own: bad\n    own.txt:6: reply to query"},
		"a part passes":     {[]string{"-only", "good", target}, 0, "1 of 1 scenarios pass"},
		"accepted":          {[]string{"-exceptions", needed, target}, 0, "2 of 2 scenarios pass"},
		"stale":             {[]string{"-exceptions", stale, target}, 1, "stale exception"},
		"differential":      {[]string{"-reference", target, target}, 0, "2 of 2 scenarios pass"},
		"record":            {[]string{"-record", request, target}, 0, "## a\n> ping\n< pong\n"},
		"no target":         {nil, 2, ""},
		"unknown transport": {[]string{"sctp:127.0.0.1:1"}, 1, "is not udp:host:port"},
		"no scenario":       {[]string{"-only", "nonsense", target}, 2, ""},
	} {
		var out, errOut bytes.Buffer
		code := run(append([]string{"-scenarios", dir}, c.args...), &out, &errOut)
		require.Equal(t, c.code, code, "%s: %s%s", name, &out, &errOut)
		require.Contains(t, out.String(), c.says, name)
	}
}
