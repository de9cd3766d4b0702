package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Credential reads an encoded password hash.
func (p *Postgres) Credential(ctx context.Context, tenant, userID string) (string, error) {
	const query = `SELECT encoded FROM credentials WHERE tenant = $1 AND user_id = $2`
	return oneRow(ctx, p, "credential", query, func(row pgx.CollectableRow) (encoded string, err error) {
		return encoded, row.Scan(&encoded)
	}, tenant, userID)
}

// SetCredential replaces a hash that is still old: the statement itself compares,
// so of many who try, on any node, one wins.
func (p *Postgres) SetCredential(ctx context.Context, tenant, userID, old, encoded string, events ...audit.Event) (bool, error) {
	replaced := false
	err := p.do(ctx, func(t *pgTx) (err error) {
		n := 0
		if old == "" {
			n, err = t.exec(`INSERT INTO credentials (tenant, user_id, encoded) VALUES ($1, $2, $3)
				ON CONFLICT (tenant, user_id) DO NOTHING`, tenant, userID, encoded)
		} else {
			n, err = t.exec(`UPDATE credentials SET encoded = $4 WHERE tenant = $1 AND user_id = $2 AND encoded = $3`,
				tenant, userID, old, encoded)
		}
		if foreignKey(err) {
			return notFound("tenant")
		}
		if replaced = err == nil && n == 1; !replaced {
			return err
		}
		return t.append(ctx, events...)
	})
	return replaced && err == nil, err
}

func (t *pgTx) saveCredential(tenant, userID, encoded string) error {
	_, err := t.exec(`INSERT INTO credentials (tenant, user_id, encoded) VALUES ($1, $2, $3)
		ON CONFLICT (tenant, user_id) DO UPDATE SET encoded = excluded.encoded`, tenant, userID, encoded)
	if foreignKey(err) {
		return notFound("tenant")
	}
	return err
}

// ChangePassword stores a hash and ends sessions.
func (p *Postgres) ChangePassword(ctx context.Context, who session.Scope, encoded string, event audit.Event) (ended int, err error) {
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		if err := t.replaceCredential(who.Tenant, who.UserID, encoded); err != nil {
			return err
		}
		ended, err = t.endWith(ctx, who, rows, session.PasswordChanged, event, "the password was changed")
		return err
	})
	return ended, err
}

// endWith ends the sessions of a user because of event, which is written once
// and without a session. Each session gets an event of its own for reason.
func (t *pgTx) endWith(ctx context.Context, who session.Scope, rows map[token.SessionID]*pgRow, why session.Reason, event audit.Event, reason string) (int, error) {
	fillActor(ctx, &event)
	if err := t.event(&event); err != nil {
		return 0, err
	}
	return t.endUser(ctx, who, rows, why, audit.Event{Kind: kindOf(why), Actor: event.Actor, Reason: reason})
}

func (t *pgTx) userChanged(tenant, userID string) {
	t.changed(session.Change{Kind: session.UserChanged, Tenant: tenant, UserID: userID})
}

