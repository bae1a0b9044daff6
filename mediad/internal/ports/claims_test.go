package ports

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// on is an interface with one range, at an address that nobody else uses.
func on(address string, low, high uint16, exclude ...Range) []Interface {
	return []Interface{{Name: "x", Addresses: []Address{{Local: netip.MustParseAddr(address), Min: low, Max: high, Exclude: exclude}}}}
}

// TestClaims: two daemons never have the same ports, each says which, and what is free can be had.
func TestClaims(t *testing.T) {
	var a, b Claims
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
	const address = "127.98.7.1"
	require.NoError(t, a.Hold(on(address, 30000, 40000, Range{35000, 35999})))
	require.NoError(t, a.Hold(on(address, 30000, 40000, Range{35000, 35999})), "again, as at a reload")
	for _, tc := range []struct {
		name      string
		low, high uint16
		says      string
	}{
		{"the same", 30000, 34999, "ports 30000-34999 of 127.98.7.1"},
		{"within", 31000, 31999, "ports 31000-31999 of 127.98.7.1 are wanted, and a mediad has 30000-34999 of 127.98.7.1"},
		{"around", 20000, 60000, "ports 20000-60000 of 127.98.7.1 are wanted, and a mediad has "},
		{"below", 20000, 30000, "ports 20000-30000 of 127.98.7.1 are wanted, and a mediad has 30000-34999 of 127.98.7.1"},
		{"above", 40000, 65535, "ports 40000-65535 of 127.98.7.1 are wanted, and a mediad has 36000-40000 of 127.98.7.1"},
	} {
		err := b.Hold(on(address, tc.low, tc.high))
		require.ErrorIs(t, err, ErrClaimed, tc.name)
		require.ErrorContains(t, err, tc.says, tc.name)
	}
	require.NoError(t, b.Hold(on(address, 35000, 35999)), "what the other leaves out")
	require.NoError(t, b.Hold(on("127.98.7.2", 30000, 40000)), "another address")
	require.NoError(t, b.Hold(on("fe80::7%9", 30000, 40000)))
	require.ErrorIs(t, a.Hold(append(on("127.98.7.3", 1, 2), on("127.98.7.2", 39999, 50000)...)), ErrClaimed)
	require.NoError(t, b.Hold(on("127.98.7.3", 1, 2)), "nothing of a refused set is kept")

	require.NoError(t, a.Close())
	require.NoError(t, b.Hold(on(address, 30000, 40000)))
	require.ErrorIs(t, a.Hold(on("fe80::7%9", 30000, 30001)), ErrClaimed)
}
