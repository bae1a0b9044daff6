package connect

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/ice/v3"
	"github.com/stretchr/testify/require"
)

func TestParseCandidate(t *testing.T) {
	got, err := ParseCandidate("candidate:842163049 1 udp 1677729535 203.0.113.9 61000 typ srflx raddr 10.0.0.2 rport 61000 generation 0 ufrag x network-cost 999")
	require.NoError(t, err)
	require.Equal(t, Candidate{"842163049", 1, 1677729535, netip.MustParseAddrPort("203.0.113.9:61000"), "srflx"}, got)
	got, err = ParseCandidate("1 2 UDP 1 2001:db8::1 9 typ host")
	require.NoError(t, err)
	require.Equal(t, netip.MustParseAddrPort("[2001:db8::1]:9"), got.Address)
	for _, bad := range []string{
		"", "1 1 udp", "1 1 tcp 1 192.0.2.1 9 typ host tcptype active", "1 0 udp 1 192.0.2.1 9 typ host", "1 257 udp 1 192.0.2.1 9 typ host",
		"1 1 udp -1 192.0.2.1 9 typ host", "1 1 udp 4294967296 192.0.2.1 9 typ host", "1 1 udp 1 abc.local 9 typ host", "1 1 udp 1 0.0.0.0 9 typ host",
		"1 1 udp 1 192.0.2.1 0 typ host", "1 1 udp 1 192.0.2.1 65536 typ host", "1 1 udp 1 192.0.2.1 9 typ other", "1 1 udp 1 192.0.2.1 9 host typ",
		"1 1 udp 1 224.0.0.1 9 typ host", strings.Repeat("f", 33) + " 1 udp 1 192.0.2.1 9 typ host",
	} {
		_, err := ParseCandidate(bad)
		require.ErrorIs(t, err, ErrCandidate, bad)
	}
}

// TestHostCandidate: ours is read by pion and has the priority of RFC 8445 §5.1.2.
func TestHostCandidate(t *testing.T) {
	for component, priority := range map[uint16]uint32{1: 2130706431, 2: 2130706430} {
		ours := HostCandidate(netip.MustParseAddrPort("203.0.113.9:4000"), component)
		require.Equal(t, priority, ours.Priority)
		again, err := ParseCandidate(ours.String())
		require.NoError(t, err)
		require.Equal(t, ours, again)
		theirs, err := ice.UnmarshalCandidate(ours.String())
		require.NoError(t, err)
		require.Equal(t, "203.0.113.9", theirs.Address())
		require.Equal(t, 4000, theirs.Port())
		require.Equal(t, component, theirs.Component())
	}
	a, b := HostCandidate(netip.MustParseAddrPort("203.0.113.9:4000"), 1), HostCandidate(netip.MustParseAddrPort("203.0.113.10:4000"), 1)
	require.NotEqual(t, a.Foundation, b.Foundation)
}

func FuzzParseCandidate(f *testing.F) {
	f.Add("candidate:842163049 1 udp 1677729535 203.0.113.9 61000 typ srflx raddr 10.0.0.2 rport 61000 generation 0")
	f.Add("1 2 UDP 1 fe80::1%eth0 9 typ host")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ParseCandidate(line)
		if err != nil {
			return
		}
		if !c.Address.IsValid() || c.Address.Port() == 0 {
			t.Fatalf("%q: no address", line)
		}
		if _, err := c.pion(); err != nil {
			t.Fatalf("%q: pion: %v", line, err)
		}
		again, err := ParseCandidate(c.String())
		if err != nil || again != c {
			t.Fatalf("%q: written as %q: %v", line, c, err)
		}
	})
}
