//go:build integration

package kernel

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// frame is an RTP packet in UDP, IPv4 and Ethernet, without a UDP checksum.
func frame(from, to netip.AddrPort) []byte {
	b := make([]byte, 14+20+8+12+160)
	b[12], b[13] = 8, 0
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	u := ip[20:]
	binary.BigEndian.PutUint16(u, from.Port())
	binary.BigEndian.PutUint16(u[2:], to.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	u[8], u[9], u[19] = 0x80, 8, 7
	return b
}

// BenchmarkProgram runs the program on a packet that it makes into itself.
func BenchmarkProgram(b *testing.B) {
	p, err := load(1024)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, p.close()) })
	peer, local := netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("127.0.0.1:30000")
	r := forwardRoute{
		Types: [2]uint64{1 << 8}, Ssrc: wire32(7), Source: addressOf(peer.Addr()), SourcePort: wire16(4000), Largest: 65535, Clock: 8000,
		From: addressOf(peer.Addr()), FromPort: wire16(4000), To: addressOf(local.Addr()), ToPort: wire16(30000),
	}
	in := frame(peer, local)
	for name, at := range map[string]netip.AddrPort{"forwarded": local, "unknown": peer} {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, p.remove(local))
			require.NoError(b, p.remove(peer))
			require.NoError(b, p.install(at, &r))
			p.reset(0)
			var each time.Duration
			for b.Loop() {
				const repeat = 10000
				ret, took, err := p.objects.Forward.Benchmark(in, repeat, nil)
				require.NoError(b, err)
				require.EqualValues(b, -1, int32(ret))
				each = took
			}
			b.ReportMetric(float64(each), "ns/packet")
			b.Logf("%d packets", p.count(0).Packets)
		})
	}
}
