// Package sqlite keeps bindings, dialogs, accounts and the proxy's own keys in
// one SQLite file.
package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tandem-sbc/tandem/proxy/internal/auth"
	"github.com/tandem-sbc/tandem/proxy/internal/location"
)

// Memory as a path keeps everything in memory, until Close.
const Memory = ":memory:"

// schemaVersion is written to the file; a file of a later version is refused.
const schemaVersion = 2

const schema = `
CREATE TABLE IF NOT EXISTS bindings (
	aor TEXT NOT NULL,
	contact_key TEXT NOT NULL,
	expires INTEGER NOT NULL, -- Unix time, milliseconds
	value TEXT NOT NULL,      -- the whole binding, JSON
	PRIMARY KEY (aor, contact_key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
	user TEXT NOT NULL,
	realm TEXT NOT NULL,
	ha1_md5 TEXT NOT NULL,    -- hex
	ha1_sha256 TEXT NOT NULL, -- hex
	PRIMARY KEY (user, realm)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
	name TEXT PRIMARY KEY,
	value BLOB NOT NULL
) WITHOUT ROWID;
`

// ErrVersion means that the file was written by a later version of the proxy.
var ErrVersion = errors.New("database of a later version")

// DB is an open file. It is safe for concurrent use.
type DB struct {
	write   *sql.DB // one connection: SQLite has one writer
	read    *sql.DB
	account *sql.Stmt
}

// Open opens the file at path, or makes it with its directory, readable by the
// owner only.
func Open(ctx context.Context, path string) (*DB, error) {
	if path != Memory {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("database: %w", err)
		}
		// SQLite gives its files the mode of the first one.
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("database: %w", err)
		}
		f.Close()
	}
	db, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	return db, nil
}

func open(ctx context.Context, path string) (_ *DB, err error) {
	options := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"}, "_txlock": {"immediate"}}
	source := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}).String()
	d := &DB{}
	if d.write, err = sql.Open("sqlite", source); err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	d.write.SetMaxIdleConns(1)
	d.read = d.write
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if err = d.migrate(ctx); err != nil {
		return nil, err
	}
	if path != Memory { // a second connection would see another memory
		if d.read, err = sql.Open("sqlite", source); err != nil {
			return nil, err
		}
		d.read.SetMaxOpenConns(4)
		d.read.SetMaxIdleConns(4)
	}
	d.account, err = d.read.PrepareContext(ctx, `SELECT ha1_md5, ha1_sha256 FROM accounts WHERE user = ? AND realm = ?`)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *DB) migrate(ctx context.Context) error {
	var version int
	if err := d.write.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("%w: %d, this one knows %d", ErrVersion, version, schemaVersion)
	}
	if version == schemaVersion {
		return nil // nothing is written: the disk may be full
	}
	if _, err := d.write.ExecContext(ctx, schema+dialogSchema); err != nil {
		return err
	}
	_, err := d.write.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, schemaVersion))
	return err
}

// Close closes the file.
func (d *DB) Close() error {
	var errs []error
	if d.account != nil {
		errs = append(errs, d.account.Close())
	}
	if d.read != nil && d.read != d.write {
		errs = append(errs, d.read.Close())
	}
	return errors.Join(append(errs, d.write.Close())...)
}

