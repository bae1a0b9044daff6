package secure

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
)

// pionContext is a context of pion's for the same key, which is the oracle for ours.
func pionContext(t testing.TB, k Key, receives bool) *srtp.Context {
	t.Helper()
	f := k.Suite.facts()
	var opts []srtp.ContextOption
	if receives {
		opts = append(opts, srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	}
	if len(k.MKI) > 0 {
		opts = append(opts, srtp.MasterKeyIndicator(k.MKI))
	}
	if k.UnencryptedSRTP {
		opts = append(opts, srtp.SRTPNoEncryption())
	}
	if k.UnencryptedSRTCP {
		opts = append(opts, srtp.SRTCPNoEncryption())
	}
	ctx, err := srtp.CreateContext(k.Master[:f.key], k.Master[f.key:], f.profile, opts...)
	require.NoError(t, err)
	return ctx
}

// variants are the keys of each suite that pion has, with the options that it has.
func variants(t *testing.T) map[string]Key {
	t.Helper()
	all := make(map[string]Key)
	for _, suite := range Suites() {
		if suite.facts().profile == 0 {
			continue
		}
		for option := range 6 {
			key, err := NewKey(suite)
			require.NoError(t, err)
			key.UnencryptedSRTP, key.UnencryptedSRTCP = option&1 != 0, option&2 != 0
			if option >= 4 {
				key.MKI = []byte{0, 0, 3, byte(option)}
			}
			all[fmt.Sprintf("%s/%d", suite, option)] = key
		}
	}
	return all
}

// traffic makes random packets of a few sources whose sequence numbers go on, with loss, disorder, repetitions and rollovers.
type traffic struct {
	*rand.Rand
	highest [3]uint16
}

func (g *traffic) media(t *testing.T) []byte {
	t.Helper()
	n := g.IntN(len(g.highest))
	switch g.IntN(40) {
	case 0:
		g.highest[n] += uint16(g.IntN(20000)) // a long gap
	default:
		g.highest[n] += uint16(g.IntN(4))
	}
	h := rtp.Header{
		Version: 2, Marker: g.IntN(2) == 0, PayloadType: uint8(g.IntN(128)), Timestamp: g.Uint32(), SSRC: uint32(1000 + n),
		SequenceNumber: g.highest[n] - uint16(g.IntN(6)*g.IntN(40)),
	}
	for range g.IntN(3) * g.IntN(6) {
		h.CSRC = append(h.CSRC, g.Uint32())
	}
	switch g.IntN(4) {
	case 0:
		require.NoError(t, h.SetExtension(uint8(1+g.IntN(14)), g.bytes(1+g.IntN(16))))
	case 1:
		h.Extension, h.ExtensionProfile = true, 0x1000
		require.NoError(t, h.SetExtension(uint8(1+g.IntN(255)), g.bytes(g.IntN(256))))
	}
	pkt, err := (&rtp.Packet{Header: h, Payload: g.bytes(g.IntN(1 + g.IntN(1400)))}).Marshal()
	require.NoError(t, err)
	return pkt
}

func (g *traffic) control() []byte {
	pkt := append([]byte{0x80, 200, 0, 0, 0, 0, 4, byte(g.IntN(3))}, g.bytes(4*g.IntN(100))...)
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)/4-1))
	return pkt
}

