package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// Timers lists the timers that tenants have changed.
func (p *Postgres) Timers(ctx context.Context) ([]directory.Timer, error) {
	return listRows(ctx, p, `SELECT tenant, id, unit, delay FROM timers ORDER BY tenant, id`,
		func(row pgx.CollectableRow) (t directory.Timer, err error) {
			return t, row.Scan(&t.Tenant, &t.ID, &t.Unit, &t.Delay)
		})
}

// SaveTimer changes a tenant's timer. An unknown tenant is ErrNotFound.
func (p *Postgres) SaveTimer(ctx context.Context, timer directory.Timer, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		_, err := t.exec(`INSERT INTO timers (tenant, id, unit, delay) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant, id) DO UPDATE SET unit = excluded.unit, delay = excluded.delay`, timer.Tenant, timer.ID, timer.Unit, timer.Delay)
		switch {
		case foreignKey(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		return t.modulesChanged(ctx, timer.Tenant, event)
	})
}

// ResetTimer makes a tenant's timer what the descriptor says. One that is that
// already stays.
func (p *Postgres) ResetTimer(ctx context.Context, tenant, id string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		if _, err := t.exec(`DELETE FROM timers WHERE tenant = $1 AND id = $2`, tenant, id); err != nil {
			return err
		}
		return t.modulesChanged(ctx, tenant, event)
	})
}
