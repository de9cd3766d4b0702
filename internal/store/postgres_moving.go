package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const pgSelectImported = `SELECT coalesce((SELECT salt FROM imported_credentials WHERE tenant = $1 AND user_id = $2), ''),
	EXISTS (SELECT 1 FROM credentials WHERE tenant = $1 AND user_id = $2)`

// ImportedCredential tells what an import has left.
func (p *Postgres) ImportedCredential(ctx context.Context, tenant, userID string) (salt string, hasPassword bool, err error) {
	_, err = oneRow(ctx, p, "credential", pgSelectImported, func(row pgx.CollectableRow) (struct{}, error) {
		return struct{}{}, row.Scan(&salt, &hasPassword)
	}, tenant, userID)
	return salt, hasPassword, err
}

// ImportCredential stores an imported hash. The lock of the user lets one at a
// time look what was imported before.
func (p *Postgres) ImportCredential(ctx context.Context, c session.ImportedCredential, oldSalt string, event audit.Event) (done bool, err error) {
	who := session.Scope{Tenant: c.Tenant, UserID: c.UserID}
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		salt, had := "", false
		err := t.query(func(row pgx.CollectableRow) error { return row.Scan(&salt, &had) }, pgSelectImported, c.Tenant, c.UserID)
		// An equal salt is a commit of ours whose answer was lost, or another
		// import of the same row.
		if done = err == nil && salt == oldSalt; !done {
			return err
		}
		_, err = t.exec(`INSERT INTO imported_credentials (tenant, user_id, salt) VALUES ($1, $2, $3)
			ON CONFLICT (tenant, user_id) DO UPDATE SET salt = excluded.salt`, c.Tenant, c.UserID, c.Salt)
		if foreignKey(err) {
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
		_, err = t.endWith(ctx, who, rows, session.PasswordChanged, event, "the password was changed in mod-login")
		return err
	})
	return done && err == nil, err
}

// ImportOldTokens allows and withdraws refresh tokens of mod-authtoken.
func (p *Postgres) ImportOldTokens(ctx context.Context, tenant string, tokens []session.OldToken, event audit.Event) (allowed, withdrawn int, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		allowed, withdrawn = 0, 0
		if _, err := t.exec(`DELETE FROM old_tokens WHERE tenant = $1 AND expires_at < $2`, tenant, micro(t.at)); err != nil {
			return err
		}
		var ids, users, revoked []string
		var expires []int64
		for _, o := range tokens {
			switch {
			case o.Revoked:
				revoked = append(revoked, o.ID)
			case !o.Expires.Before(t.at):
				ids, users, expires = append(ids, o.ID), append(users, o.UserID), append(expires, micro(o.Expires))
			}
		}
		// In one order, so that two imports at once do not wait for each other.
		allowed, err = t.exec(`INSERT INTO old_tokens (tenant, id, user_id, expires_at, used_at, session)
			SELECT $1, id, user_id, expires_at, 0, '' FROM unnest($2::text[], $3::text[], $4::bigint[]) AS o (id, user_id, expires_at)
			ORDER BY id ON CONFLICT (tenant, id) DO NOTHING`, tenant, ids, users, expires)
		if foreignKey(err) {
			return notFound("tenant")
		}
		if err != nil {
			return err
		}
		withdrawn, err = t.exec(`DELETE FROM old_tokens WHERE tenant = $1 AND id = ANY ($2::text[]) AND used_at = 0`, tenant, revoked)
		if err != nil || allowed+withdrawn == 0 {
			return err
		}
		return t.append(ctx, event)
	})
	return allowed, withdrawn, err
}

