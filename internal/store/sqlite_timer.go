package store

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// Timers lists the timers that tenants have changed.
func (s *SQLite) Timers(ctx context.Context) ([]directory.Timer, error) {
	return list(ctx, s, `SELECT tenant, id, unit, delay FROM timers ORDER BY tenant, id`, func(stmt *sqlite.Stmt) (directory.Timer, error) {
		return directory.Timer{Tenant: stmt.ColumnText(0), ID: stmt.ColumnText(1), Unit: stmt.ColumnText(2), Delay: stmt.ColumnInt64(3)}, nil
	})
}

// SaveTimer changes a tenant's timer. An unknown tenant is ErrNotFound.
func (s *SQLite) SaveTimer(ctx context.Context, timer directory.Timer, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		err := t.exec(`INSERT INTO timers (tenant, id, unit, delay) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (tenant, id) DO UPDATE SET unit = excluded.unit, delay = excluded.delay`, timer.Tenant, timer.ID, timer.Unit, timer.Delay)
		switch {
		case foreign(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		return t.modulesChanged(ctx, timer.Tenant, event)
	})
}

// ResetTimer makes a tenant's timer what the descriptor says. One that is that
// already stays.
func (s *SQLite) ResetTimer(ctx context.Context, tenant, id string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		if err := t.exec(`DELETE FROM timers WHERE tenant = ?1 AND id = ?2`, tenant, id); err != nil {
			return err
		}
		return t.modulesChanged(ctx, tenant, event)
	})
}
