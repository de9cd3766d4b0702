package store

import (
	"context"
	"encoding/json"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// FailAttempt counts a wrong password.
func (s *SQLite) FailAttempt(ctx context.Context, tenant, userID string, window time.Duration, events ...audit.Event) (n int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		at := micro(t.at)
		err := t.exec(`INSERT INTO login_attempts (tenant, user_id, n, at) VALUES (?1, ?2, 1, ?3)
			ON CONFLICT (tenant, user_id) DO UPDATE SET n = CASE WHEN at > ?4 THEN n + 1 ELSE 1 END, at = excluded.at`,
			tenant, userID, at, at-window.Microseconds())
		if foreign(err) {
			return notFound("tenant")
		}
		if err != nil {
			return err
		}
		count, err := t.number(`SELECT n FROM login_attempts WHERE tenant = ?1 AND user_id = ?2`, tenant, userID)
		if err != nil {
			return err
		}
		n = int(count)
		return t.append(ctx, events...)
	})
	return n, err
}

// Attempts reads the count of wrong passwords.
func (s *SQLite) Attempts(ctx context.Context, tenant, userID string) (session.Attempts, error) {
	return one(ctx, s, "attempt", `SELECT n, at FROM login_attempts WHERE tenant = ?1 AND user_id = ?2`,
		func(stmt *sqlite.Stmt) (session.Attempts, error) {
			return session.Attempts{Count: stmt.ColumnInt(0), Last: fromMicro(stmt.ColumnInt64(1))}, nil
		}, tenant, userID)
}

// ClearAttempts begins the count anew.
func (s *SQLite) ClearAttempts(ctx context.Context, tenant, userID string) error {
	return s.writer.do(ctx, func(t *tx) error { return t.clearAttempts(tenant, userID) })
}

func (t *tx) clearAttempts(tenant, userID string) error {
	return t.exec(`UPDATE login_attempts SET n = 0 WHERE tenant = ?1 AND user_id = ?2`, tenant, userID)
}

// FormerPasswords reads former hashes.
func (s *SQLite) FormerPasswords(ctx context.Context, tenant, userID string, limit int) ([]string, error) {
	return list(ctx, s, `SELECT encoded FROM password_history WHERE tenant = ?1 AND user_id = ?2 ORDER BY n DESC LIMIT ?3`,
		func(stmt *sqlite.Stmt) (string, error) { return stmt.ColumnText(0), nil }, tenant, userID, limit)
}

// replaceCredential stores a hash, keeps the former one among those that must
// not come again, and forgets what led to the change.
func (t *tx) replaceCredential(tenant, userID, encoded string) error {
	for _, query := range []string{
		`INSERT INTO password_history (tenant, user_id, n, encoded) SELECT tenant, user_id,
			1 + coalesce((SELECT max(n) FROM password_history WHERE tenant = ?1 AND user_id = ?2), 0), encoded
			FROM credentials WHERE tenant = ?1 AND user_id = ?2`,
		`DELETE FROM password_actions WHERE tenant = ?1 AND user_id = ?2`,
		`UPDATE login_attempts SET n = 0 WHERE tenant = ?1 AND user_id = ?2`,
	} {
		if err := t.exec(query, tenant, userID); err != nil {
			return err
		}
	}
	err := t.exec(`DELETE FROM password_history WHERE tenant = ?1 AND user_id = ?2 AND n <=
		(SELECT max(n) FROM password_history WHERE tenant = ?1 AND user_id = ?2) - ?3`, tenant, userID, historyKept)
	if err != nil {
		return err
	}
	return t.saveCredential(tenant, userID, encoded)
}

// forgetCredential removes everything that is about the password of a user.
func (t *tx) forgetCredential(tenant, userID string) error {
	for _, query := range []string{
		`DELETE FROM credentials WHERE tenant = ?1 AND user_id = ?2`,
		`DELETE FROM password_history WHERE tenant = ?1 AND user_id = ?2`,
		`DELETE FROM password_actions WHERE tenant = ?1 AND user_id = ?2`,
		`DELETE FROM login_attempts WHERE tenant = ?1 AND user_id = ?2`,
	} {
		if err := t.exec(query, tenant, userID); err != nil {
			return err
		}
	}
	return nil
}

// DeleteCredential removes a hash and ends the sessions of the user.
func (s *SQLite) DeleteCredential(ctx context.Context, tenant, userID string, event audit.Event) (ended int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		found, err := t.exists(selectCredential, tenant, userID)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("credential")
		}
		if err := t.forgetCredential(tenant, userID); err != nil {
			return err
		}
		ended, err = t.endWith(ctx, session.Scope{Tenant: tenant, UserID: userID}, session.PasswordChanged, event, "the password was removed")
		return err
	})
	return ended, err
}

