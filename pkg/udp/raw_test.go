package udp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// plainSum is RFC 1071 to the letter: 16-bit words in network order, one after another.
func plainSum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for len(b) >= 2 {
			sum += uint32(binary.BigEndian.Uint16(b))
			sum = sum>>16 + sum&0xffff
			b = b[2:]
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
			sum = sum>>16 + sum&0xffff
		}
	}
	return uint16(sum)
}

func TestHeadersAreWhatTheStandardsSay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ src, dst string }{
		{"192.0.2.1:30000", "198.51.100.7:4002"}, {"[2001:db8::1]:30000", "[2001:db8:ffff::7]:4002"}, {"[fe80::1%7]:65535", "[fe80::2%7]:1"},
	} {
		src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		for length := range 300 {
			pkt := make([]byte, length)
			for i := range pkt {
				pkt[i] = byte(r.Uint32())
				if length%3 == 0 {
					pkt[i] = 0xff // carries
				}
			}
			var h [v6Header + udpHeader]byte
			n := writeHeaders(&h, pkt, src, dst, 184)
			var addresses, u []byte
			if src.Addr().Is4() {
				require.Equal(t, []byte{0x45, 184, byte((28 + length) >> 8), byte(28 + length), 0, 0, 0, 0, 64, 17, 0, 0}, h[:12])
				addresses, u = h[12:20], h[20:n]
			} else {
				require.Equal(t, []byte{0x6b, 0x80, 0, 0, byte((8 + length) >> 8), byte(8 + length), 17, 64}, h[:8])
				addresses, u = h[8:40], h[40:n]
			}
			require.Equal(t, append(src.Addr().AsSlice(), dst.Addr().AsSlice()...), addresses)
			require.Equal(t, src.Port(), binary.BigEndian.Uint16(u))
			require.Equal(t, dst.Port(), binary.BigEndian.Uint16(u[2:]))
			require.Equal(t, uint16(8+length), binary.BigEndian.Uint16(u[4:]))
			require.NotZero(t, binary.BigEndian.Uint16(u[6:]), "0 stands for no checksum")
			require.Equal(t, uint16(0xffff), plainSum(addresses, []byte{0, 17}, u[4:6], u, pkt), "length %d", length)
		}
	}
}

// TestChecksumIsNeverZero: among 65,536 packets that differ in one word one has the sum whose complement is 0.
func TestChecksumIsNeverZero(t *testing.T) {
	src, dst := netip.MustParseAddrPort("192.0.2.1:30000"), netip.MustParseAddrPort("198.51.100.7:4002")
	full := 0
	for word := range 65536 {
		var h [v6Header + udpHeader]byte
		writeHeaders(&h, []byte{byte(word >> 8), byte(word)}, src, dst, 0)
		check := binary.BigEndian.Uint16(h[26:])
		require.NotZero(t, check)
		if check == 0xffff {
			full++
		}
	}
	require.Equal(t, 1, full)
}

func TestRawMessagesOfTheWrongKindAreRefused(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:5"), netip.MustParseAddrPort("[2001:db8::1]:5")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(v4.Addr().As16()), 5)
	var m rawMessage
	require.True(t, m.set(nil, v4, v4, 0, false))
	require.True(t, m.set(nil, v4, mapped, 0, false))
	require.True(t, m.set(nil, v6, v6, 0, true))
	require.False(t, m.set(nil, v4, v6, 0, false))
	require.False(t, m.set(nil, v6, v4, 0, true))
	require.False(t, m.set(nil, v6, mapped, 0, true))
	require.False(t, m.set(nil, v4, v4, 0, true))
	require.False(t, m.set(nil, v4, netip.AddrPort{}, 0, false))
	require.False(t, m.set(make([]byte, 65508), v4, v4, 0, false))
	require.True(t, m.set(make([]byte, 65507), v4, v4, 0, false))
}

// TestIntakeKnowsTheDestination of what comes to its own port; what a program hands over is tested with the program.
func TestIntakeKnowsTheDestination(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		in, err := ListenIntake(v6, 1<<20)
		require.NoError(t, err)
		sender := listen(t, map[bool]string{false: "127.0.0.1:0", true: "[::1]:0"}[v6])
		r := NewIntakeReader(4, 100, 20)
		for i := range 10 { // more than once round the reader
			require.NoError(t, sender.WriteTo([]byte{byte(i)}, in.LocalAddr()))
			require.Equal(t, 1, readIntake(t, r, in))
			require.Equal(t, in.LocalAddr(), r.Destination(0))
			require.Equal(t, sender.LocalAddr(), r.Source(0))
			require.Equal(t, []byte{byte(i)}, r.Packet(0))
		}
		allocs := testing.AllocsPerRun(100, func() {
			_ = sender.WriteTo([]byte("x"), in.LocalAddr())
			if n, _ := r.Read(in); n > 0 && r.Destination(0) != in.LocalAddr() {
				t.Error("another destination")
			}
		})
		require.Zero(t, allocs)
		dropped, err := in.Dropped()
		require.NoError(t, err)
		require.Zero(t, dropped)
		require.NoError(t, in.Close())
	}
}

func TestIntakeCountsWhatTheKernelDrops(t *testing.T) {
	in, err := ListenIntake(false, 4096)
	require.NoError(t, err)
	defer in.Close()
	sender := listen(t, "127.0.0.1:0")
	for range 100 {
		require.NoError(t, sender.WriteTo(make([]byte, 1000), in.LocalAddr()))
	}
	dropped, err := in.Dropped()
	require.NoError(t, err)
	require.Positive(t, dropped)
	r, got := NewIntakeReader(100, 1000, 0), 0
	for {
		n, err := r.Read(in)
		if err != nil {
			require.ErrorIs(t, err, ErrWouldBlock)
			break
		}
		got += n
	}
	require.Equal(t, 100, got+int(dropped))
}

func readIntake(t *testing.T, r *IntakeReader, c *Conn) int {
	t.Helper()
	waitReadable(t, c)
	n, err := r.Read(c)
	require.NoError(t, err)
	return n
}

var sink uint64

func BenchmarkChecksum(b *testing.B) {
	pkt := make([]byte, 172)
	b.Run("8 bytes at a time", func(b *testing.B) {
		for b.Loop() {
			sink += uint64(onesFold(onesSum(0, pkt)))
		}
	})
	b.Run("2 bytes at a time", func(b *testing.B) {
		for b.Loop() {
			sink += uint64(plainSum(pkt))
		}
	})
}

func BenchmarkRawMessage(b *testing.B) {
	pkt := make([]byte, 172)
	for _, c := range []struct{ name, src, dst string }{
		{"IPv4", "192.0.2.1:30000", "198.51.100.7:4002"}, {"IPv6", "[2001:db8::1]:30000", "[2001:db8:ffff::7]:4002"},
	} {
		src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		b.Run(c.name, func(b *testing.B) {
			w := NewRawWriter(&RawConn{v6: src.Addr().Is6()}, 64)
			for b.Loop() {
				if w.Full() {
					w.items = w.items[:0]
				}
				w.Add(pkt, src, dst, 184, 0)
			}
		})
	}
}