// CreateUser stores a user with grants and, unless it is empty, a credential.
func (p *Postgres) CreateUser(ctx context.Context, u directory.User, g directory.Grants, encoded string, event audit.Event) error {
	normal, err := directory.NormalName(u.Username)
	if err != nil {
		return err
	}
	return p.do(ctx, func(t *pgTx) error {
		created := u.CreatedAt
		if created.IsZero() {
			created = t.at
		}
		_, err := t.exec(`INSERT INTO users (tenant, id, username, normal_name, active, first_name, last_name, email, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			u.Tenant, u.ID, u.Username, normal, u.Active, u.FirstName, u.LastName, u.Email, micro(created))
		if err != nil {
			return pgUserError(err)
		}
		t.saveGrants(u.Tenant, u.ID, g)
		if encoded != "" {
			if err := t.saveCredential(u.Tenant, u.ID, encoded); err != nil {
				return err
			}
		}
		t.userChanged(u.Tenant, u.ID)
		return t.append(ctx, event)
	})
}

func pgUserError(err error) error {
	switch {
	case uniqueKey(err):
		return fmt.Errorf("user id or name %w", directory.ErrExists)
	case foreignKey(err):
		return notFound("tenant")
	}
	return err
}

// UpdateUser replaces a user's record, but for the time of creation.
func (p *Postgres) UpdateUser(ctx context.Context, u directory.User, event audit.Event) (ended int, err error) {
	normal, err := directory.NormalName(u.Username)
	if err != nil {
		return 0, err
	}
	who := session.Scope{Tenant: u.Tenant, UserID: u.ID}
	update := func(t *pgTx) error {
		err := t.must("user", `UPDATE users SET username = $3, normal_name = $4, active = $5, first_name = $6, last_name = $7,
			email = $8 WHERE tenant = $1 AND id = $2`,
			u.Tenant, u.ID, u.Username, normal, u.Active, u.FirstName, u.LastName, u.Email)
		if err != nil {
			return pgUserError(err)
		}
		t.userChanged(u.Tenant, u.ID)
		return nil
	}
	if u.Active {
		return 0, p.do(ctx, func(t *pgTx) error {
			if err := update(t); err != nil {
				return err
			}
			return t.append(ctx, event)
		})
	}
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		if err := update(t); err != nil {
			return err
		}
		// Whoever makes the user active again gives all attempts back.
		t.clearAttempts(u.Tenant, u.ID)
		ended, err = t.endWith(ctx, who, rows, session.UserDeactivated, event, "the user was deactivated")
		return err
	})
	return ended, err
}

// DeleteUser removes a user and ends all sessions.
func (p *Postgres) DeleteUser(ctx context.Context, tenant, userID string, event audit.Event) (ended int, err error) {
	who := session.Scope{Tenant: tenant, UserID: userID}
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		if err := t.must("user", `DELETE FROM users WHERE tenant = $1 AND id = $2`, tenant, userID); err != nil {
			return err
		}
		t.forgetCredential(tenant, userID)
		keys, err := t.exec(`DELETE FROM api_keys WHERE tenant = $1 AND user_id = $2`, tenant, userID)
		if err != nil {
			return err
		}
		if keys > 0 {
			t.changed(session.Change{Kind: session.APIKeysChanged, Tenant: tenant, UserID: userID})
		}
		t.userChanged(tenant, userID)
		ended, err = t.endWith(ctx, who, rows, session.UserDeleted, event, "the user was deleted")
		return err
	})
	return ended, err
}

// SetGrants replaces what a user was given.
func (p *Postgres) SetGrants(ctx context.Context, tenant, userID string, g directory.Grants, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		found := false
		err := t.query(func(pgx.CollectableRow) error { found = true; return nil },
			`SELECT 1 FROM users WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, userID)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("user")
		}
		t.later(`DELETE FROM grants WHERE tenant = $1 AND user_id = $2`, tenant, userID)
		t.saveGrants(tenant, userID, g)
		t.userChanged(tenant, userID)
		return t.append(ctx, event)
	})
}

func (t *pgTx) saveGrants(tenant, userID string, g directory.Grants) {
	for elevated, names := range map[bool][]string{false: g.Permissions, true: g.Elevated} {
		if len(names) == 0 {
			continue
		}
		t.later(`INSERT INTO grants (tenant, user_id, permission, elevated)
			SELECT $1, $2, name, $3 FROM unnest($4::text[]) AS name ON CONFLICT DO NOTHING`,
			tenant, userID, elevated, cleanTexts(names))
	}
}

// Forget tells a change that was made elsewhere.
func (p *Postgres) Forget(ctx context.Context, tenant, userID string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		if userID == "" {
			t.changed(session.Change{Kind: session.PermissionsChanged, Tenant: tenant})
		} else {
			t.userChanged(tenant, userID)
		}
		return t.append(ctx, event)
	})
}
