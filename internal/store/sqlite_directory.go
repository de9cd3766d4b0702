package store

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Tenants lists all tenants by id.
func (s *SQLite) Tenants(ctx context.Context) ([]directory.Tenant, error) {
	return list(ctx, s, `SELECT id, name, description, created_at FROM tenants ORDER BY id`,
		func(stmt *sqlite.Stmt) (directory.Tenant, error) {
			return directory.Tenant{
				ID: stmt.ColumnText(0), Name: stmt.ColumnText(1), Description: stmt.ColumnText(2),
				CreatedAt: fromMicro(stmt.ColumnInt64(3)),
			}, nil
		})
}

const selectUser = `SELECT tenant, id, username, active, first_name, last_name, email, created_at FROM users`

func scanUser(stmt *sqlite.Stmt) (directory.User, error) {
	return directory.User{
		Tenant: stmt.ColumnText(0), ID: stmt.ColumnText(1), Username: stmt.ColumnText(2), Active: stmt.ColumnBool(3),
		FirstName: stmt.ColumnText(4), LastName: stmt.ColumnText(5), Email: stmt.ColumnText(6),
		CreatedAt: fromMicro(stmt.ColumnInt64(7)),
	}, nil
}

// User finds by id.
func (s *SQLite) User(ctx context.Context, tenant, id string) (directory.User, error) {
	return one(ctx, s, "user", selectUser+` WHERE tenant = ?1 AND id = ?2`, scanUser, tenant, id)
}

// UserByName finds by normal name. A name that nobody can have is ErrInvalid.
func (s *SQLite) UserByName(ctx context.Context, tenant, username string) (directory.User, error) {
	normal, err := directory.NormalName(username)
	if err != nil {
		return directory.User{}, err
	}
	return one(ctx, s, "user", selectUser+` WHERE tenant = ?1 AND normal_name = ?2`, scanUser, tenant, normal)
}

// ListUsers reads users in the order of their normal names, those after a
// name; "" is the beginning.
func (s *SQLite) ListUsers(ctx context.Context, tenant, after string, limit int) ([]directory.User, error) {
	if after != "" {
		var err error
		if after, err = directory.NormalName(after); err != nil {
			return nil, err
		}
	}
	return list(ctx, s, selectUser+` WHERE tenant = ?1 AND normal_name > ?2 ORDER BY normal_name LIMIT ?3`,
		scanUser, tenant, after, pageSize(limit))
}

// Grants reads what a user was given, each list in alphabetical order.
func (s *SQLite) Grants(ctx context.Context, tenant, userID string) (directory.Grants, error) {
	const query = `SELECT g.permission, g.elevated FROM users u
		LEFT JOIN grants g ON g.tenant = u.tenant AND g.user_id = u.id
		WHERE u.tenant = ?1 AND u.id = ?2 ORDER BY g.permission`
	type grant struct {
		name     string
		elevated bool
	}
	all, err := list(ctx, s, query, func(stmt *sqlite.Stmt) (grant, error) {
		return grant{stmt.ColumnText(0), stmt.ColumnBool(1)}, nil
	}, tenant, userID)
	if err == nil && len(all) == 0 {
		err = notFound("user")
	}
	g := directory.Grants{Permissions: []string{}, Elevated: []string{}}
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
func (s *SQLite) PermissionSets(ctx context.Context, tenant string) ([]directory.PermissionSet, error) {
	const query = `SELECT name, display_name, description, sub, elevated_only, module FROM permission_sets
		WHERE tenant = ?1 ORDER BY name, module`
	return list(ctx, s, query, func(stmt *sqlite.Stmt) (directory.PermissionSet, error) {
		set := directory.PermissionSet{
			Name: stmt.ColumnText(0), DisplayName: stmt.ColumnText(1), Description: stmt.ColumnText(2),
			ElevatedOnly: stmt.ColumnBool(4), Module: stmt.ColumnText(5),
		}
		err := json.Unmarshal([]byte(stmt.ColumnText(3)), &set.Sub)
		if err != nil {
			err = fmt.Errorf("permission set of tenant %s cannot be read: %w", tenant, err)
		}
		return set, err
	}, tenant)
}

// SavePermissionSet stores a set that an operator made, or replaces it.
func (s *SQLite) SavePermissionSet(ctx context.Context, tenant string, set directory.PermissionSet, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		if err := t.savePermissionSet(tenant, "", set); err != nil {
			return err
		}
		t.permissionsChanged(tenant)
		return t.append(ctx, event)
	})
}

// DeletePermissionSet deletes a set that an operator made. Grants of its name
// stay, and stand for the bare name.
func (s *SQLite) DeletePermissionSet(ctx context.Context, tenant, name string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		err := t.must("permission set", `DELETE FROM permission_sets WHERE tenant = ?1 AND module = '' AND name = ?2`, tenant, name)
		if err != nil {
			return err
		}
		t.permissionsChanged(tenant)
		return t.append(ctx, event)
	})
}

func (t *tx) savePermissionSet(tenant, module string, set directory.PermissionSet) error {
	sub, err := json.Marshal(set.Sub)
	if err != nil {
		return fmt.Errorf("%w: sub-permissions: %w", directory.ErrInvalid, err)
	}
	err = t.exec(`INSERT OR REPLACE INTO permission_sets (tenant, module, name, display_name, description, sub, elevated_only)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`,
		tenant, module, set.Name, set.DisplayName, set.Description, string(sub), set.ElevatedOnly)
	if foreign(err) {
		return notFound("tenant")
	}
	return err
}

func (t *tx) permissionsChanged(tenant string) {
	t.changed(session.Change{Kind: session.PermissionsChanged, Tenant: tenant})
}
