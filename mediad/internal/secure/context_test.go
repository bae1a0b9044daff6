package secure

import (
	"encoding/binary"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
)

func allSuites() []Suite { return Suites() }

func packet(t testing.TB, ssrc uint32, seq uint16) []byte {
	t.Helper()
	b, err := (&rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: seq, Timestamp: uint32(seq) * 160, SSRC: ssrc},
		Payload: []byte("a hundred and sixty bytes of sound, or nearly so"),
	}).Marshal()
	require.NoError(t, err)
	return b
}

func report(t testing.TB, ssrc uint32) []byte {
	t.Helper()
	b, err := (&rtcp.SenderReport{SSRC: ssrc, RTPTime: 7, PacketCount: 8, OctetCount: 9}).Marshal()
	require.NoError(t, err)
	return b
}

// room copies a packet into a buffer that has space for protection.
func room(pkt []byte) []byte { return append(make([]byte, 0, len(pkt)+Overhead), pkt...) }

func contexts(t testing.TB, k Key) (*Outbound, *Inbound) {
	t.Helper()
	out, err := NewOutbound(k)
	require.NoError(t, err)
	in, err := NewInbound(k)
	require.NoError(t, err)
	return out, in
}

// TestSuites checks each suite that pion has in both directions against a context of pion's own, with its default handling of buffers.
func TestSuites(t *testing.T) {
	for _, suite := range allSuites() {
		if suite.facts().profile == 0 {
			continue // classic_test.go
		}
		t.Run(suite.String(), func(t *testing.T) {
			key, err := NewKey(suite)
			require.NoError(t, err)
			f := suite.facts()
			reference := func() *srtp.Context {
				c, err := srtp.CreateContext(key.Master[:f.key], key.Master[f.key:], f.profile)
				require.NoError(t, err)
				return c
			}
			out, in := contexts(t, key)
			theirsIn, theirsOut := reference(), reference()
			plain, sr := packet(t, 1, 65534), report(t, 1)

			protected, err := out.ProtectRTP(nil, plain)
			require.NoError(t, err)
			got, err := theirsIn.DecryptRTP(nil, protected, nil)
			require.NoError(t, err)
			require.Equal(t, plain, got)
			require.LessOrEqual(t, len(protected)-len(plain), Overhead)

			protected, err = theirsOut.EncryptRTP(nil, plain, nil)
			require.NoError(t, err)
			inPlace := room(protected)
			got, err = in.UnprotectRTP(inPlace[:0], inPlace)
			require.NoError(t, err)
			require.Equal(t, plain, got)

			protected, err = out.ProtectRTCP(nil, sr)
			require.NoError(t, err)
			got, err = theirsIn.DecryptRTCP(nil, protected, nil)
			require.NoError(t, err)
			require.Equal(t, sr, got)
			require.LessOrEqual(t, len(protected)-len(sr), Overhead)

			protected, err = theirsOut.EncryptRTCP(nil, sr, nil)
			require.NoError(t, err)
			inPlace = room(protected)
			got, err = in.UnprotectRTCP(inPlace[:0], inPlace)
			require.NoError(t, err)
			require.Equal(t, sr, got)
		})
	}
}

// TestInPlace protects and unprotects in one buffer, over the wrap of the sequence number.
func TestInPlace(t *testing.T) {
	for _, suite := range allSuites() {
		t.Run(suite.String(), func(t *testing.T) {
			key, err := NewKey(suite)
			require.NoError(t, err)
			out, in := contexts(t, key)
			seq := uint16(65500)
			for range 100 {
				plain := packet(t, 9, seq)
				buf := room(plain)
				protected, err := out.ProtectRTP(buf[:0], buf)
				require.NoError(t, err)
				require.Same(t, &buf[0], &protected[0])
				if suite < NullHMAC80 {
					require.NotContains(t, string(protected), "sixty bytes")
				}
				got, err := in.UnprotectRTP(protected[:0], protected)
				require.NoError(t, err, "sequence %d", seq)
				require.Equal(t, plain, got)
				seq++
			}
			require.Equal(t, uint64(1), in.rtp.find(9).highest>>16, "rollover counter")
		})
	}
}

func TestReplayIsRefused(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	out, in := contexts(t, key)
	protected, err := out.ProtectRTP(nil, packet(t, 1, 10))
	require.NoError(t, err)
	_, err = in.UnprotectRTP(nil, protected)
	require.NoError(t, err)
	_, err = in.UnprotectRTP(nil, protected)
	require.Error(t, err)
	control, err := out.ProtectRTCP(nil, report(t, 1))
	require.NoError(t, err)
	_, err = in.UnprotectRTCP(nil, control)
	require.NoError(t, err)
	_, err = in.UnprotectRTCP(nil, control)
	require.Error(t, err)
}

