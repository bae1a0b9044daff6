package cli

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func serve(t *testing.T, allow func(netip.AddrPort) bool) string {
	t.Helper()
	s, err := NewServer(ServerConfig{
		Listen:  []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Execute: func(line string) string { return "<" + strings.TrimSpace(line) + ">" },
		Allow:   allow, Log: zap.NewNop(),
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s.Addrs()[0].String()
}

// ask sends the parts one after the other and returns what comes back until the
// end of the connection.
func ask(t *testing.T, addr string, parts ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	for _, p := range parts {
		_, _ = io.WriteString(conn, p)
		time.Sleep(10 * time.Millisecond)
	}
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	got, _ := io.ReadAll(conn)
	return string(got)
}

func TestOneLineAConnection(t *testing.T) {
	addr := serve(t, nil)
	require.Equal(t, "<list timeout>", ask(t, addr, "list timeout\n"))
	require.Equal(t, "<list timeout>", ask(t, addr, "list timeout\r\n"))
	require.Equal(t, "<list timeout>", ask(t, addr, "list ti", "meout\n"))
	require.Equal(t, "<list timeout>", ask(t, addr, "\n", "\r\n", "list timeout\nset timeout 1\n"))
	require.Empty(t, ask(t, addr, strings.Repeat("x", maxLine+1)))
}

func TestStrangersAreCutOff(t *testing.T) {
	addr := serve(t, func(netip.AddrPort) bool { return false })
	require.Empty(t, ask(t, addr, "list timeout\n"))
}

// Clients that say nothing hold up neither others nor the end, and there is a
// bound on them.
func TestSilentClients(t *testing.T) {
	addr := serve(t, nil)
	for range maxConnections {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
	}
	require.Eventually(t, func() bool { return ask(t, addr, "x\n") == "" }, 5*time.Second, 10*time.Millisecond)
}

func TestPortTaken(t *testing.T) {
	addr := serve(t, nil)
	_, err := NewServer(ServerConfig{Listen: []netip.AddrPort{netip.MustParseAddrPort(addr)}, Log: zap.NewNop()})
	require.ErrorContains(t, err, "listen-cli")
	require.ErrorContains(t, err, "address already in use")
}
