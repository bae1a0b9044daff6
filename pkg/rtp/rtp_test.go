package rtp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeaderLen(t *testing.T) {
	fixed := []byte{0x80, 0x88, 0x12, 0x34, 0, 0, 1, 2, 0xde, 0xad, 0xbe, 0xef}
	for _, tc := range []struct {
		name string
		pkt  []byte
		n    int
		ok   bool
	}{
		{"fixed header alone", fixed, 12, true},
		{"one byte short", fixed[:11], 0, false},
		{"empty", nil, 0, false},
		{"version 1", append([]byte{0x40}, fixed[1:]...), 0, false},
		{"two CSRCs", append(append([]byte{0x82}, fixed[1:]...), make([]byte, 8)...), 20, true},
		{"CSRC list cut", append(append([]byte{0x82}, fixed[1:]...), make([]byte, 7)...), 0, false},
		{"extension of one word", append(append([]byte{0x90}, fixed[1:]...), 0xbe, 0xde, 0, 1, 0, 0, 0, 0), 20, true},
		{"extension header cut", append(append([]byte{0x90}, fixed[1:]...), 0xbe, 0xde, 0), 0, false},
		{"extension body cut", append(append([]byte{0x90}, fixed[1:]...), 0xbe, 0xde, 0, 1, 0), 0, false},
		{"extension longer than any packet", append(append([]byte{0x90}, fixed[1:]...), 0xbe, 0xde, 0xff, 0xff), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, ok := Packet(tc.pkt).HeaderLen()
			require.Equal(t, tc.ok, ok)
			require.Equal(t, tc.n, n)
		})
	}
}

func TestFields(t *testing.T) {
	p := Packet{0xa0, 0x88, 0x12, 0x34, 0, 0, 1, 2, 0xde, 0xad, 0xbe, 0xef, 'a', 'b', 0, 2}
	require.True(t, p.Valid())
	require.True(t, p.Marker())
	require.Equal(t, uint8(8), p.PayloadType())
	require.Equal(t, uint16(0x1234), p.Sequence())
	require.Equal(t, uint32(0x0102), p.Timestamp())
	require.Equal(t, uint32(0xdeadbeef), p.SSRC())
	require.Equal(t, "ab", string(p.Payload()), "padding does not belong to the payload")
	p[15] = 5
	require.Nil(t, p.Payload(), "padding longer than what follows the header")
	p[15] = 0
	require.Nil(t, p.Payload(), "padding of no length")
}

func TestRTCPValid(t *testing.T) {
	rr := RTCP{0x80, 201, 0, 1, 1, 2, 3, 4}
	require.True(t, rr.Valid())
	require.Equal(t, uint8(201), rr.Type())
	require.Equal(t, uint32(0x01020304), rr.SSRC())
	require.False(t, rr[:7].Valid())
	require.False(t, RTCP{0x80, 201, 0, 2, 1, 2, 3, 4}.Valid(), "longer than the datagram")
	require.False(t, RTCP{0x00, 201, 0, 1, 1, 2, 3, 4}.Valid(), "version 0")
}

// TestClassify walks over all first bytes (RFC 7983 §7) and all second bytes (RFC 5761 §4).
func TestClassify(t *testing.T) {
	pkt := make([]byte, 20)
	for b := range 256 {
		pkt[0], pkt[1] = byte(b), 0
		want := Unknown
		switch {
		case b <= 3:
			want = STUN
		case b >= 16 && b <= 19:
			want = ZRTP
		case b >= 20 && b <= 63:
			want = DTLS
		case b >= 64 && b <= 79:
			want = TURNChannel
		case b >= 128 && b <= 191:
			want = Media
		}
		require.Equal(t, want, Classify(pkt), "first byte %d", b)
	}
	pkt[0] = 0x80
	for b := range 256 {
		pkt[1] = byte(b)
		want := Media
		if b >= 192 && b <= 223 {
			want = Control
		}
		require.Equal(t, want, Classify(pkt), "second byte %d", b)
	}
	require.Equal(t, Unknown, Classify(nil))
	require.Equal(t, Unknown, Classify([]byte{0x80}))
	require.Equal(t, Unknown, Classify(make([]byte, 0)))
	require.Equal(t, Control, Classify([]byte{0x80, 201, 0, 1, 1, 2, 3, 4}))
	require.Equal(t, Unknown, Classify([]byte{0x80, 0, 0, 1, 1, 2, 3, 4}), "too short for RTP")
}

func TestSequence(t *testing.T) {
	require.Equal(t, 1, SequenceDistance(65535, 0))
	require.Equal(t, -1, SequenceDistance(0, 65535))
	require.Equal(t, 0, SequenceDistance(7, 7))
	require.True(t, SequenceAfter(65530, 5))
	require.False(t, SequenceAfter(5, 65530))
	require.False(t, SequenceAfter(5, 5))
}

func TestNoAllocation(t *testing.T) {
	p := []byte{0x90, 0x88, 0x12, 0x34, 0, 0, 1, 2, 0xde, 0xad, 0xbe, 0xef, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 'a'}
	var sink int
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if Classify(p) == Media && Packet(p).Valid() {
			sink += len(Packet(p).Payload()) + int(Packet(p).Sequence())
		}
	}))
	require.NotZero(t, sink)
}

// FuzzPacket checks that no datagram makes the views read outside of it, and that what they return lies inside.
func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x80, 0x88, 0x12, 0x34, 0, 0, 1, 2, 0xde, 0xad, 0xbe, 0xef})
	f.Add([]byte{0xb2, 0x60, 0x12, 0x34, 0, 0, 1, 2, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 'x', 1})
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 1})
	f.Add([]byte{0x80, 201, 0, 1, 1, 2, 3, 4})
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42})
	f.Add([]byte{22, 0xfe, 0xfd})
	f.Fuzz(func(t *testing.T, data []byte) {
		switch Classify(data) {
		case Media:
			p := Packet(data)
			n, ok := p.HeaderLen()
			if !ok {
				return
			}
			_, _, _, _, _ = p.Marker(), p.PayloadType(), p.Sequence(), p.Timestamp(), p.SSRC()
			if pt := p.PayloadType(); pt >= 64 && pt < 96 && p.Marker() {
				t.Fatalf("packet type %d of RTCP taken for RTP", data[1])
			}
			if payload := p.Payload(); n+len(payload) > len(data) {
				t.Fatalf("header %d and payload %d exceed %d", n, len(payload), len(data))
			}
		case Control:
			if p := RTCP(data); p.Valid() {
				_, _ = p.Type(), p.SSRC()
			}
		case Unknown, STUN, ZRTP, DTLS, TURNChannel:
		}
	})
}
