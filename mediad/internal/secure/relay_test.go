package secure

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// through is a party that sends under a key, what we receive it with, and what we send it on with under the same key.
func through(t *testing.T, suite Suite) (Key, *Outbound, *Inbound, *Outbound) {
	t.Helper()
	key, err := NewKey(suite)
	require.NoError(t, err)
	sender, in := contexts(t, key)
	require.True(t, in.Shares(key))
	out, err := in.HandThrough(key, nil)
	require.NoError(t, err)
	require.True(t, out.Follows(in))
	return key, sender, in, out
}

// TestHandedThroughBytesAreTheSame: over a rollover, with loss and disorder, what goes out is what came in.
func TestHandedThroughBytesAreTheSame(t *testing.T) {
	for _, suite := range allSuites() {
		_, sender, in, out := through(t, suite)
		for _, seq := range []uint16{65533, 65535, 65534, 1, 0, 2} {
			cipher, err := sender.ProtectRTP(nil, packet(t, 7, seq))
			require.NoError(t, err)
			buf := room(cipher)
			plain, err := in.UnprotectRTP(buf[:0], buf)
			require.NoError(t, err)
			got, err := out.ProtectRTP(plain[:0], plain)
			require.NoError(t, err)
			require.Equal(t, cipher, got, "%s %d", suite, seq)

			cipher, err = sender.ProtectRTCP(nil, report(t, 7))
			require.NoError(t, err)
			buf = room(cipher)
			plain, err = in.UnprotectRTCP(buf[:0], buf)
			require.NoError(t, err)
			got, err = out.ProtectRTCP(plain[:0], plain)
			require.NoError(t, err)
			require.Equal(t, cipher, got)
		}
	}
}

// TestKeyStreamIsNotUsedTwice: a packet that was changed on its way, or is of our own making, must not be encrypted with a piece of key
// stream that an onlooker of the other leg has seen over other contents.
func TestKeyStreamIsNotUsedTwice(t *testing.T) {
	key, sender, in, out := through(t, AESCM12880)
	cipher, err := sender.ProtectRTP(nil, packet(t, 7, 1))
	require.NoError(t, err)
	plain, err := in.UnprotectRTP(nil, cipher)
	require.NoError(t, err)
	changed := append([]byte(nil), plain...)
	changed[20] ^= 1
	_, err = out.ProtectRTP(nil, changed)
	require.ErrorIs(t, err, ErrKeystream)
	_, err = out.ProtectRTP(nil, packet(t, 7, 2))
	require.ErrorIs(t, err, ErrKeystream, "a packet that its sender has not sent")

	// Another SSRC has a key stream of its own; should its owner come, he is not heard.
	_, receiver := contexts(t, key)
	other, err := out.ProtectRTP(nil, packet(t, 8, 1))
	require.NoError(t, err)
	_, err = receiver.UnprotectRTP(nil, other)
	require.NoError(t, err)
	cipher, err = sender.ProtectRTP(nil, packet(t, 8, 1))
	require.NoError(t, err)
	plain, err = in.UnprotectRTP(nil, cipher)
	require.NoError(t, err)
	_, err = out.ProtectRTP(nil, plain)
	require.ErrorIs(t, err, ErrKeystream)
}

// TestReportsUnderAForeignKey: reports of our own take indices that the maker of the key does not use, and from then on his reports do too,
// since a receiver would take lower ones for replays.
func TestReportsUnderAForeignKey(t *testing.T) {
	for _, suite := range allSuites() {
		key, sender, in, out := through(t, suite)
		_, receiver := contexts(t, key)
		pass := func() []byte {
			cipher, err := sender.ProtectRTCP(nil, report(t, 7))
			require.NoError(t, err)
			plain, err := in.UnprotectRTCP(nil, cipher)
			require.NoError(t, err)
			got, err := out.ProtectRTCP(nil, plain)
			require.NoError(t, err)
			_, err = receiver.UnprotectRTCP(nil, got)
			require.NoError(t, err)
			return got
		}
		require.Less(t, in.controlIndex(pass()), uint32(ownControl))
		own := append(report(t, 7), report(t, 7)...)
		protected, err := out.ProtectRTCP(nil, own)
		require.NoError(t, err)
		require.Greater(t, in.controlIndex(protected), uint32(ownControl))
		_, err = receiver.UnprotectRTCP(nil, protected)
		require.NoError(t, err)
		require.Greater(t, in.controlIndex(pass()), uint32(ownControl))
	}
}

// TestHandThroughAgain: a new context for the same key goes on where the one before stopped.
func TestHandThroughAgain(t *testing.T) {
	key, sender, in, out := through(t, AEADAES128GCM)
	first, err := out.ProtectRTP(nil, packet(t, 9, 65535))
	require.NoError(t, err)
	again, err := in.HandThrough(key, out)
	require.NoError(t, err)
	second, err := again.ProtectRTP(nil, packet(t, 9, 0))
	require.NoError(t, err)
	_, receiver := contexts(t, key)
	for _, p := range [][]byte{first, second} {
		_, err = receiver.UnprotectRTP(nil, p)
		require.NoError(t, err, "the rollover counter goes on")
	}
	cipher, err := sender.ProtectRTP(nil, packet(t, 7, 1))
	require.NoError(t, err)
	plain, err := in.UnprotectRTP(nil, cipher)
	require.NoError(t, err)
	got, err := again.ProtectRTP(nil, plain)
	require.NoError(t, err)
	require.Equal(t, cipher, got)
}

// TestHandThroughWithOtherParameters: encryption on one leg only uses the key stream once.
func TestHandThroughWithOtherParameters(t *testing.T) {
	key, err := NewKey(AESCM12880)
	require.NoError(t, err)
	sender, in := contexts(t, key)
	open := key
	open.UnencryptedSRTP, open.UnencryptedSRTCP = true, true
	out, err := in.HandThrough(open, nil)
	require.NoError(t, err)
	_, receiver := contexts(t, open)
	for seq := range uint16(3) {
		cipher, err := sender.ProtectRTP(nil, packet(t, 7, 65534+seq))
		require.NoError(t, err)
		plain, err := in.UnprotectRTP(nil, cipher)
		require.NoError(t, err)
		got, err := out.ProtectRTP(nil, plain)
		require.NoError(t, err)
		require.Contains(t, string(got), "sixty bytes")
		got, err = receiver.UnprotectRTP(nil, got)
		require.NoError(t, err)
		require.Equal(t, packet(t, 7, 65534+seq), got)
	}
}

func TestHandThroughDoesNotAllocate(t *testing.T) {
	_, sender, in, out := through(t, AESCM12880)
	buf := make([]byte, 0, 1500)
	seq := uint16(0)
	plain := packet(t, 1, 0)
	allocs := testing.AllocsPerRun(300, func() {
		seq++
		b := append(buf[:0], plain...)
		b[2], b[3] = byte(seq>>8), byte(seq)
		p, err := sender.ProtectRTP(b[:0], b)
		if err == nil {
			p, err = in.UnprotectRTP(p[:0], p)
		}
		if err == nil {
			_, err = out.ProtectRTP(p[:0], p)
		}
		if err != nil {
			panic(err)
		}
	})
	if !raceEnabled {
		require.Zero(t, allocs)
	}
}
