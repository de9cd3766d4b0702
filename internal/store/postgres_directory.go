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

// Tenants lists all tenants by id.
func (p *Postgres) Tenants(ctx context.Context) ([]directory.Tenant, error) {
	return listRows(ctx, p, `SELECT id, name, description, created_at FROM tenants ORDER BY id`,
		func(row pgx.CollectableRow) (t directory.Tenant, err error) {
			var created int64
			err = row.Scan(&t.ID, &t.Name, &t.Description, &created)
			t.CreatedAt = fromMicro(created)
			return t, err
		})
}

func scanUserRow(row pgx.CollectableRow) (u directory.User, err error) {
	var created int64
	err = row.Scan(&u.Tenant, &u.ID, &u.Username, &u.Active, &u.FirstName, &u.LastName, &u.Email, &created)
	u.CreatedAt = fromMicro(created)
	return u, err
}

// User finds by id.
func (p *Postgres) User(ctx context.Context, tenant, id string) (directory.User, error) {
	return oneRow(ctx, p, "user", selectUser+` WHERE tenant = $1 AND id = $2`, scanUserRow, tenant, id)
}

// UserByName finds by normal name. A name that nobody can have is ErrInvalid.
func (p *Postgres) UserByName(ctx context.Context, tenant, username string) (directory.User, error) {
	normal, err := directory.NormalName(username)
	if err != nil {
		return directory.User{}, err
	}
	return oneRow(ctx, p, "user", selectUser+` WHERE tenant = $1 AND normal_name = $2`, scanUserRow, tenant, normal)
}

// ListUsers reads users in the order of their normal names, those after a
// name; "" is the beginning.
func (p *Postgres) ListUsers(ctx context.Context, tenant, after string, limit int) ([]directory.User, error) {
	if after != "" {
		var err error
		if after, err = directory.NormalName(after); err != nil {
			return nil, err
		}
	}
	return listRows(ctx, p, selectUser+` WHERE tenant = $1 AND normal_name > $2 ORDER BY normal_name LIMIT $3`,
		scanUserRow, tenant, after, pageSize(limit))
}

// Grants reads what a user was given, each list in alphabetical order.
func (p *Postgres) Grants(ctx context.Context, tenant, userID string) (directory.Grants, error) {
	const query = `SELECT coalesce(g.permission, ''), coalesce(g.elevated, false) FROM users u
		LEFT JOIN grants g ON g.tenant = u.tenant AND g.user_id = u.id
		WHERE u.tenant = $1 AND u.id = $2 ORDER BY g.permission`
	g := directory.Grants{Permissions: []string{}, Elevated: []string{}}
	type grant struct {
		name     string
		elevated bool
	}
	all, err := listRows(ctx, p, query, func(row pgx.CollectableRow) (one grant, err error) {
		return one, row.Scan(&one.name, &one.elevated)
	}, tenant, userID)
	if err == nil && len(all) == 0 {
		err = notFound("user")
	}
	for _, one := range all {
		switch {
		case one.name == "": // a user without grants
		case one.elevated:
			g.Elevated = append(g.Elevated, one.name)
		default:
			g.Permissions = append(g.Permissions, one.name)
		}
	}
	return g, err
}

// PermissionSets lists the sets of a tenant by name.
func (p *Postgres) PermissionSets(ctx context.Context, tenant string) ([]directory.PermissionSet, error) {
	const query = `SELECT name, display_name, description, sub, elevated_only, module FROM permission_sets
		WHERE tenant = $1 ORDER BY name, module`
	return listRows(ctx, p, query, func(row pgx.CollectableRow) (set directory.PermissionSet, err error) {
		var sub string
		if err := row.Scan(&set.Name, &set.DisplayName, &set.Description, &sub, &set.ElevatedOnly, &set.Module); err != nil {
			return set, err
		}
		if err := json.Unmarshal([]byte(sub), &set.Sub); err != nil {
			return set, fmt.Errorf("permission set of tenant %s cannot be read: %w", tenant, err)
		}
		return set, nil
	}, tenant)
}

// SavePermissionSet stores a set that an operator made, or replaces it.
func (p *Postgres) SavePermissionSet(ctx context.Context, tenant string, set directory.PermissionSet, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		if err := t.savePermissionSet(tenant, "", set); err != nil {
			return err
		}
		t.permissionsChanged(tenant)
		return t.append(ctx, event)
	})
}

// DeletePermissionSet deletes a set that an operator made. Grants of its name
// stay, and stand for the bare name.
func (p *Postgres) DeletePermissionSet(ctx context.Context, tenant, name string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		err := t.must("permission set", `DELETE FROM permission_sets WHERE tenant = $1 AND module = '' AND name = $2`, tenant, name)
		if err != nil {
			return err
		}
		t.permissionsChanged(tenant)
		return t.append(ctx, event)
	})
}

func (t *pgTx) savePermissionSet(tenant, module string, set directory.PermissionSet) error {
	sub, err := json.Marshal(set.Sub)
	if err != nil {
		return fmt.Errorf("%w: sub-permissions: %w", directory.ErrInvalid, err)
	}
	_, err = t.exec(`INSERT INTO permission_sets (tenant, module, name, display_name, description, sub, elevated_only)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (tenant, module, name) DO UPDATE SET display_name = excluded.display_name,
		description = excluded.description, sub = excluded.sub, elevated_only = excluded.elevated_only`,
		tenant, module, set.Name, set.DisplayName, set.Description, string(sub), set.ElevatedOnly)
	if foreignKey(err) {
		return notFound("tenant")
	}
	return err
}

func (t *pgTx) permissionsChanged(tenant string) {
	t.changed(session.Change{Kind: session.PermissionsChanged, Tenant: tenant})
}
