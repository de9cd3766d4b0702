package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// FailAttempt counts a wrong password.
func (p *Postgres) FailAttempt(ctx context.Context, tenant, userID string, window time.Duration, events ...audit.Event) (n int, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		at := micro(t.at)
		err := t.query(func(row pgx.CollectableRow) error { return row.Scan(&n) },
			`INSERT INTO login_attempts AS a (tenant, user_id, n, at) VALUES ($1, $2, 1, $3)
			ON CONFLICT (tenant, user_id) DO UPDATE SET n = CASE WHEN a.at > $4 THEN a.n + 1 ELSE 1 END, at = excluded.at RETURNING n`,
			tenant, userID, at, at-window.Microseconds())
		if foreignKey(err) {
			return notFound("tenant")
		}
		if err != nil {
			return err
		}
		return t.append(ctx, events...)
	})
	return n, err
}

// Attempts reads the count of wrong passwords.
func (p *Postgres) Attempts(ctx context.Context, tenant, userID string) (session.Attempts, error) {
	return oneRow(ctx, p, "attempt", `SELECT n, at FROM login_attempts WHERE tenant = $1 AND user_id = $2`,
		func(row pgx.CollectableRow) (a session.Attempts, err error) {
			var at int64
			err = row.Scan(&a.Count, &at)
			a.Last = fromMicro(at)
			return a, err
		}, tenant, userID)
}

// ClearAttempts begins the count anew.
func (p *Postgres) ClearAttempts(ctx context.Context, tenant, userID string) error {
	return p.do(ctx, func(t *pgTx) error { t.clearAttempts(tenant, userID); return nil })
}

func (t *pgTx) clearAttempts(tenant, userID string) {
	t.later(`UPDATE login_attempts SET n = 0 WHERE tenant = $1 AND user_id = $2`, tenant, userID)
}

// FormerPasswords reads former hashes.
func (p *Postgres) FormerPasswords(ctx context.Context, tenant, userID string, limit int) ([]string, error) {
	return listRows(ctx, p, `SELECT encoded FROM password_history WHERE tenant = $1 AND user_id = $2 ORDER BY n DESC LIMIT $3`,
		pgx.RowTo[string], tenant, userID, limit)
}

// replaceCredential stores a hash, keeps the former one among those that must
// not come again, and forgets what led to the change. The user is locked.
func (t *pgTx) replaceCredential(tenant, userID, encoded string) error {
	_, err := t.exec(`INSERT INTO password_history (tenant, user_id, n, encoded) SELECT tenant, user_id,
		1 + coalesce((SELECT max(n) FROM password_history WHERE tenant = $1 AND user_id = $2), 0), encoded
		FROM credentials WHERE tenant = $1 AND user_id = $2`, tenant, userID)
	if err != nil {
		return err
	}
	t.later(`DELETE FROM password_history WHERE tenant = $1 AND user_id = $2 AND n <=
		(SELECT max(n) FROM password_history WHERE tenant = $1 AND user_id = $2) - $3`, tenant, userID, historyKept)
	t.later(`DELETE FROM password_actions WHERE tenant = $1 AND user_id = $2`, tenant, userID)
	t.clearAttempts(tenant, userID)
	return t.saveCredential(tenant, userID, encoded)
}

// forgetCredential removes everything that is about the password of a user.
func (t *pgTx) forgetCredential(tenant, userID string) {
	for _, query := range []string{
		`DELETE FROM credentials WHERE tenant = $1 AND user_id = $2`,
		`DELETE FROM password_history WHERE tenant = $1 AND user_id = $2`,
		`DELETE FROM password_actions WHERE tenant = $1 AND user_id = $2`,
		`DELETE FROM login_attempts WHERE tenant = $1 AND user_id = $2`,
	} {
		t.later(query, tenant, userID)
	}
}

// hasCredential locks the hash, if there is one, so that none but the present
// transaction replaces it.
func (t *pgTx) hasCredential(tenant, userID string) (found bool, err error) {
	err = t.query(func(pgx.CollectableRow) error { found = true; return nil },
		`SELECT 1 FROM credentials WHERE tenant = $1 AND user_id = $2 FOR UPDATE`, tenant, userID)
	return found, err
}

// DeleteCredential removes a hash and ends the sessions of the user.
func (p *Postgres) DeleteCredential(ctx context.Context, tenant, userID string, event audit.Event) (ended int, err error) {
	who := session.Scope{Tenant: tenant, UserID: userID}
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		found, err := t.hasCredential(tenant, userID)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("credential")
		}
		t.forgetCredential(tenant, userID)
		ended, err = t.endWith(ctx, who, rows, session.PasswordChanged, event, "the password was removed")
		return err
	})
	return ended, err
}