// useOldToken marks a token as used and returns what it was before.
func (t *pgTx) useOldToken(tenant, id, became string) (before session.OldToken, err error) {
	found := false
	err = t.query(func(row pgx.CollectableRow) error {
		var one, user, became string
		var expires, used int64
		if err := row.Scan(&one, &user, &expires, &used, &became); err != nil {
			return err
		}
		found = true
		before, err = oldToken(one, user, became, expires, used)
		return err
	}, `SELECT id, user_id, expires_at, used_at, session FROM old_tokens WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, id)
	switch {
	case err != nil:
		return before, err
	case !found:
		return before, notFound("old token")
	case !before.UsedAt.IsZero():
		return before, nil
	}
	_, err = t.exec(`UPDATE old_tokens SET used_at = $3, session = $4 WHERE tenant = $1 AND id = $2`, tenant, id, micro(t.at), became)
	return before, err
}

// SwapOldToken stores a session in place of a refresh token of mod-authtoken. Where
// the answer to a commit was lost, the row names this very session.
func (p *Postgres) SwapOldToken(ctx context.Context, tenant, id string, one *session.Session, limit int, events ...audit.Event) (before session.OldToken, first bool, err error) {
	var tenantEpoch, userEpoch uint64
	var living int
	err = p.do(ctx, func(t *pgTx) error {
		if before, err = t.useOldToken(tenant, id, one.ID.String()); err != nil {
			return err
		}
		if first = before.UsedAt.IsZero(); !first {
			first = before.Session == one.ID
			return nil
		}
		t.insertSession(one, tenantEpoch, userEpoch)
		if err := t.append(ctx, events...); err != nil || limit < 1 || living < limit {
			return err
		}
		return t.evict(ctx, one, limit)
	},
		lockUser(one.Tenant, one.UserID),
		readNewestEpoch(one.Tenant, &tenantEpoch), readEpoch(one.Tenant, one.UserID, &userEpoch),
		statement{sql: pgCountLive, args: []any{one.UserID, one.Tenant, micro(p.Now())}, each: func(row pgx.CollectableRow) error {
			return row.Scan(&living)
		}})
	if err == nil && first {
		one.TenantEpoch, one.UserEpoch = tenantEpoch, userEpoch
	}
	return before, first && err == nil, err
}

// SpendOldToken keeps a refresh token of mod-authtoken from becoming a session.
func (p *Postgres) SpendOldToken(ctx context.Context, tenant, id string, event audit.Event) (before session.OldToken, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		if before, err = t.useOldToken(tenant, id, ""); err != nil || !before.UsedAt.IsZero() {
			return err
		}
		return t.append(ctx, event)
	})
	return before, err
}

// FOLIORows reads the tables of mod-login and mod-authtoken.
type FOLIORows struct{ conn *pgx.Conn }

// OpenFOLIO connects to the database of FOLIO's modules. The error repeats nothing
// of the URL, which may hold a password.
func OpenFOLIO(ctx context.Context, url string) (*FOLIORows, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, misuse("the URL of FOLIO's database cannot be read")
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, publicPostgres(err)
	}
	return &FOLIORows{conn}, nil
}

// Close ends the connection.
func (f *FOLIORows) Close(ctx context.Context) error { return f.conn.Close(ctx) }

// Credentials reads the documents of {tenant}_mod_login.auth_credentials, in
// the order of their users.
func (f *FOLIORows) Credentials(ctx context.Context, tenant string, each func(document []byte) error) error {
	rows, err := f.conn.Query(ctx, `SELECT jsonb::text FROM `+pgx.Identifier{tenant + "_mod_login", "auth_credentials"}.Sanitize()+
		` ORDER BY jsonb->>'userId'`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.RawValues()[0]); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Tokens reads {tenant}_mod_authtoken.refresh_tokens.
func (f *FOLIORows) Tokens(ctx context.Context, tenant string, each func(id, userID string, revoked bool, expires int64) error) error {
	rows, err := f.conn.Query(ctx, `SELECT id::text, user_id::text, is_revoked, expires_at FROM `+
		pgx.Identifier{tenant + "_mod_authtoken", "refresh_tokens"}.Sanitize()+` ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, user string
		var revoked bool
		var expires int64
		if err := rows.Scan(&id, &user, &revoked, &expires); err != nil {
			return err
		}
		if err := each(id, user, revoked, expires); err != nil {
			return err
		}
	}
	return rows.Err()
}
