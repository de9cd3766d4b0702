package store

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Keys lists all keys, removed ones too.
func (s *SQLite) Keys(ctx context.Context) ([]token.StoredKey, error) {
	const query = `SELECT purpose, id, state, algorithm, public, wrapped, created_at, activated_at, retired_at, removed_at
		FROM keys ORDER BY purpose, created_at, id`
	return list(ctx, s, query, func(stmt *sqlite.Stmt) (token.StoredKey, error) {
		k := token.StoredKey{
			Purpose: stmt.ColumnText(0), ID: stmt.ColumnText(1), State: stmt.ColumnText(2), Algorithm: stmt.ColumnText(3),
			CreatedAt: fromMicro(stmt.ColumnInt64(6)), ActivatedAt: fromMicro(stmt.ColumnInt64(7)),
			RetiredAt: fromMicro(stmt.ColumnInt64(8)), RemovedAt: fromMicro(stmt.ColumnInt64(9)),
		}
		for col, field := range map[int]*[]byte{4: &k.Public, 5: &k.Wrapped} {
			if n := stmt.ColumnLen(col); n > 0 {
				*field = make([]byte, n)
				stmt.ColumnBytes(col, *field)
			}
		}
		return k, nil
	})
}

// SaveKeys inserts or replaces keys, with an event each. A secret that was
// replaced by nothing is overwritten in the file, and the log that may still
// hold it is emptied, before SaveKeys returns.
func (s *SQLite) SaveKeys(ctx context.Context, keys []token.StoredKey) error {
	removed := false
	err := s.writer.do(ctx, func(t *tx) error {
		for _, k := range keys {
			if err := t.saveKey(ctx, k); err != nil {
				return err
			}
			removed = removed || len(k.Wrapped) == 0
		}
		t.changed(session.Change{Kind: session.KeysChanged})
		return nil
	})
	if err != nil || !removed {
		return err
	}
	if err := s.Checkpoint(context.WithoutCancel(ctx)); err != nil {
		// The removal itself is done, and the caller must act on it.
		s.writer.log.ErrorContext(ctx, "the secret of a removed key stays readable in the log of the database until that is emptied", "error", err)
	}
	return nil
}

func (t *tx) saveKey(ctx context.Context, k token.StoredKey) error {
	err := t.exec(`INSERT INTO keys (purpose, id, state, algorithm, public, wrapped, created_at, activated_at, retired_at, removed_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
		ON CONFLICT (purpose, id) DO UPDATE SET state = excluded.state, algorithm = excluded.algorithm,
		public = excluded.public, wrapped = excluded.wrapped, created_at = excluded.created_at,
		activated_at = excluded.activated_at, retired_at = excluded.retired_at, removed_at = excluded.removed_at
		WHERE `+keyFollows,
		k.Purpose, k.ID, k.State, k.Algorithm, k.Public, k.Wrapped,
		micro(k.CreatedAt), micro(k.ActivatedAt), micro(k.RetiredAt), micro(k.RemovedAt))
	if err != nil {
		return err
	}
	if t.conn.Changes() == 0 {
		return errKeyChanged
	}
	return t.append(ctx, keyEvent(k))
}
