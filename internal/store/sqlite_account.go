package store

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

const selectCredential = `SELECT encoded FROM credentials WHERE tenant = ?1 AND user_id = ?2`

// Credential reads an encoded password hash.
func (s *SQLite) Credential(ctx context.Context, tenant, userID string) (string, error) {
	return one(ctx, s, "credential", selectCredential, func(stmt *sqlite.Stmt) (string, error) {
		return stmt.ColumnText(0), nil
	}, tenant, userID)
}

// SetCredential replaces a hash that is still old.
func (s *SQLite) SetCredential(ctx context.Context, tenant, userID, old, encoded string, events ...audit.Event) (bool, error) {
	replaced := false
	err := s.writer.do(ctx, func(t *tx) error {
		present := ""
		err := rows(t.conn, selectCredential, func(stmt *sqlite.Stmt) error {
			present = stmt.ColumnText(0)
			return nil
		}, tenant, userID)
		if replaced = err == nil && present == old; !replaced {
			return err
		}
		if err := t.saveCredential(tenant, userID, encoded); err != nil {
			return err
		}
		return t.append(ctx, events...)
	})
	return replaced && err == nil, err
}

func (t *tx) saveCredential(tenant, userID, encoded string) error {
	err := t.exec(`INSERT INTO credentials (tenant, user_id, encoded) VALUES (?1, ?2, ?3)
		ON CONFLICT (tenant, user_id) DO UPDATE SET encoded = excluded.encoded`, tenant, userID, encoded)
	if foreign(err) {
		return notFound("tenant")
	}
	return err
}

// ChangePassword stores a hash and ends sessions.
func (s *SQLite) ChangePassword(ctx context.Context, who session.Scope, encoded string, event audit.Event) (ended int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if err := t.replaceCredential(who.Tenant, who.UserID, encoded); err != nil {
			return err
		}
		ended, err = t.endWith(ctx, who, session.PasswordChanged, event, "the password was changed")
		return err
	})
	return ended, err
}

// endWith ends the sessions of a user because of event, which is written once
// and without a session. Each session gets an event of its own for reason.
func (t *tx) endWith(ctx context.Context, who session.Scope, why session.Reason, event audit.Event, reason string) (int, error) {
	fillActor(ctx, &event)
	if err := t.insertEvent(&event); err != nil {
		return 0, err
	}
	return t.endUser(ctx, who, why, audit.Event{Kind: kindOf(why), Actor: event.Actor, Reason: reason})
}

func (t *tx) userChanged(tenant, userID string) {
	t.changed(session.Change{Kind: session.UserChanged, Tenant: tenant, UserID: userID})
}

// CreateUser stores a user with grants and, unless it is empty, a credential.
func (s *SQLite) CreateUser(ctx context.Context, u directory.User, g directory.Grants, encoded string, event audit.Event) error {
	normal, err := directory.NormalName(u.Username)
	if err != nil {
		return err
	}
	return s.writer.do(ctx, func(t *tx) error {
		created := u.CreatedAt
		if created.IsZero() {
			created = t.at
		}
		err := t.exec(`INSERT INTO users (tenant, id, username, normal_name, active, first_name, last_name, email, created_at)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`,
			u.Tenant, u.ID, u.Username, normal, u.Active, u.FirstName, u.LastName, u.Email, micro(created))
		if err != nil {
			return userError(err)
		}
		if err := t.saveGrants(u.Tenant, u.ID, g); err != nil {
			return err
		}
		if encoded != "" {
			if err := t.saveCredential(u.Tenant, u.ID, encoded); err != nil {
				return err
			}
		}
		t.userChanged(u.Tenant, u.ID)
		return t.append(ctx, event)
	})
}

func userError(err error) error {
	switch {
	case unique(err):
		return fmt.Errorf("user id or name %w", directory.ErrExists)
	case foreign(err):
		return notFound("tenant")
	}
	return err
}

// UpdateUser replaces a user's record, but for the time of creation.
func (s *SQLite) UpdateUser(ctx context.Context, u directory.User, event audit.Event) (ended int, err error) {
	normal, err := directory.NormalName(u.Username)
	if err != nil {
		return 0, err
	}
	err = s.writer.do(ctx, func(t *tx) error {
		err := t.must("user", `UPDATE users SET username = ?3, normal_name = ?4, active = ?5, first_name = ?6, last_name = ?7,
			email = ?8 WHERE tenant = ?1 AND id = ?2`,
			u.Tenant, u.ID, u.Username, normal, u.Active, u.FirstName, u.LastName, u.Email)
		if err != nil {
			return userError(err)
		}
		t.userChanged(u.Tenant, u.ID)
		if u.Active {
			ended = 0
			return t.append(ctx, event)
		}
		// Whoever makes the user active again gives all attempts back.
		if err := t.clearAttempts(u.Tenant, u.ID); err != nil {
			return err
		}
		who := session.Scope{Tenant: u.Tenant, UserID: u.ID}
		ended, err = t.endWith(ctx, who, session.UserDeactivated, event, "the user was deactivated")
		return err
	})
	return ended, err
}

// DeleteUser removes a user and ends all sessions.
func (s *SQLite) DeleteUser(ctx context.Context, tenant, userID string, event audit.Event) (ended int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if err := t.must("user", `DELETE FROM users WHERE tenant = ?1 AND id = ?2`, tenant, userID); err != nil {
			return err
		}
		if err := t.forgetCredential(tenant, userID); err != nil {
			return err
		}
		if err := t.exec(`DELETE FROM api_keys WHERE tenant = ?1 AND user_id = ?2`, tenant, userID); err != nil {
			return err
		}
		if t.conn.Changes() > 0 {
			t.changed(session.Change{Kind: session.APIKeysChanged, Tenant: tenant, UserID: userID})
		}
		t.userChanged(tenant, userID)
		who := session.Scope{Tenant: tenant, UserID: userID}
		ended, err = t.endWith(ctx, who, session.UserDeleted, event, "the user was deleted")
		return err
	})
	return ended, err
}

// SetGrants replaces what a user was given.
func (s *SQLite) SetGrants(ctx context.Context, tenant, userID string, g directory.Grants, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		found, err := t.exists(`SELECT 1 FROM users WHERE tenant = ?1 AND id = ?2`, tenant, userID)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("user")
		}
		if err := t.exec(`DELETE FROM grants WHERE tenant = ?1 AND user_id = ?2`, tenant, userID); err != nil {
			return err
		}
		if err := t.saveGrants(tenant, userID, g); err != nil {
			return err
		}
		t.userChanged(tenant, userID)
		return t.append(ctx, event)
	})
}

func (t *tx) saveGrants(tenant, userID string, g directory.Grants) error {
	const query = `INSERT OR IGNORE INTO grants (tenant, user_id, permission, elevated) VALUES (?1, ?2, ?3, ?4)`
	for _, name := range g.Permissions {
		if err := t.exec(query, tenant, userID, name, false); err != nil {
			return err
		}
	}
	for _, name := range g.Elevated {
		if err := t.exec(query, tenant, userID, name, true); err != nil {
			return err
		}
	}
	return nil
}

// Forget tells a change that was made elsewhere.
func (s *SQLite) Forget(ctx context.Context, tenant, userID string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		if userID == "" {
			t.changed(session.Change{Kind: session.PermissionsChanged, Tenant: tenant})
		} else {
			t.userChanged(tenant, userID)
		}
		return t.append(ctx, event)
	})
}
