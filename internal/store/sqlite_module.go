package store

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Modules lists the registered modules by id.
func (s *SQLite) Modules(ctx context.Context) ([]directory.Module, error) {
	return list(ctx, s, `SELECT id, descriptor FROM modules ORDER BY id`, func(stmt *sqlite.Stmt) (directory.Module, error) {
		m := directory.Module{ID: stmt.ColumnText(0), Descriptor: make([]byte, stmt.ColumnLen(1))}
		stmt.ColumnBytes(1, m.Descriptor)
		return m, nil
	})
}

// modulesChanged tells of a change to one tenant's modules, or to all ("").
func (t *tx) modulesChanged(ctx context.Context, tenant string, event audit.Event) error {
	t.changed(session.Change{Kind: session.ModulesChanged, Tenant: tenant})
	return t.append(ctx, event)
}

// SaveModules registers or replaces modules.
func (s *SQLite) SaveModules(ctx context.Context, event audit.Event, modules ...directory.Module) error {
	return s.writer.do(ctx, func(t *tx) error {
		for _, m := range modules {
			err := t.exec(`INSERT INTO modules (id, descriptor) VALUES (?1, ?2)
				ON CONFLICT (id) DO UPDATE SET descriptor = excluded.descriptor`, m.ID, m.Descriptor)
			if err != nil {
				return err
			}
		}
		return t.modulesChanged(ctx, "", event)
	})
}

// DeleteModule removes a module. One that a tenant uses is ErrInvalid.
func (s *SQLite) DeleteModule(ctx context.Context, id string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		err := t.must("module", `DELETE FROM modules WHERE id = ?1`, id)
		switch {
		case foreign(err):
			return fmt.Errorf("%w: a tenant uses the module, disable it first", directory.ErrInvalid)
		case err != nil:
			return err
		}
		return t.modulesChanged(ctx, "", event)
	})
}

// Enabled lists which tenants use which modules.
func (s *SQLite) Enabled(ctx context.Context) ([]directory.Enabled, error) {
	return list(ctx, s, `SELECT tenant, module FROM enabled_modules ORDER BY tenant, module`,
		func(stmt *sqlite.Stmt) (directory.Enabled, error) {
			return directory.Enabled{Tenant: stmt.ColumnText(0), Module: stmt.ColumnText(1)}, nil
		})
}

// Enable makes a tenant use a module, with its permission sets, in place of
// replaced, which may be the same one.
func (s *SQLite) Enable(ctx context.Context, tenant, module, replaced string, sets []directory.PermissionSet, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		if replaced != "" {
			if err := t.disable(tenant, replaced); err != nil {
				return err
			}
		}
		err := t.exec(`INSERT INTO enabled_modules (tenant, module) VALUES (?1, ?2) ON CONFLICT DO NOTHING`, tenant, module)
		switch {
		case foreign(err):
			return notFound("tenant or module")
		case err != nil:
			return err
		}
		if err := t.exec(`DELETE FROM permission_sets WHERE tenant = ?1 AND module = ?2`, tenant, module); err != nil {
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
func (s *SQLite) Disable(ctx context.Context, tenant, module string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		if err := t.disable(tenant, module); err != nil {
			return err
		}
		t.permissionsChanged(tenant)
		return t.modulesChanged(ctx, tenant, event)
	})
}

func (t *tx) disable(tenant, module string) error {
	err := t.must("enabled module", `DELETE FROM enabled_modules WHERE tenant = ?1 AND module = ?2`, tenant, module)
	if err != nil {
		return err
	}
	return t.exec(`DELETE FROM permission_sets WHERE tenant = ?1 AND module = ?2`, tenant, module)
}

// Instances lists where modules answer, by id.
func (s *SQLite) Instances(ctx context.Context) ([]directory.Instance, error) {
	return list(ctx, s, `SELECT id, module, url FROM instances ORDER BY id`, func(stmt *sqlite.Stmt) (directory.Instance, error) {
		return directory.Instance{ID: stmt.ColumnText(0), Module: stmt.ColumnText(1), URL: stmt.ColumnText(2)}, nil
	})
}

// SaveInstance stores a new instance; a taken id is ErrExists.
func (s *SQLite) SaveInstance(ctx context.Context, i directory.Instance, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		err := t.exec(`INSERT INTO instances (id, module, url) VALUES (?1, ?2, ?3)`, i.ID, i.Module, i.URL)
		switch {
		case unique(err):
			return fmt.Errorf("instance id %w", directory.ErrExists)
		case err != nil:
			return err
		}
		return t.modulesChanged(ctx, "", event)
	})
}

// DeleteInstances deletes one instance of a module, or all, and returns how
// many. If there is none it is ErrNotFound.
func (s *SQLite) DeleteInstances(ctx context.Context, module, id string, event audit.Event) (n int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		n = 0
		err := t.must("instance", `DELETE FROM instances WHERE module = ?1 AND (?2 = '' OR id = ?2)`, module, id)
		if err != nil {
			return err
		}
		n = t.conn.Changes()
		return t.modulesChanged(ctx, "", event)
	})
	return n, err
}