// SaveAction stores an action in place of the user's former one.
func (s *SQLite) SaveAction(ctx context.Context, a session.PasswordAction, event audit.Event) (hasPassword bool, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if hasPassword, err = t.exists(selectCredential, a.Tenant, a.UserID); err != nil {
			return err
		}
		err := t.exec(`DELETE FROM password_actions WHERE tenant = ?1 AND (user_id = ?2 OR expires_at < ?3)`,
			a.Tenant, a.UserID, micro(t.at.Add(-actionsKept)))
		if err != nil {
			return err
		}
		err = t.exec(`INSERT INTO password_actions (tenant, id, user_id, secret, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)`,
			a.Tenant, a.ID, a.UserID, a.Secret[:], micro(a.Expires))
		switch {
		case unique(err):
			return directory.ErrExists
		case foreign(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		return t.append(ctx, event)
	})
	return hasPassword, err
}

// Action reads an action.
func (s *SQLite) Action(ctx context.Context, tenant, id string) (session.PasswordAction, error) {
	return one(ctx, s, "password action", selectAction, scanAction, tenant, id)
}

const selectAction = `SELECT tenant, id, user_id, secret, expires_at FROM password_actions WHERE tenant = ?1 AND id = ?2`

func scanAction(stmt *sqlite.Stmt) (session.PasswordAction, error) {
	raw := make([]byte, stmt.ColumnLen(3))
	stmt.ColumnBytes(3, raw)
	return session.PasswordAction{
		Tenant: stmt.ColumnText(0), ID: stmt.ColumnText(1), UserID: stmt.ColumnText(2),
		Secret: secretOf(raw), Expires: fromMicro(stmt.ColumnInt64(4)),
	}, nil
}

// UseAction sets a password once.
func (s *SQLite) UseAction(ctx context.Context, a session.PasswordAction, encoded string, event audit.Event) (first bool, ended int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		had, err := t.exists(selectCredential, a.Tenant, a.UserID)
		if err != nil {
			return err
		}
		first = !had
		err = t.must("password action", `DELETE FROM password_actions
			WHERE tenant = ?1 AND id = ?2 AND user_id = ?3 AND secret = ?4 AND expires_at > ?5`,
			a.Tenant, a.ID, a.UserID, a.Secret[:], micro(t.now))
		if err != nil {
			return err
		}
		if err := t.replaceCredential(a.Tenant, a.UserID, encoded); err != nil {
			return err
		}
		who := session.Scope{Tenant: a.Tenant, UserID: a.UserID}
		ended, err = t.endWith(ctx, who, session.PasswordChanged, event, "the password was set anew")
		return err
	})
	return first, ended, err
}

// FindUsers finds users by id, name or e-mail address.
func (s *SQLite) FindUsers(ctx context.Context, tenant, who string, limit int) ([]directory.User, error) {
	normal, err := directory.NormalName(who)
	if err != nil {
		normal = "" // nobody's name, it may still be an address
	}
	// Three questions, each with an index of its own.
	const query = selectUser + ` WHERE tenant = ?1 AND id IN (
		SELECT id FROM users WHERE tenant = ?1 AND id = lower(?2)
		UNION SELECT id FROM users WHERE tenant = ?1 AND normal_name = ?3 AND ?3 <> ''
		UNION SELECT id FROM users WHERE tenant = ?1 AND lower(email) = lower(?2) AND email <> '') ORDER BY id LIMIT ?4`
	return list(ctx, s, query, scanUser, tenant, who, normal, limit)
}

const loginLog = ` FROM events e WHERE tenant = ?1 AND user_id <> '' AND (?2 = '' OR user_id = ?2)
	AND kind IN (SELECT value FROM json_each(?3)) AND seq > coalesce((SELECT max(seq) FROM events c
		WHERE c.user_id = e.user_id AND c.tenant = e.tenant AND c.kind = 'login_log_cleared'), 0)`

// LoginLog reads a page of events about users.
func (s *SQLite) LoginLog(ctx context.Context, f session.LogFilter) ([]audit.Event, int, error) {
	kinds, err := json.Marshal(kindNames(f.Kinds))
	if err != nil {
		return nil, 0, err
	}
	offset, limit := logPage(f)
	total, err := one(ctx, s, "count", `SELECT count(*) FROM (SELECT 1`+loginLog+` LIMIT ?4)`,
		func(stmt *sqlite.Stmt) (int, error) { return stmt.ColumnInt(0), nil }, f.Tenant, f.UserID, string(kinds), logCounted)
	if err != nil {
		return nil, 0, err
	}
	events, err := list(ctx, s, `SELECT `+eventColumns+loginLog+` ORDER BY seq DESC LIMIT ?4 OFFSET ?5`, scanEvent,
		f.Tenant, f.UserID, string(kinds), limit, offset)
	return events, total, err
}
