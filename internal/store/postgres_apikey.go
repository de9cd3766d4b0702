package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func scanAPIKeyRow(row pgx.CollectableRow) (k apikey.Key, err error) {
	var hash, oldHash []byte
	var routes, permissions string
	var oldUntil, created, expires, revoked, stopped int64
	err = row.Scan(&k.ID, &k.Tenant, &k.UserID, &k.Name, &k.Kind, &hash, &oldHash, &oldUntil, &routes, &permissions,
		&created, &expires, &revoked, &stopped, &k.Session)
	if err != nil {
		return k, err
	}
	copy(k.Hash[:], hash)
	copy(k.OldHash[:], oldHash)
	k.OldUntil, k.CreatedAt, k.ExpiresAt = fromMicro(oldUntil), fromMicro(created), fromMicro(expires)
	k.RevokedAt, k.StoppedAt = fromMicro(revoked), fromMicro(stopped)
	return k, decodeScope(routes, permissions, &k)
}

// APIKeys lists all keys, the newest first.
func (p *Postgres) APIKeys(ctx context.Context) ([]apikey.Key, error) {
	return listRows(ctx, p, `SELECT `+apiKeyColumns+` FROM api_keys ORDER BY created_at DESC, id`, scanAPIKeyRow)
}

// CreateAPIKey stores a new key.
func (p *Postgres) CreateAPIKey(ctx context.Context, k apikey.Key, event audit.Event) error {
	routes, permissions, err := encodeScope(k.Scope)
	if err != nil {
		return err
	}
	return p.do(ctx, func(t *pgTx) error {
		var all, taken int
		err := t.query(func(row pgx.CollectableRow) error { return row.Scan(&all, &taken) },
			`SELECT count(*), count(*) FILTER (WHERE old_hash = $1) FROM api_keys`, k.Hash[:])
		switch {
		case err != nil:
			return err
		case all >= maxAPIKeys:
			return errTooManyAPIKeys
		case taken > 0:
			return errAPIKeyTaken
		}
		_, err = t.exec(`INSERT INTO api_keys (`+apiKeyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
			k.ID, k.Tenant, k.UserID, k.Name, string(k.Kind), k.Hash[:], hashBytes(k.OldHash), micro(k.OldUntil), routes, permissions,
			micro(k.CreatedAt), micro(k.ExpiresAt), micro(k.RevokedAt), micro(k.StoppedAt), k.Session)
		switch {
		case foreignKey(err):
			return notFound("tenant")
		case uniqueKey(err):
			return errAPIKeyTaken
		case err != nil:
			return err
		}
		t.changed(apiKeyChanged(&k))
		return t.append(ctx, event)
	})
}

// UpdateAPIKey lets change change what is not fixed of one key: its secrets,
// scope and times. An error of change leaves everything as it is. change may
// run several times, each time on the key as it is then.
func (p *Postgres) UpdateAPIKey(ctx context.Context, id string, change func(*apikey.Key) error, event audit.Event) (k apikey.Key, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		if k, err = t.apiKey(id); err != nil {
			return err
		}
		if err := change(&k); err != nil {
			return err
		}
		routes, permissions, err := encodeScope(k.Scope)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE api_keys SET hash = $2, old_hash = $3, old_until = $4, routes = $5, permissions = $6, expires_at = $7,
			revoked_at = $8, stopped_at = $9 WHERE id = $1`, id, k.Hash[:], hashBytes(k.OldHash), micro(k.OldUntil), routes, permissions,
			micro(k.ExpiresAt), micro(k.RevokedAt), micro(k.StoppedAt))
		if uniqueKey(err) {
			return errAPIKeyTaken
		}
		if err != nil {
			return err
		}
		t.changed(apiKeyChanged(&k))
		e := event
		e.Tenant, e.UserID = k.Tenant, k.UserID
		return t.append(ctx, e)
	})
	return k, err
}

// apiKey reads a key under its lock.
func (t *pgTx) apiKey(id string) (k apikey.Key, err error) {
	err = t.query(func(row pgx.CollectableRow) (err error) {
		k, err = scanAPIKeyRow(row)
		return err
	}, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1 FOR UPDATE`, id)
	if err == nil && k.ID == "" {
		err = notFound("API key")
	}
	return k, err
}

// DeleteAPIKey forgets a key that was revoked.
func (p *Postgres) DeleteAPIKey(ctx context.Context, id string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		k, err := t.apiKey(id)
		switch {
		case err != nil:
			return err
		case k.RevokedAt.IsZero():
			return errAPIKeyLives
		}
		t.later(`DELETE FROM api_keys WHERE id = $1`, id)
		t.changed(apiKeyChanged(&k))
		e := event
		e.Tenant, e.UserID = k.Tenant, k.UserID
		return t.append(ctx, e)
	})
}

// BeginKeySession stores the session of a key in place of the one that the
// caller knows of. Where the key has another by now, that is returned and
// nothing is stored: whichever node comes first begins it.
func (p *Postgres) BeginKeySession(ctx context.Context, id, before string, one *session.Session, event audit.Event) (current token.SessionID, err error) {
	var tenantEpoch, userEpoch uint64
	err = p.do(ctx, func(t *pgTx) error {
		k, err := t.apiKey(id)
		if err != nil {
			return err
		}
		if k.Session != before { // perhaps by an earlier attempt of ours
			current, err = token.ParseSessionID(k.Session)
			return err
		}
		current = one.ID
		t.insertSession(one, tenantEpoch, userEpoch)
		t.later(`UPDATE api_keys SET session = $2 WHERE id = $1`, id, one.ID.String())
		return t.append(ctx, event)
	}, lockUser(one.Tenant, one.UserID), readNewestEpoch(one.Tenant, &tenantEpoch), readEpoch(one.Tenant, one.UserID, &userEpoch))
	if err == nil && current == one.ID {
		one.TenantEpoch, one.UserEpoch = tenantEpoch, userEpoch
	}
	return current, err
}
