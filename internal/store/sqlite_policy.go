package store

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Policies lists all overrides. One that cannot be read is an error: to go on
// without it would loosen what an operator made strict.
func (s *SQLite) Policies(ctx context.Context) ([]session.PolicyOverride, error) {
	return list(ctx, s, `SELECT tenant, scope, name, patch FROM policies ORDER BY tenant, scope, name`,
		func(stmt *sqlite.Stmt) (session.PolicyOverride, error) {
			o := session.PolicyOverride{Tenant: stmt.ColumnText(0), Scope: stmt.ColumnText(1), Name: stmt.ColumnText(2)}
			err := json.Unmarshal([]byte(stmt.ColumnText(3)), &o.Patch, json.RejectUnknownMembers(true))
			if err != nil {
				err = fmt.Errorf("policy of tenant %s cannot be read: %w", o.Tenant, err)
			}
			return o, err
		})
}

// SavePolicy stores an override, or deletes it if its patch is empty.
func (s *SQLite) SavePolicy(ctx context.Context, o session.PolicyOverride, event audit.Event) error {
	patch, err := json.Marshal(o.Patch)
	if err != nil {
		return fmt.Errorf("%w: policy: %w", session.ErrInvalid, err)
	}
	return s.writer.do(ctx, func(t *tx) error {
		err := t.exec(`DELETE FROM policies WHERE tenant = ?1 AND scope = ?2 AND name = ?3`, o.Tenant, o.Scope, o.Name)
		if err == nil && !o.Patch.Empty() {
			err = t.exec(`INSERT INTO policies (tenant, scope, name, patch) VALUES (?1, ?2, ?3, ?4)`,
				o.Tenant, o.Scope, o.Name, string(patch))
		}
		switch {
		case foreign(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		t.changed(session.Change{Kind: session.PoliciesChanged, Tenant: o.Tenant})
		return t.append(ctx, event)
	})
}