// SaveAction stores an action in place of the user's former one.
func (p *Postgres) SaveAction(ctx context.Context, a session.PasswordAction, event audit.Event) (hasPassword bool, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		if hasPassword, err = t.hasCredential(a.Tenant, a.UserID); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM password_actions WHERE tenant = $1 AND (user_id = $2 OR expires_at < $3)`,
			a.Tenant, a.UserID, micro(t.at.Add(-actionsKept)))
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO password_actions (tenant, id, user_id, secret, expires_at) VALUES ($1, $2, $3, $4, $5)`,
			a.Tenant, a.ID, a.UserID, a.Secret[:], micro(a.Expires))
		switch {
		case uniqueKey(err):
			return directory.ErrExists
		case foreignKey(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		return t.append(ctx, event)
	}, lockUser(a.Tenant, a.UserID))
	return hasPassword, err
}

// Action reads an action.
func (p *Postgres) Action(ctx context.Context, tenant, id string) (session.PasswordAction, error) {
	return oneRow(ctx, p, "password action", `SELECT tenant, id, user_id, secret, expires_at FROM password_actions
		WHERE tenant = $1 AND id = $2`, func(row pgx.CollectableRow) (a session.PasswordAction, err error) {
		var raw []byte
		var expires int64
		err = row.Scan(&a.Tenant, &a.ID, &a.UserID, &raw, &expires)
		a.Secret, a.Expires = secretOf(raw), fromMicro(expires)
		return a, err
	}, tenant, id)
}

// UseAction sets a password once: the lock of the user lets one at a time look
// whether the action is still there.
func (p *Postgres) UseAction(ctx context.Context, a session.PasswordAction, encoded string, event audit.Event) (first bool, ended int, err error) {
	who := session.Scope{Tenant: a.Tenant, UserID: a.UserID}
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		err := t.must("password action", `DELETE FROM password_actions
			WHERE tenant = $1 AND id = $2 AND user_id = $3 AND secret = $4 AND expires_at > $5`,
			a.Tenant, a.ID, a.UserID, a.Secret[:], micro(t.now))
		if err != nil {
			return err
		}
		had, err := t.hasCredential(a.Tenant, a.UserID)
		if err != nil {
			return err
		}
		first = !had
		if err := t.replaceCredential(a.Tenant, a.UserID, encoded); err != nil {
			return err
		}
		ended, err = t.endWith(ctx, who, rows, session.PasswordChanged, event, "the password was set anew")
		return err
	})
	return first, ended, err
}

// FindUsers finds users by id, name or e-mail address.
func (p *Postgres) FindUsers(ctx context.Context, tenant, who string, limit int) ([]directory.User, error) {
	normal, err := directory.NormalName(who)
	if err != nil {
		normal = "" // nobody's name, it may still be an address
	}
	// Three questions, each with an index of its own.
	return listRows(ctx, p, selectUser+` WHERE tenant = $1 AND id IN (
		SELECT id FROM users WHERE tenant = $1 AND id = lower($2 COLLATE "C")
		UNION SELECT id FROM users WHERE tenant = $1 AND normal_name = $3 AND $3 <> ''
		UNION SELECT id FROM users WHERE tenant = $1 AND lower(email) = lower($2 COLLATE "C") AND email <> '') ORDER BY id LIMIT $4`,
		scanUserRow, tenant, who, normal, limit)
}

const pgLoginLog = ` FROM events e WHERE tenant = $1 AND user_id <> '' AND ($2 = '' OR user_id = $2)
	AND kind = ANY ($3::text[]) AND seq > coalesce((SELECT max(seq) FROM events c
		WHERE c.user_id = e.user_id AND c.tenant = e.tenant AND c.kind = 'login_log_cleared'), 0)`

// LoginLog reads a page of events about users.
func (p *Postgres) LoginLog(ctx context.Context, f session.LogFilter) ([]audit.Event, int, error) {
	kinds := kindNames(f.Kinds)
	offset, limit := logPage(f)
	total, err := oneRow(ctx, p, "count", `SELECT count(*)::integer FROM (SELECT 1`+pgLoginLog+` LIMIT $4) AS counted`,
		pgx.RowTo[int], f.Tenant, f.UserID, kinds, logCounted)
	if err != nil {
		return nil, 0, err
	}
	events, err := listRows(ctx, p, `SELECT `+eventColumns+pgLoginLog+` ORDER BY seq DESC LIMIT $4 OFFSET $5`, scanEventRow,
		f.Tenant, f.UserID, kinds, limit, offset)
	return events, total, err
}
