package app

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

// A call that is signalled by rtpproxy's old protocol carries media.
func TestCallByTheLegacyProtocol(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) {
		s.Control.Legacy = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	})
	conn, err := net.Dial("udp", d.app.Legacy()[0].String())
	require.NoError(t, err)
	defer conn.Close()
	n := 0
	say := func(command string) string {
		n++
		_, err := fmt.Fprintf(conn, "%d %s\n", n, command)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		buf := make([]byte, 1500)
		size, err := conn.Read(buf)
		require.NoError(t, err)
		return strings.TrimPrefix(string(buf[:size]), fmt.Sprintf("%d ", n))
	}
	portOf := func(answer string) (port uint16) {
		_, err := fmt.Sscanf(answer, "%d 127.0.0.1 4\n", &port)
		require.NoError(t, err, answer)
		return port
	}
	a, b := listenUDP(t), listenUDP(t)
	local := netip.MustParseAddr("127.0.0.1")
	toB := netip.AddrPortFrom(local, portOf(say(fmt.Sprintf("U call 127.0.0.1 %d from;1", portAt(a)))))
	toA := netip.AddrPortFrom(local, portOf(say(fmt.Sprintf("L call 127.0.0.1 %d from;1 to;1", portAt(b)))))
	packet := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7}, make([]byte, 160)...)
	_, err = a.WriteToUDPAddrPort(packet, toA)
	require.NoError(t, err)
	got := make([]byte, 1500)
	require.NoError(t, b.SetReadDeadline(time.Now().Add(5*time.Second)))
	size, from, err := b.ReadFromUDPAddrPort(got)
	require.NoError(t, err)
	require.Equal(t, packet, got[:size])
	require.Equal(t, toB, from)
	require.Regexp(t, `^3(600|599) 1 0 0 0\n$`, say("Q call from to"))
	require.Equal(t, "0\n", say("D call from to"))
	require.Equal(t, "E8\n", say("D other from to"))
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func portAt(conn *net.UDPConn) int { return conn.LocalAddr().(*net.UDPAddr).Port }
