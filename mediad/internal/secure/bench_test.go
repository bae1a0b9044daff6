package secure

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
)

// benchmarkSizes are the lengths in bytes of the packets that are measured: 20 ms of G.711, and a fragment of video.
func benchmarkSizes() []int { return []int{172, 1200} }

// BenchmarkProtect is the cost of encrypting and signing one RTP packet in place, by suite and length.
func BenchmarkProtect(b *testing.B) {
	for _, suite := range Suites() {
		for _, size := range benchmarkSizes() {
			b.Run(fmt.Sprintf("%s/%d", suite, size), func(b *testing.B) {
				out, err := NewOutbound(benchmarkKey(b, suite))
				require.NoError(b, err)
				buf := sized(size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for n := 0; b.Loop(); n++ {
					binary.BigEndian.PutUint16(buf[2:], uint16(n))
					if _, err := out.ProtectRTP(buf[:0], buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkUnprotect is the cost of authenticating and decrypting one SRTP packet, by suite and length. What is measured has a copy of the
// packet in it, since that is decrypted in place.
func BenchmarkUnprotect(b *testing.B) {
	for _, suite := range Suites() {
		for _, size := range benchmarkSizes() {
			b.Run(fmt.Sprintf("%s/%d", suite, size), func(b *testing.B) {
				key := benchmarkKey(b, suite)
				packets := protectedRun(b, key, size)
				in, err := NewInbound(key)
				require.NoError(b, err)
				buf := make([]byte, 0, 2048)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for n := 0; b.Loop(); n++ {
					if n%len(packets) == 0 && n > 0 { // what was seen would be a replay
						b.StopTimer()
						in, err = NewInbound(key)
						require.NoError(b, err)
						b.StartTimer()
					}
					pkt := append(buf[:0], packets[n%len(packets)]...)
					if _, err := in.UnprotectRTP(pkt[:0], pkt); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPion is what pion's contexts cost, to compare with.
func BenchmarkPion(b *testing.B) {
	for _, suite := range []Suite{AESCM12880, AEADAES128GCM, AEADAES256GCM} {
		for _, size := range benchmarkSizes() {
			key, f := benchmarkKey(b, suite), suite.facts()
			b.Run(fmt.Sprintf("protect/%s/%d", suite, size), func(b *testing.B) {
				ctx, err := srtp.CreateContext(key.Master[:f.key], key.Master[f.key:], f.profile)
				require.NoError(b, err)
				var header rtp.Header
				buf := sized(size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for n := 0; b.Loop(); n++ {
					binary.BigEndian.PutUint16(buf[2:], uint16(n))
					if _, err := ctx.EncryptRTP(buf[:0], buf, &header); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func benchmarkKey(b testing.TB, suite Suite) Key {
	key, err := NewKey(suite)
	require.NoError(b, err)
	return key
}

// sized is an RTP packet of so many bytes, with room for protection behind it.
func sized(size int) []byte {
	buf := make([]byte, size, size+Overhead)
	copy(buf, []byte{0x80, 8, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
	return buf
}

// protectedRun are SRTP packets with consecutive sequence numbers.
func protectedRun(b testing.TB, key Key, size int) [][]byte {
	out, err := NewOutbound(key)
	require.NoError(b, err)
	packets := make([][]byte, 4096)
	for n := range packets {
		buf := sized(size)
		binary.BigEndian.PutUint16(buf[2:], uint16(n))
		packets[n], err = out.ProtectRTP(nil, buf)
		require.NoError(b, err)
	}
	return packets
}

// BenchmarkNewOutbound is the cost of making a context, in time and memory.
func BenchmarkNewOutbound(b *testing.B) {
	for _, suite := range []Suite{AESCM12880, AEADAES128GCM, AEADAES256GCM} {
		b.Run(suite.String(), func(b *testing.B) {
			key := benchmarkKey(b, suite)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NewOutbound(key); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("pion/"+suite.String(), func(b *testing.B) {
			key, f := benchmarkKey(b, suite), suite.facts()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := srtp.CreateContext(key.Master[:f.key], key.Master[f.key:], f.profile); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkManyContexts is the cost of a packet among those of thousands of calls, when contexts have to come from memory.
func BenchmarkManyContexts(b *testing.B) {
	for _, suite := range []Suite{AESCM12880, AEADAES128GCM} {
		b.Run(suite.String(), func(b *testing.B) {
			contexts := make([]*Outbound, 4096)
			for i := range contexts {
				out, err := NewOutbound(benchmarkKey(b, suite))
				require.NoError(b, err)
				contexts[i] = out
			}
			buf := sized(172)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				binary.BigEndian.PutUint16(buf[2:], uint16(n/len(contexts)))
				if _, err := contexts[n%len(contexts)].ProtectRTP(buf[:0], buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
