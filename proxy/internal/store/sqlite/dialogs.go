package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tandem-sbc/tandem/proxy/internal/dialog"
)

const dialogSchema = `
CREATE TABLE IF NOT EXISTS dialogs (
	id INTEGER PRIMARY KEY,
	call_id TEXT NOT NULL,
	value TEXT NOT NULL -- all else, JSON
);
`

// Dialogs implements dialog.Store.
func (d *DB) Dialogs(ctx context.Context) ([]dialog.Record, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT id, call_id, value FROM dialogs ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("database: reading dialogs: %w", err)
	}
	defer rows.Close()
	var all []dialog.Record
	var errs []error
	for rows.Next() {
		var r dialog.Record
		var value []byte
		if err := rows.Scan(&r.ID, &r.CallID, &value); err != nil {
			errs = append(errs, fmt.Errorf("database: reading dialogs: %w", err))
			continue
		}
		if err := json.Unmarshal(value, &r); err != nil {
			errs = append(errs, fmt.Errorf("database: dialog %d of call %s: %w", r.ID, r.CallID, err))
			continue
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		errs = append(errs, fmt.Errorf("database: reading dialogs: %w", err))
	}
	return all, errors.Join(errs...)
}

// KeepDialogs implements dialog.Store.
func (d *DB) KeepDialogs(ctx context.Context, put []dialog.Record, drop []uint64) error {
	values := make([][]byte, len(put)) // made before the file is locked
	for i := range put {
		var err error
		if values[i], err = json.Marshal(&put[i]); err != nil {
			return fmt.Errorf("database: dialog of call %s: %w", put[i].CallID, err)
		}
	}
	return d.transaction(ctx, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO dialogs (id, call_id, value) VALUES (?, ?, ?)`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for i := range put {
			if _, err := insert.ExecContext(ctx, int64(put[i].ID), put[i].CallID, string(values[i])); err != nil {
				return err
			}
		}
		remove, err := tx.PrepareContext(ctx, `DELETE FROM dialogs WHERE id = ?`)
		if err != nil {
			return err
		}
		defer remove.Close()
		for _, id := range drop {
			if _, err := remove.ExecContext(ctx, int64(id)); err != nil {
				return err
			}
		}
		return nil
	})
}
