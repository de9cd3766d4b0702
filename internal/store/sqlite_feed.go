package store

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/session"
)

// OnChange registers a listener. It runs on the writer's goroutine, so nothing
// is stored until it returns: it may read from the store, but to write to it,
// or to wait for somebody who does, is to wait for ever.
func (s *SQLite) OnChange(listen func([]session.Change)) { s.writer.listen(listen) }

// EndedSince lists sessions by when they ended.
func (s *SQLite) EndedSince(ctx context.Context, t time.Time) ([]session.EndedSession, error) {
	const query = `SELECT id, ended_at FROM sessions INDEXED BY sessions_ended
		WHERE ended_at <> 0 AND ended_at >= ?1 ORDER BY ended_at`
	return list(ctx, s, query, func(stmt *sqlite.Stmt) (e session.EndedSession, err error) {
		stmt.ColumnBytes(0, e.Session[:])
		e.At = fromMicro(stmt.ColumnInt64(1))
		return e, nil
	}, micro(t))
}

// Epochs lists epochs as the changes that moved them.
func (s *SQLite) Epochs(ctx context.Context, t time.Time) ([]session.Change, error) {
	const query = `SELECT tenant, user_id, n, at FROM epochs WHERE user_id = '' OR at >= ?1 ORDER BY tenant, user_id`
	return list(ctx, s, query, func(stmt *sqlite.Stmt) (session.Change, error) {
		return session.Change{
			Kind: session.EpochMoved, Tenant: stmt.ColumnText(0), UserID: stmt.ColumnText(1),
			Epoch: uint64(stmt.ColumnInt64(2)), At: fromMicro(stmt.ColumnInt64(3)),
		}, nil
	}, micro(t))
}

// Struck lists the live sessions with an open strike.
func (s *SQLite) Struck(ctx context.Context) ([]session.Struck, error) {
	const query = `SELECT id, struck_at FROM sessions INDEXED BY sessions_struck WHERE struck_at <> 0 ORDER BY struck_at`
	return list(ctx, s, query, func(stmt *sqlite.Stmt) (one session.Struck, err error) {
		stmt.ColumnBytes(0, one.Session[:])
		one.StrikeAt = fromMicro(stmt.ColumnInt64(1))
		return one, nil
	})
}

// epoch reads the epoch of a tenant (userID "") or of a user.
func (t *tx) epoch(tenant, userID string) (uint64, error) {
	n, err := t.number(`SELECT n FROM epochs WHERE tenant = ?1 AND user_id = ?2`, tenant, userID)
	return uint64(n), err
}

// newestEpoch is what sessions of a tenant get that begin now: they are of after
// whatever was restored.
const newestEpoch = `SELECT coalesce(max(n), 0) FROM (
	SELECT n FROM epochs WHERE tenant IN ('', ?1) AND user_id = '' UNION ALL SELECT epoch FROM adoption)`

// moveEpoch ends every session of the tenant, or user, that began before.
func (t *tx) moveEpoch(tenant, userID string) error {
	err := t.exec(`INSERT INTO epochs (tenant, user_id, n, at)
		SELECT ?1, ?2, 1 + CASE WHEN ?2 = '' THEN (`+newestEpoch+`) ELSE 0 END, ?3 WHERE true
		ON CONFLICT (tenant, user_id) DO UPDATE SET n = max(n + 1, excluded.n), at = excluded.at`, tenant, userID, micro(t.at))
	if err != nil {
		return err
	}
	n, err := t.epoch(tenant, userID)
	t.changed(session.Change{Kind: session.EpochMoved, Tenant: tenant, UserID: userID, Epoch: n})
	return err
}
