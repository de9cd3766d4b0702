package store

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

const selectImported = `SELECT coalesce((SELECT salt FROM imported_credentials WHERE tenant = ?1 AND user_id = ?2), ''),
	EXISTS (SELECT 1 FROM credentials WHERE tenant = ?1 AND user_id = ?2)`

// ImportedCredential tells what an import has left.
func (s *SQLite) ImportedCredential(ctx context.Context, tenant, userID string) (salt string, hasPassword bool, err error) {
	_, err = one(ctx, s, "credential", selectImported, func(stmt *sqlite.Stmt) (struct{}, error) {
		salt, hasPassword = stmt.ColumnText(0), stmt.ColumnBool(1)
		return struct{}{}, nil
	}, tenant, userID)
	return salt, hasPassword, err
}

// ImportCredential stores an imported hash.
func (s *SQLite) ImportCredential(ctx context.Context, c session.ImportedCredential, oldSalt string, event audit.Event) (done bool, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		salt, had := "", false
		err := rows(t.conn, selectImported, func(stmt *sqlite.Stmt) error {
			salt, had = stmt.ColumnText(0), stmt.ColumnBool(1)
			return nil
		}, c.Tenant, c.UserID)
		if done = err == nil && salt == oldSalt; !done {
			return err
		}
		err = t.exec(`INSERT INTO imported_credentials (tenant, user_id, salt) VALUES (?1, ?2, ?3)
			ON CONFLICT (tenant, user_id) DO UPDATE SET salt = excluded.salt`, c.Tenant, c.UserID, c.Salt)
		if foreign(err) {
			return notFound("tenant")
		}
		if err != nil {
			return err
		}
		if err := t.replaceCredential(c.Tenant, c.UserID, c.Encoded); err != nil {
			return err
		}
		if !had {
			return t.append(ctx, event)
		}
		who := session.Scope{Tenant: c.Tenant, UserID: c.UserID}
		_, err = t.endWith(ctx, who, session.PasswordChanged, event, "the password was changed in mod-login")
		return err
	})
	return done && err == nil, err
}

// ImportOldTokens allows and withdraws refresh tokens of mod-authtoken.
func (s *SQLite) ImportOldTokens(ctx context.Context, tenant string, tokens []session.OldToken, event audit.Event) (allowed, withdrawn int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		allowed, withdrawn = 0, 0
		if err := t.exec(`DELETE FROM old_tokens WHERE tenant = ?1 AND expires_at < ?2`, tenant, micro(t.at)); err != nil {
			return err
		}
		for _, o := range tokens {
			query, count := `INSERT INTO old_tokens (tenant, id, user_id, expires_at, used_at, session) VALUES (?1, ?2, ?3, ?4, 0, '')
				ON CONFLICT (tenant, id) DO NOTHING`, &allowed
			args := []any{tenant, o.ID, o.UserID, micro(o.Expires)}
			switch {
			case o.Revoked:
				query, count, args = `DELETE FROM old_tokens WHERE tenant = ?1 AND id = ?2 AND used_at = 0`, &withdrawn, args[:2]
			case o.Expires.Before(t.at):
				continue
			}
			if err := t.exec(query, args...); foreign(err) {
				return notFound("tenant")
			} else if err != nil {
				return err
			}
			*count += t.conn.Changes()
		}
		if allowed+withdrawn == 0 {
			return nil
		}
		return t.append(ctx, event)
	})
	return allowed, withdrawn, err
}

const selectOldToken = `SELECT id, user_id, expires_at, used_at, session FROM old_tokens WHERE tenant = ?1 AND id = ?2`

// useOldToken marks a token as used and returns what it was before.
func (t *tx) useOldToken(tenant, id, became string) (before session.OldToken, err error) {
	found := false
	err = rows(t.conn, selectOldToken, func(stmt *sqlite.Stmt) (err error) {
		found = true
		before, err = oldToken(stmt.ColumnText(0), stmt.ColumnText(1), stmt.ColumnText(4), stmt.ColumnInt64(2), stmt.ColumnInt64(3))
		return err
	}, tenant, id)
	switch {
	case err != nil:
		return before, err
	case !found:
		return before, notFound("old token")
	case !before.UsedAt.IsZero():
		return before, nil
	}
	return before, t.exec(`UPDATE old_tokens SET used_at = ?3, session = ?4 WHERE tenant = ?1 AND id = ?2`, tenant, id, micro(t.at), became)
}

// SwapOldToken stores a session in place of a refresh token of mod-authtoken.
func (s *SQLite) SwapOldToken(ctx context.Context, tenant, id string, one *session.Session, limit int, events ...audit.Event) (before session.OldToken, first bool, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if before, err = t.useOldToken(tenant, id, one.ID.String()); err != nil {
			return err
		}
		if first = before.UsedAt.IsZero(); !first {
			return nil
		}
		return t.createSession(ctx, one, limit, events...)
	})
	return before, first && err == nil, err
}

// SpendOldToken keeps a refresh token of mod-authtoken from becoming a session.
func (s *SQLite) SpendOldToken(ctx context.Context, tenant, id string, event audit.Event) (before session.OldToken, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if before, err = t.useOldToken(tenant, id, ""); err != nil || !before.UsedAt.IsZero() {
			return err
		}
		return t.append(ctx, event)
	})
	return before, err
}
