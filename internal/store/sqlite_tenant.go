package store

import (
	"context"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// CreateTenant stores a new tenant.
func (s *SQLite) CreateTenant(ctx context.Context, one directory.Tenant, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		created := one.CreatedAt
		if created.IsZero() {
			created = t.at
		}
		err := t.exec(`INSERT INTO tenants (id, name, description, created_at) VALUES (?1, ?2, ?3, ?4)`,
			one.ID, one.Name, one.Description, micro(created))
		switch {
		case unique(err):
			return fmt.Errorf("tenant %w", directory.ErrExists)
		case err != nil:
			return err
		}
		t.changed(session.Change{Kind: session.TenantsChanged, Tenant: one.ID})
		return t.append(ctx, event)
	})
}

// UpdateTenant replaces name and description.
func (s *SQLite) UpdateTenant(ctx context.Context, one directory.Tenant, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		err := t.must("tenant", `UPDATE tenants SET name = ?2, description = ?3 WHERE id = ?1`, one.ID, one.Name, one.Description)
		if err != nil {
			return err
		}
		t.changed(session.Change{Kind: session.TenantsChanged, Tenant: one.ID})
		return t.append(ctx, event)
	})
}

// DeleteTenant removes users, credentials, grants, permission sets, policies
// and enabled modules along with the tenant. Its sessions end by the epoch,
// which stays; their rows, and the events, stay until they are swept.
func (s *SQLite) DeleteTenant(ctx context.Context, id string, event audit.Event) error {
	if id == directory.SuperTenant {
		return fmt.Errorf("%w: tenant %s owns the gateway and cannot be deleted", directory.ErrInvalid, id)
	}
	return s.writer.do(ctx, func(t *tx) error {
		if err := t.must("tenant", `DELETE FROM tenants WHERE id = ?1`, id); err != nil {
			return err
		}
		if err := t.moveEpoch(id, ""); err != nil {
			return err
		}
		for _, kind := range [...]session.ChangeKind{
			session.TenantsChanged, session.PermissionsChanged, session.PoliciesChanged, session.ModulesChanged,
		} {
			t.changed(session.Change{Kind: kind, Tenant: id})
		}
		return t.append(ctx, event)
	})
}
