package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

func TestDialogs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.db")
	db, err := Open(t.Context(), path)
	require.NoError(t, err)
	one := dialog.Record{
		ID: 1, CallID: "call", CSeq: 5, Branch: "z9hG4bKx", Seal: "seal", Since: 1, Expires: 2, Unacked: true, Session: 3, Media: true,
		Counted: []string{"user:a@b"},
		A: dialog.LegRecord{
			Tag: "a", Identity: "<sip:a@b>;tag=a", Profile: "webrtc", Contact: "sip:a@x.invalid", Conn: "w1", Transport: request.WSS, Bound: true,
			Device: &request.Device{AoR: "sip:a@b", Instance: "urn:1", RegID: "1"}, CSeq: 5, Inserted: 1,
		},
		B: dialog.LegRecord{Tag: "b", Identity: "<sip:c@d>;tag=b", AoR: "sip:c@d", Trunk: "carrier", Routes: []string{"<sip:p;lr>"}},
	}
	two := dialog.Record{ID: 1 << 40, CallID: "other"}
	require.NoError(t, db.KeepDialogs(t.Context(), []dialog.Record{one, two}, nil))
	one.CSeq = 6
	require.NoError(t, db.KeepDialogs(t.Context(), []dialog.Record{one}, []uint64{two.ID, 99}))
	_, err = db.write.ExecContext(t.Context(), `INSERT INTO dialogs (id, call_id, value) VALUES (7, 'odd', '{')`)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	db, err = Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	all, err := db.Dialogs(t.Context())
	require.ErrorContains(t, err, "dialog 7 of call odd", "one that cannot be read does not hide the others")
	require.Equal(t, []dialog.Record{one}, all)
}

// A file of the version before gets the table.
func TestFileOfTheVersionBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.db")
	db, err := Open(t.Context(), path)
	require.NoError(t, err)
	_, err = db.write.ExecContext(t.Context(), `DROP TABLE dialogs; PRAGMA user_version = 1`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db, err = Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.Dialogs(t.Context())
	require.NoError(t, err)
}
