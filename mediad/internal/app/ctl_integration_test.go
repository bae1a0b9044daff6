//go:build integration

package app

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

// ctl runs Debian's rtpengine-ctl against a CLI.
func ctl(t *testing.T, port uint16, words ...string) string {
	t.Helper()
	out, err := exec.Command("rtpengine-ctl", append([]string{"-ip", "127.0.0.1", "-port", fmt.Sprint(port)}, words...)...).Output()
	require.NoError(t, err, "rtpengine-ctl %v", words)
	return string(out)
}

// original starts Debian's rtpengine and returns the port of its CLI.
func original(t *testing.T) uint16 {
	t.Helper()
	free := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	port := free()
	cmd := exec.Command("rtpengine", "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=6",
		"--interface=127.0.0.1", fmt.Sprintf("--listen-ng=127.0.0.1:%d", free()), fmt.Sprintf("--listen-cli=127.0.0.1:%d", port),
		"--port-min=21000", "--port-max=21099")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 10*time.Second, 50*time.Millisecond)
	return uint16(port)
}

// Debian's tool gets the same answers from both daemons.
func TestRtpengineCtlAgainstBoth(t *testing.T) {
	reference := original(t)
	d := startDaemon(t, func(s *settings.Settings) {
		s.Control.CLI = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		s.Limits = settings.Defaults().Limits
		s.Network.AutoPortRange, s.Network.PortMin, s.Network.PortMax = 0, 21100, 21199
	})
	port := d.app.CLI()[0].Port()
	for line := range strings.SplitSeq(`list
list help
set help
params help
list numsessions
list maxsessions
list maxcpu
list maxload
list maxbw
list timeout
list silenttimeout
list offertimeout
list finaltimeout
list deletedelay
list controltos
list redisallowederrors
list redisdisabletime
list redisconnecttimeout
list rediscmdtimeout
list transcoders
list counters
list sessions
list sessions all
list sessions own
list sessions foreign
list sessions nobody
set
set timeout
set timeout 61
set timeout x
set timeout -1
get timeout
set silenttimeout 3601
set offertimeout 3602
set finaltimeout 3603
set maxsessions 5
set maxsessions -1
set maxsessions -2
set maxcpu 12.5
set maxload 1.25
set maxload x
set deletedelay 31
set deletedelay x
list deletedelay
terminate
terminate all
terminate own
terminate foreign
terminate nobody
call
call nobody
debug
debug nobody
params
params nonsense
kslist
active
standby
usage
nonsense`, "\n") {
		require.Equal(t, ctl(t, reference, strings.Fields(line)...), ctl(t, port, strings.Fields(line)...), line)
	}
	// Beside the ranges, which cannot be the same at a time.
	require.Equal(t, strings.ReplaceAll(ctl(t, reference, "list", "interfaces"), "21000 - 21099", "21100 - 21199"), ctl(t, port, "list", "interfaces"))
	require.Contains(t, ctl(t, port, "list", "jsonstats"), `"controlstatistics":{"proxies":[],"totalpingcount":0,`)
	require.Contains(t, ctl(t, port, "list", "totals"), "\n Total managed sessions                          :0\n")
}