// transaction runs f in one write transaction.
func (d *DB) transaction(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if err := f(tx); err != nil {
		return errors.Join(fmt.Errorf("database: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// record is how a binding is written.
type record struct {
	Contact, Params, Instance, RegID, CallID string `json:",omitempty"`
	Connection, Transport, Profile           string `json:",omitempty"`
	UserAgent                                string `json:",omitempty"`
	Source                                   netip.AddrPort
	Direct                                   bool     `json:",omitempty"`
	Path                                     []string `json:",omitempty"`
	Q                                        int
	CSeq                                     uint32
	Registered                               int64 // Unix time, milliseconds
}

// Load returns all kept bindings.
func (d *DB) Load(ctx context.Context) ([]location.Binding, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT aor, contact_key, expires, value FROM bindings ORDER BY aor`)
	if err != nil {
		return nil, fmt.Errorf("database: reading bindings: %w", err)
	}
	defer rows.Close()
	var all []location.Binding
	for rows.Next() {
		var aor, key, value string
		var expires int64
		if err := rows.Scan(&aor, &key, &expires, &value); err != nil {
			return nil, fmt.Errorf("database: reading bindings: %w", err)
		}
		var r record
		if err := json.Unmarshal([]byte(value), &r); err != nil {
			return nil, fmt.Errorf("database: binding of %s: %w", aor, err)
		}
		all = append(all, location.Binding{
			AoR: location.AoR(aor), Key: key, Expires: time.UnixMilli(expires),
			Contact: r.Contact, Params: r.Params, Q: r.Q, Instance: r.Instance, RegID: r.RegID,
			CallID: r.CallID, CSeq: r.CSeq, Path: r.Path,
			Connection: r.Connection, Source: r.Source, Transport: r.Transport, Direct: r.Direct, Profile: r.Profile,
			UserAgent: r.UserAgent, Registered: time.UnixMilli(r.Registered),
		})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("database: reading bindings: %w", err)
	}
	return all, nil
}

// Replace makes the given bindings the only ones of their address of record.
func (d *DB) Replace(ctx context.Context, changes map[location.AoR][]location.Binding) error {
	return d.transaction(ctx, func(tx *sql.Tx) error {
		remove, err := tx.PrepareContext(ctx, `DELETE FROM bindings WHERE aor = ?`)
		if err != nil {
			return err
		}
		defer remove.Close()
		insert, err := tx.PrepareContext(ctx, `INSERT INTO bindings (aor, contact_key, expires, value) VALUES (?, ?, ?, ?)`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for aor, list := range changes {
			if _, err := remove.ExecContext(ctx, string(aor)); err != nil {
				return err
			}
			for _, b := range list {
				value, err := json.Marshal(record{
					Contact: b.Contact, Params: b.Params, Q: b.Q, Instance: b.Instance, RegID: b.RegID,
					CallID: b.CallID, CSeq: b.CSeq, Path: b.Path,
					Connection: b.Connection, Source: b.Source, Transport: b.Transport, Direct: b.Direct, Profile: b.Profile,
					UserAgent: b.UserAgent, Registered: b.Registered.UnixMilli(),
				})
				if err != nil {
					return err
				}
				if _, err := insert.ExecContext(ctx, string(aor), b.Key, b.Expires.UnixMilli(), string(value)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Account finds an account; ok is false if there is none.
func (d *DB) Account(ctx context.Context, user, realm string) (auth.Account, bool, error) {
	var a auth.Account
	switch err := d.account.QueryRowContext(ctx, user, realm).Scan(&a.MD5, &a.SHA256); {
	case errors.Is(err, sql.ErrNoRows):
		return auth.Account{}, false, nil
	case err != nil:
		return auth.Account{}, false, fmt.Errorf("database: account: %w", err)
	}
	return a, true, nil
}

// SetAccount adds an account or changes its password.
func (d *DB) SetAccount(ctx context.Context, user, realm string, a auth.Account) error {
	return d.transaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO accounts (user, realm, ha1_md5, ha1_sha256) VALUES (?, ?, ?, ?)`,
			user, realm, a.MD5, a.SHA256)
		return err
	})
}

// DeleteAccount removes an account and reports whether there was one.
func (d *DB) DeleteAccount(ctx context.Context, user, realm string) (bool, error) {
	var n int64
	err := d.transaction(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM accounts WHERE user = ? AND realm = ?`, user, realm)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n > 0, err
}

// Key returns the random 32-byte key of that name, made at the first call. It
// signs what must survive a restart, such as Record-Route parameters.
func (d *DB) Key(ctx context.Context, name string) ([]byte, error) {
	var key []byte
	err := d.transaction(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT value FROM keys WHERE name = ?`, name).Scan(&key)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		key = make([]byte, 32)
		rand.Read(key)
		_, err = tx.ExecContext(ctx, `INSERT INTO keys (name, value) VALUES (?, ?)`, name, key)
		return err
	})
	return key, err
}