// TestForgeryIsRefused flips each bit of a packet, and uses another key.
func TestForgeryIsRefused(t *testing.T) {
	for _, suite := range allSuites() {
		key, err := NewKey(suite)
		require.NoError(t, err)
		out, in := contexts(t, key)
		protected, err := out.ProtectRTP(nil, packet(t, 1, 10))
		require.NoError(t, err)
		for bit := range 8 * len(protected) {
			forged := append([]byte(nil), protected...)
			forged[bit/8] ^= 1 << (bit % 8)
			_, err := in.UnprotectRTP(nil, forged)
			require.Error(t, err, "%s: bit %d", suite, bit)
		}
		for n := range len(protected) {
			_, err := in.UnprotectRTP(nil, protected[:n])
			require.Error(t, err, "%s: cut to %d", suite, n)
		}
		_, err = in.UnprotectRTP(nil, protected)
		require.NoError(t, err, "%s: forgeries must not use up the sequence number", suite)
		other, err := NewKey(suite)
		require.NoError(t, err)
		_, stranger := contexts(t, other)
		_, err = stranger.UnprotectRTP(nil, protected)
		require.Error(t, err)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	key, err := NewKey(AEADAES128GCM)
	require.NoError(t, err)
	out, in := contexts(t, key)
	sender, err := srtp.CreateContext(key.Master[:16], key.Master[16:], srtp.ProtectionProfileAeadAes128Gcm)
	require.NoError(t, err)
	for ssrc := range uint32(maxSSRCs + 10) {
		_, err := out.ProtectRTP(nil, packet(t, ssrc, 1))
		protected, encErr := sender.EncryptRTP(nil, packet(t, ssrc, 1), nil)
		require.NoError(t, encErr)
		_, inErr := in.UnprotectRTP(nil, protected)
		_, ctlErr := out.ProtectRTCP(nil, report(t, ssrc))
		if ssrc < maxSSRCs {
			require.NoError(t, err)
			require.NoError(t, inErr)
			require.NoError(t, ctlErr)
			continue
		}
		require.ErrorIs(t, err, ErrTooManySources)
		require.ErrorIs(t, inErr, ErrTooManySources)
		require.ErrorIs(t, ctlErr, ErrTooManySources)
	}
	_, err = out.ProtectRTP(nil, packet(t, 5, 2))
	require.NoError(t, err, "known sources go on")
}

// TestForgedSourcesTakeNoRoom: only authenticated packets make state.
func TestForgedSourcesTakeNoRoom(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	out, in := contexts(t, key)
	for ssrc := range uint32(2 * maxSSRCs) {
		_, err := in.UnprotectRTP(nil, append(packet(t, ssrc, 1), make([]byte, 10)...))
		require.Error(t, err)
	}
	protected, err := out.ProtectRTP(nil, packet(t, 1<<31, 1))
	require.NoError(t, err)
	_, err = in.UnprotectRTP(nil, protected)
	require.NoError(t, err)
}

func TestUnencryptedKeepsAuthentication(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	key.UnencryptedSRTP, key.UnencryptedSRTCP = true, true
	out, in := contexts(t, key)
	protected, err := out.ProtectRTP(nil, packet(t, 1, 1))
	require.NoError(t, err)
	require.Contains(t, string(protected), "sixty bytes")
	protected[14] ^= 1
	_, err = in.UnprotectRTP(nil, protected)
	require.Error(t, err)
	protected[14] ^= 1
	_, err = in.UnprotectRTP(nil, protected)
	require.NoError(t, err)
}

func TestMKI(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	key.MKI = []byte{0, 0, 0, 7}
	out, in := contexts(t, key)
	plain := packet(t, 1, 1)
	protected, err := out.ProtectRTP(nil, plain)
	require.NoError(t, err)
	require.Len(t, protected, len(plain)+4+10)
	got, err := in.UnprotectRTP(nil, protected)
	require.NoError(t, err)
	require.Equal(t, plain, got)
}

func TestMalformedPackets(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	out, in := contexts(t, key)
	for n := range 12 {
		pkt := make([]byte, n)
		if n > 0 {
			pkt[0] = 0x80
		}
		_, err := out.ProtectRTP(nil, pkt)
		require.Error(t, err)
		_, err = in.UnprotectRTP(nil, pkt)
		require.Error(t, err)
		_, err = in.UnprotectRTCP(nil, pkt)
		require.Error(t, err)
	}
}

// TestNoAllocation: the packet path must not make garbage, whatever the suite.
func TestNoAllocation(t *testing.T) {
	for _, suite := range allSuites() {
		t.Run(suite.String(), func(t *testing.T) {
			key, err := NewKey(suite)
			require.NoError(t, err)
			out, in := contexts(t, key)
			buf := make([]byte, 0, 1500)
			plain := packet(t, 1, 0)
			seq := uint16(0)
			rtpAllocs := testing.AllocsPerRun(500, func() {
				seq++
				b := append(buf[:0], plain...)
				binary.BigEndian.PutUint16(b[2:], seq)
				p, err := out.ProtectRTP(b[:0], b)
				if err == nil {
					_, err = in.UnprotectRTP(p[:0], p)
				}
				if err != nil {
					panic(err)
				}
			})
			sr := report(t, 1)
			rtcpAllocs := testing.AllocsPerRun(500, func() {
				b := append(buf[:0], sr...)
				p, err := out.ProtectRTCP(b[:0], b)
				if err == nil {
					_, err = in.UnprotectRTCP(p[:0], p)
				}
				if err != nil {
					panic(err)
				}
			})
			if raceEnabled { // the race detector makes crypto/sha1 allocate
				return
			}
			require.Zero(t, rtpAllocs, "RTP")
			require.Zero(t, rtcpAllocs, "RTCP")
		})
	}
}
