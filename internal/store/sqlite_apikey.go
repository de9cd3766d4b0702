package store

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func scanAPIKey(stmt *sqlite.Stmt) (k apikey.Key, err error) {
	k = apikey.Key{
		ID: stmt.ColumnText(0), Tenant: stmt.ColumnText(1), UserID: stmt.ColumnText(2), Name: stmt.ColumnText(3),
		Kind: apikey.Kind(stmt.ColumnText(4)), OldUntil: fromMicro(stmt.ColumnInt64(7)),
		CreatedAt: fromMicro(stmt.ColumnInt64(10)), ExpiresAt: fromMicro(stmt.ColumnInt64(11)),
		RevokedAt: fromMicro(stmt.ColumnInt64(12)), StoppedAt: fromMicro(stmt.ColumnInt64(13)), Session: stmt.ColumnText(14),
	}
	stmt.ColumnBytes(5, k.Hash[:])
	stmt.ColumnBytes(6, k.OldHash[:])
	return k, decodeScope(stmt.ColumnText(8), stmt.ColumnText(9), &k)
}

// APIKeys lists all keys, the newest first.
func (s *SQLite) APIKeys(ctx context.Context) ([]apikey.Key, error) {
	return list(ctx, s, `SELECT `+apiKeyColumns+` FROM api_keys ORDER BY created_at DESC, id`, scanAPIKey)
}

// CreateAPIKey stores a new key.
func (s *SQLite) CreateAPIKey(ctx context.Context, k apikey.Key, event audit.Event) error {
	routes, permissions, err := encodeScope(k.Scope)
	if err != nil {
		return err
	}
	return s.writer.do(ctx, func(t *tx) error {
		if n, err := t.number(`SELECT count(*) FROM api_keys`); err != nil {
			return err
		} else if n >= maxAPIKeys {
			return errTooManyAPIKeys
		}
		if taken, err := t.exists(`SELECT 1 FROM api_keys WHERE old_hash = ?1`, k.Hash[:]); err != nil || taken {
			return orTaken(err)
		}
		err := t.exec(`INSERT INTO api_keys (`+apiKeyColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)`,
			k.ID, k.Tenant, k.UserID, k.Name, string(k.Kind), k.Hash[:], hashBytes(k.OldHash), micro(k.OldUntil), routes, permissions,
			micro(k.CreatedAt), micro(k.ExpiresAt), micro(k.RevokedAt), micro(k.StoppedAt), k.Session)
		switch {
		case foreign(err):
			return notFound("tenant")
		case unique(err):
			return errAPIKeyTaken
		case err != nil:
			return err
		}
		t.changed(apiKeyChanged(&k))
		return t.append(ctx, event)
	})
}

func orTaken(err error) error {
	if err != nil {
		return err
	}
	return errAPIKeyTaken
}

// UpdateAPIKey lets change change what is not fixed of one key: its secrets,
// scope and times. An error of change leaves everything as it is.
func (s *SQLite) UpdateAPIKey(ctx context.Context, id string, change func(*apikey.Key) error, event audit.Event) (k apikey.Key, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
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
		err = t.exec(`UPDATE api_keys SET hash = ?2, old_hash = ?3, old_until = ?4, routes = ?5, permissions = ?6, expires_at = ?7,
			revoked_at = ?8, stopped_at = ?9 WHERE id = ?1`, id, k.Hash[:], hashBytes(k.OldHash), micro(k.OldUntil), routes, permissions,
			micro(k.ExpiresAt), micro(k.RevokedAt), micro(k.StoppedAt))
		if unique(err) {
			return errAPIKeyTaken
		}
		if err != nil {
			return err
		}
		t.changed(apiKeyChanged(&k))
		event.Tenant, event.UserID = k.Tenant, k.UserID
		return t.append(ctx, event)
	})
	return k, err
}

func (t *tx) apiKey(id string) (k apikey.Key, err error) {
	err = rows(t.conn, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = ?1`, func(stmt *sqlite.Stmt) (err error) {
		k, err = scanAPIKey(stmt)
		return err
	}, id)
	if err == nil && k.ID == "" {
		err = notFound("API key")
	}
	return k, err
}

// DeleteAPIKey forgets a key that was revoked.
func (s *SQLite) DeleteAPIKey(ctx context.Context, id string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		k, err := t.apiKey(id)
		switch {
		case err != nil:
			return err
		case k.RevokedAt.IsZero():
			return errAPIKeyLives
		}
		if err := t.exec(`DELETE FROM api_keys WHERE id = ?1`, id); err != nil {
			return err
		}
		t.changed(apiKeyChanged(&k))
		event.Tenant, event.UserID = k.Tenant, k.UserID
		return t.append(ctx, event)
	})
}

// BeginKeySession stores the session of a key in place of the one that the
// caller knows of. Where the key has another by now, that is returned and
// nothing is stored.
func (s *SQLite) BeginKeySession(ctx context.Context, id, before string, one *session.Session, event audit.Event) (token.SessionID, error) {
	var current token.SessionID
	err := s.writer.do(ctx, func(t *tx) error {
		k, err := t.apiKey(id)
		if err != nil {
			return err
		}
		if k.Session != before {
			current, err = token.ParseSessionID(k.Session)
			return err
		}
		if err := t.createSession(ctx, one, 0, event); err != nil {
			return err
		}
		current = one.ID
		return t.exec(`UPDATE api_keys SET session = ?2 WHERE id = ?1`, id, one.ID.String())
	})
	return current, err
}
