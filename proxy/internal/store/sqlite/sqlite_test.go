package sqlite

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBindingsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b", "proxy.db")
	db, err := Open(t.Context(), path)
	require.NoError(t, err)
	b := location.Binding{
		AoR: "sip:alice@example.org", Contact: "sip:a@x.invalid;transport=ws", Key: "k1", Params: `;+sip.instance="<urn:1>"`,
		Q: 700, Instance: "<urn:1>", RegID: "1", CallID: "c", CSeq: 7, Path: []string{"sip:edge;lr"},
		Connection: "udp:1", Source: netip.MustParseAddrPort("[2001:db8::1]:5060"), Transport: "udp", Direct: true,
		Profile: "sip", UserAgent: "phone", Registered: time.UnixMilli(1000), Expires: time.UnixMilli(2000),
	}
	other := b
	other.Key, other.Source = "k2", netip.AddrPort{}
	require.NoError(t, db.Replace(t.Context(), map[location.AoR][]location.Binding{b.AoR: {b, other}, "sip:bob@example.org": {b}}))
	require.NoError(t, db.Replace(t.Context(), map[location.AoR][]location.Binding{"sip:bob@example.org": nil}))
	key, err := db.Key(t.Context(), "nonce")
	require.NoError(t, err)
	require.Len(t, key, 32)
	require.NoError(t, db.Close())

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	db, err = Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	all, err := db.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, []location.Binding{b, other}, all)
	again, err := db.Key(t.Context(), "nonce")
	require.NoError(t, err)
	require.Equal(t, key, again)
	different, err := db.Key(t.Context(), "route")
	require.NoError(t, err)
	require.NotEqual(t, key, different)
}

func TestAccounts(t *testing.T) {
	for _, path := range []string{Memory, filepath.Join(t.TempDir(), "proxy.db")} {
		db, err := Open(t.Context(), path)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		_, ok, err := db.Account(t.Context(), "alice", "example.org")
		require.NoError(t, err)
		require.False(t, ok)
		want := auth.NewAccount("alice", "example.org", "wonder")
		require.NoError(t, db.SetAccount(t.Context(), "alice", "example.org", want))
		got, ok, err := db.Account(t.Context(), "alice", "example.org")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, got)
		gone, err := db.DeleteAccount(t.Context(), "alice", "example.org")
		require.NoError(t, err)
		require.True(t, gone)
	}
}

func TestLaterVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.db")
	db, err := Open(t.Context(), path)
	require.NoError(t, err)
	_, err = db.write.Exec(`PRAGMA user_version = 99`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = Open(t.Context(), path)
	require.ErrorIs(t, err, ErrVersion)
}
