package store

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// CreateTenant stores a new tenant.
func (p *Postgres) CreateTenant(ctx context.Context, one directory.Tenant, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		created := one.CreatedAt
		if created.IsZero() {
			created = t.at
		}
		_, err := t.exec(`INSERT INTO tenants (id, name, description, created_at) VALUES ($1, $2, $3, $4)`,
			one.ID, one.Name, one.Description, micro(created))
		switch {
		case uniqueKey(err):
			return fmt.Errorf("tenant %w", directory.ErrExists)
		case err != nil:
			return err
		}
		t.changed(session.Change{Kind: session.TenantsChanged, Tenant: one.ID})
		return t.append(ctx, event)
	})
}

// UpdateTenant replaces name and description.
func (p *Postgres) UpdateTenant(ctx context.Context, one directory.Tenant, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		err := t.must("tenant", `UPDATE tenants SET name = $2, description = $3 WHERE id = $1`, one.ID, one.Name, one.Description)
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
func (p *Postgres) DeleteTenant(ctx context.Context, id string, event audit.Event) error {
	if id == directory.SuperTenant {
		return fmt.Errorf("%w: tenant %s owns the gateway and cannot be deleted", directory.ErrInvalid, id)
	}
	return p.do(ctx, func(t *pgTx) error {
		if err := t.must("tenant", `DELETE FROM tenants WHERE id = $1`, id); err != nil {
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

// Policies lists all overrides. One that cannot be read is an error: to go on
// without it would loosen what an operator made strict.
func (p *Postgres) Policies(ctx context.Context) ([]session.PolicyOverride, error) {
	return listRows(ctx, p, `SELECT tenant, scope, name, patch FROM policies ORDER BY tenant, scope, name`,
		func(row pgx.CollectableRow) (o session.PolicyOverride, err error) {
			var patch string
			if err := row.Scan(&o.Tenant, &o.Scope, &o.Name, &patch); err != nil {
				return o, err
			}
			if err := json.Unmarshal([]byte(patch), &o.Patch, json.RejectUnknownMembers(true)); err != nil {
				return o, fmt.Errorf("policy of tenant %s cannot be read: %w", o.Tenant, err)
			}
			return o, nil
		})
}

// SavePolicy stores an override, or deletes it if its patch is empty.
func (p *Postgres) SavePolicy(ctx context.Context, o session.PolicyOverride, event audit.Event) error {
	patch, err := json.Marshal(o.Patch)
	if err != nil {
		return fmt.Errorf("%w: policy: %w", session.ErrInvalid, err)
	}
	return p.do(ctx, func(t *pgTx) error {
		var err error
		if o.Patch.Empty() {
			_, err = t.exec(`DELETE FROM policies WHERE tenant = $1 AND scope = $2 AND name = $3`, o.Tenant, o.Scope, o.Name)
		} else {
			_, err = t.exec(`INSERT INTO policies (tenant, scope, name, patch) VALUES ($1, $2, $3, $4)
				ON CONFLICT (tenant, scope, name) DO UPDATE SET patch = excluded.patch`, o.Tenant, o.Scope, o.Name, string(patch))
		}
		switch {
		case foreignKey(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		t.changed(session.Change{Kind: session.PoliciesChanged, Tenant: o.Tenant})
		return t.append(ctx, event)
	})
}
