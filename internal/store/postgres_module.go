package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Modules lists the registered modules by id.
func (p *Postgres) Modules(ctx context.Context) ([]directory.Module, error) {
	return listRows(ctx, p, `SELECT id, descriptor FROM modules ORDER BY id`, func(row pgx.CollectableRow) (m directory.Module, err error) {
		return m, row.Scan(&m.ID, &m.Descriptor)
	})
}

// modulesChanged tells of a change to one tenant's modules, or to all ("").
func (t *pgTx) modulesChanged(ctx context.Context, tenant string, event audit.Event) error {
	t.changed(session.Change{Kind: session.ModulesChanged, Tenant: tenant})
	return t.append(ctx, event)
}

// SaveModules registers or replaces modules.
func (p *Postgres) SaveModules(ctx context.Context, event audit.Event, modules ...directory.Module) error {
	return p.do(ctx, func(t *pgTx) error {
		for _, m := range modules {
			t.later(`INSERT INTO modules (id, descriptor) VALUES ($1, $2)
				ON CONFLICT (id) DO UPDATE SET descriptor = excluded.descriptor`, m.ID, m.Descriptor)
		}
		return t.modulesChanged(ctx, "", event)
	})
}

// DeleteModule removes a module. One that a tenant uses is ErrInvalid.
func (p *Postgres) DeleteModule(ctx context.Context, id string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		err := t.must("module", `DELETE FROM modules WHERE id = $1`, id)
		switch {
		case foreignKey(err):
			return fmt.Errorf("%w: a tenant uses the module, disable it first", directory.ErrInvalid)
		case err != nil:
			return err
		}
		return t.modulesChanged(ctx, "", event)
	})
}

// Enabled lists which tenants use which modules.
func (p *Postgres) Enabled(ctx context.Context) ([]directory.Enabled, error) {
	return listRows(ctx, p, `SELECT tenant, module FROM enabled_modules ORDER BY tenant, module`,
		func(row pgx.CollectableRow) (e directory.Enabled, err error) {
			return e, row.Scan(&e.Tenant, &e.Module)
		})
}

// Enable makes a tenant use a module, with its permission sets, in place of
// replaced, which may be the same one.
func (p *Postgres) Enable(ctx context.Context, tenant, module, replaced string, sets []directory.PermissionSet, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		if replaced != "" {
			if err := t.disable(tenant, replaced); err != nil {
				return err
			}
		}
		_, err := t.exec(`INSERT INTO enabled_modules (tenant, module) VALUES ($1, $2) ON CONFLICT DO NOTHING`, tenant, module)
		switch {
		case foreignKey(err):
			return notFound("tenant or module")
		case err != nil:
			return err
		}
		if _, err := t.exec(`DELETE FROM permission_sets WHERE tenant = $1 AND module = $2`, tenant, module); err != nil {
			return err
		}
		for _, set := range sets {
			if err := t.savePermissionSet(tenant, module, set); err != nil {
				return err
			}
		}
		t.permissionsChanged(tenant)
		return t.modulesChanged(ctx, tenant, event)
	})
}

// Disable ends a tenant's use of a module.
func (p *Postgres) Disable(ctx context.Context, tenant, module string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		if err := t.disable(tenant, module); err != nil {
			return err
		}
		t.permissionsChanged(tenant)
		return t.modulesChanged(ctx, tenant, event)
	})
}

func (t *pgTx) disable(tenant, module string) error {
	err := t.must("enabled module", `DELETE FROM enabled_modules WHERE tenant = $1 AND module = $2`, tenant, module)
	if err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM permission_sets WHERE tenant = $1 AND module = $2`, tenant, module)
	return err
}

// Instances lists where modules answer, by id.
func (p *Postgres) Instances(ctx context.Context) ([]directory.Instance, error) {
	return listRows(ctx, p, `SELECT id, module, url FROM instances ORDER BY id`, func(row pgx.CollectableRow) (i directory.Instance, err error) {
		return i, row.Scan(&i.ID, &i.Module, &i.URL)
	})
}

// SaveInstance stores a new instance; a taken id is ErrExists.
func (p *Postgres) SaveInstance(ctx context.Context, i directory.Instance, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		_, err := t.exec(`INSERT INTO instances (id, module, url) VALUES ($1, $2, $3)`, i.ID, i.Module, i.URL)
		switch {
		case uniqueKey(err):
			return fmt.Errorf("instance id %w", directory.ErrExists)
		case err != nil:
			return err
		}
		return t.modulesChanged(ctx, "", event)
	})
}

// DeleteInstances deletes one instance of a module, or all, and returns how
// many. If there is none it is ErrNotFound.
func (p *Postgres) DeleteInstances(ctx context.Context, module, id string, event audit.Event) (n int, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		n, err = t.exec(`DELETE FROM instances WHERE module = $1 AND ($2 = '' OR id = $2)`, module, id)
		switch {
		case err != nil:
			return err
		case n == 0:
			return notFound("instance")
		}
		return t.modulesChanged(ctx, "", event)
	})
	if err != nil {
		n = 0
	}
	return n, err
}