func (g *traffic) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// TestSealedAsByPion: what we send is bit for bit what pion would.
func TestSealedAsByPion(t *testing.T) {
	for name, key := range variants(t) {
		t.Run(name, func(t *testing.T) {
			out, err := NewOutbound(key)
			require.NoError(t, err)
			pion := pionContext(t, key, false)
			g := traffic{Rand: rand.New(rand.NewPCG(3, 4)), highest: [3]uint16{60000, 0, 32768}}
			buf := make([]byte, 0, 4096)
			for range 500 {
				pkt := g.media(t)
				want, err := pion.EncryptRTP(nil, pkt, nil)
				require.NoError(t, err)
				got, err := out.ProtectRTP(nil, pkt)
				require.NoError(t, err)
				require.Equal(t, want, got)
				report := g.control()
				want, err = pion.EncryptRTCP(nil, report, nil)
				require.NoError(t, err)
				inPlace := append(buf, report...)
				got, err = out.ProtectRTCP(inPlace[:0], inPlace)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		})
	}
}

// TestOpenedAsByPion: what pion takes we take with the same result, and what pion refuses we refuse: replays, packets of long ago, forged and cut
// ones. Both see the same packets in the same order, and are made from the same sender's.
func TestOpenedAsByPion(t *testing.T) {
	for name, key := range variants(t) {
		t.Run(name, func(t *testing.T) {
			in, err := NewInbound(key)
			require.NoError(t, err)
			pion, sender := pionContext(t, key, true), pionContext(t, key, false)
			g := traffic{Rand: rand.New(rand.NewPCG(5, 6)), highest: [3]uint16{60000, 0, 32768}}
			var past [][]byte
			taken := 0
			for n := range 1500 {
				var pkt []byte
				control := g.IntN(4) == 0
				if control {
					pkt, err = sender.EncryptRTCP(nil, g.control(), nil)
				} else {
					pkt, err = sender.EncryptRTP(nil, g.media(t), nil)
				}
				require.NoError(t, err)
				switch g.IntN(8) {
				case 0:
					past = append(past, bytes.Clone(pkt))
				case 1:
					pkt = pkt[:g.IntN(len(pkt))]
				case 2:
					pkt[g.IntN(len(pkt))] ^= 1 << g.IntN(8)
				case 3:
					if n > 0 && len(past) > 0 {
						pkt = past[g.IntN(len(past))]
						control = len(pkt) > 1 && pkt[1] == 200
					}
				}
				if sameOpened(t, in, pion, pkt, control) {
					taken++
				}
			}
			require.Greater(t, taken, 700)
		})
	}
}

// sameOpened gives a packet to both and reports whether they took it.
func sameOpened(t *testing.T, in *Inbound, pion *srtp.Context, pkt []byte, control bool) bool {
	t.Helper()
	var want, got []byte
	var pionErr, err error
	inPlace := append(make([]byte, 0, len(pkt)), pkt...)
	if control {
		want, pionErr = pion.DecryptRTCP(nil, bytes.Clone(pkt), nil)
		got, err = in.UnprotectRTCP(inPlace[:0], inPlace)
	} else {
		want, pionErr = pion.DecryptRTP(nil, bytes.Clone(pkt), nil)
		got, err = in.UnprotectRTP(inPlace[:0], inPlace)
	}
	if pionErr != nil {
		require.Error(t, err, "pion says %v", pionErr)
		return false
	}
	require.NoError(t, err)
	require.Equal(t, want, got)
	return true
}

// FuzzAgainstPion: a fresh context takes a packet if pion's does, with the same result, and no packet that pion refuses. Pion also parses the
// elements of header extensions, which is not our business, and does not look at the version.
func FuzzAgainstPion(f *testing.F) {
	key := func(s Suite, options uint8) Key {
		k := Key{Suite: s, Master: bytes.Repeat([]byte{7}, s.KeyLen()+s.SaltLen()), UnencryptedSRTP: options&1 != 0, UnencryptedSRTCP: options&2 != 0}
		if options&4 != 0 {
			k.MKI = []byte{1, 2, 3, 4}
		}
		return k
	}
	list := make([]Suite, 0, suiteCount)
	for _, s := range Suites() {
		if s.facts().profile != 0 {
			list = append(list, s)
		}
	}
	extended := append([]byte{0x91, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xbe, 0xde, 0, 1, 0x10, 1, 0, 0}, "payload"...)
	for i, s := range list {
		for options := range uint8(8) {
			out, err := NewOutbound(key(s, options))
			require.NoError(f, err)
			for _, plain := range [][]byte{packet(f, 1, 1), extended} {
				media, err := out.ProtectRTP(nil, plain)
				require.NoError(f, err)
				f.Add(uint8(i), options, false, media)
			}
			control, err := out.ProtectRTCP(nil, report(f, 1))
			require.NoError(f, err)
			f.Add(uint8(i), options, true, control)
		}
	}
	f.Fuzz(func(t *testing.T, suite, options uint8, control bool, pkt []byte) {
		k := key(list[int(suite)%len(list)], options)
		in, err := NewInbound(k)
		require.NoError(t, err)
		if len(pkt) > 0 && pkt[0]>>6 != 2 {
			return
		}
		if _, err := new(rtp.Header).Unmarshal(pkt); !control && err != nil {
			return
		}
		sameOpened(t, in, pionContext(t, k, true), pkt, control)
	})
}
