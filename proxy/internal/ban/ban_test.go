package ban

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestBans(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	now := time.Now()
	trunk := addr("192.0.2.99")
	b := New(Config{Failures: 3, Within: time.Minute, Time: time.Hour, Never: func(a netip.Addr) bool { return a == trunk }}, zap.New(core))
	b.now = func() time.Time { return now }
	mallory := addr("192.0.2.1")

	for i, want := range []bool{false, false, true, true} {
		require.Equal(t, want, b.Note(mallory, LoginFailed), i)
		require.Equal(t, want, b.Banned(mallory), i)
	}
	require.False(t, b.Banned(addr("192.0.2.2")))
	require.Equal(t, []Ban{{netip.MustParsePrefix("192.0.2.1/32"), LoginFailed, now.Add(time.Hour)}}, b.Bans())
	line := logs.FilterMessage("source banned").All()
	require.Len(t, line, 1)
	require.Equal(t, "192.0.2.1/32", line[0].ContextMap()["source"])

	// It ends by itself, and what came before does not count any more.
	now = now.Add(time.Hour)
	require.False(t, b.Banned(mallory))
	require.Empty(t, b.Bans())
	require.False(t, b.Note(mallory, Malformed))

	// Failures far apart do not add up.
	for range 10 {
		now = now.Add(61 * time.Second)
		require.False(t, b.Note(mallory, LoginFailed))
	}
	// A scanner is banned at once, a /64 as a whole, a mapped address as IPv4; a trunk never.
	require.True(t, b.Note(addr("2001:db8::1"), Scanner))
	require.True(t, b.Banned(addr("2001:db8::ffff")))
	require.False(t, b.Banned(addr("2001:db8:0:1::1")))
	require.True(t, b.Note(addr("::ffff:192.0.2.7"), Scanner))
	require.True(t, b.Banned(addr("192.0.2.7")))
	for range 10 {
		require.False(t, b.Note(trunk, Scanner))
	}
	require.True(t, b.Lift(addr("2001:db8::5")))
	require.False(t, b.Lift(addr("2001:db8::5")))
	require.False(t, b.Banned(addr("2001:db8::1")))
	b.Ban(trunk, time.Minute)
	require.True(t, b.Banned(trunk), "by hand all can be banned")
	require.Len(t, b.Bans(), 2)
	b.Configure(Config{Failures: -1})
	require.False(t, b.Note(addr("192.0.2.50"), Scanner))
	require.Len(t, b.Bans(), 2, "bans outlive a change")
}

// Neither memory nor time grows with the number of sources, and those that are banned are the last to be forgotten.
func TestBounded(t *testing.T) {
	b := New(Config{Failures: 2, Sources: 1000}, zap.NewNop())
	require.True(t, b.Note(addr("192.0.2.1"), Scanner))
	began := time.Now()
	for i := range 200_000 {
		b.Note(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Malformed)
	}
	require.LessOrEqual(t, len(b.sources), 1000)
	require.True(t, b.Banned(addr("192.0.2.1")))
	require.Less(t, time.Since(began), 10*time.Second)
	for i := range 5000 {
		b.Note(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}), Scanner)
	}
	require.LessOrEqual(t, len(b.sources), 1000)
	require.EqualValues(t, len(b.Bans()), b.banned.Load())
}
