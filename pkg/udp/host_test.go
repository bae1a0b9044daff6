package udp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostPorts(t *testing.T) {
	bind := func(network, addr string) netip.AddrPort {
		a, err := net.ResolveUDPAddr(network, addr)
		require.NoError(t, err)
		c, err := net.ListenUDP(network, a)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	at := func(addr string, p netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addr), p.Port())
	}
	v4, v6 := bind("udp4", "127.0.0.3:0"), bind("udp6", "[::1]:0")
	all4, both := bind("udp4", "0.0.0.0:0"), bind("udp", "[::]:0")
	mapped, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:127.0.0.4]:0")))
	require.NoError(t, err)
	defer mapped.Close()
	connected, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.3:0")), net.UDPAddrFromAddrPort(v4))
	require.NoError(t, err)
	defer connected.Close()

	h, err := ReadHostPorts()
	require.NoError(t, err)
	require.True(t, h.Has(v4))
	require.True(t, h.Has(v6))
	require.True(t, h.Has(at("127.0.0.1", all4)))
	require.True(t, h.Has(at("192.0.2.1", all4)))
	require.True(t, h.Has(at("127.0.0.1", both)))
	require.True(t, h.Has(at("fe80::1%lo", both)))
	require.True(t, h.Has(at("127.0.0.4", mapped.LocalAddr().(*net.UDPAddr).AddrPort())))
	require.False(t, h.Has(connected.LocalAddr().(*net.UDPAddr).AddrPort()))

	// Other tests' sockets may be anywhere: what is not there is looked for on addresses that nobody has.
	only := &HostPorts{definite: map[netip.AddrPort]struct{}{}}
	for _, line := range []string{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops",
		" 9: 0100007F:7530 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0",
		" 9: 0100007F:7532 0200007F:7530 01 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0",
		" 9: 00000000000000000000000001000000:7534 00000000000000000000000000000000:0000 07 0:0",
		"", "garbage", "1: 2 0", "1: zz:0 0:0", "1: 0100007F:zz 0:0", "1: 01:1 0:0",
	} {
		only.add(line)
	}
	require.Len(t, only.definite, 2)
	little := netip.MustParseAddrPort("127.0.0.1:30000") // the lines above are of a little-endian host
	if _, ok := only.definite[little]; ok {
		require.False(t, only.Has(at("127.0.0.2", little)))
		require.False(t, only.Has(netip.MustParseAddrPort("127.0.0.1:30001")))
		require.True(t, only.Has(netip.MustParseAddrPort("[::1]:30004")))
	}
}

func BenchmarkReadHostPorts(b *testing.B) {
	for b.Loop() {
		if _, err := ReadHostPorts(); err != nil {
			b.Fatal(err)
		}
	}
}
