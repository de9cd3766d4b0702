package store

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

const apiKeyColumns = `id, tenant, user_id, name, kind, hash, old_hash, old_until, routes, permissions,
	created_at, expires_at, revoked_at, stopped_at, session`

// maxAPIKeys bounds the keys that every node keeps in memory.
const maxAPIKeys = 10_000

// errAPIKeyTaken is a secret that another key has already.
var errAPIKeyTaken = fmt.Errorf("API key %w", directory.ErrExists)

var errTooManyAPIKeys = fmt.Errorf("%w: there are %d API keys, which is as many as there can be: revoke and delete some", session.ErrInvalid, maxAPIKeys)

var errAPIKeyLives = fmt.Errorf("%w: revoke the API key first", session.ErrInvalid)

// encodeScope is the scope of a key as it is stored.
func encodeScope(s apikey.Scope) (routes, permissions string, err error) {
	r, err := json.Marshal(s.Routes)
	if err != nil {
		return "", "", fmt.Errorf("%w: routes: %w", session.ErrInvalid, err)
	}
	p, err := json.Marshal(s.Permissions)
	if err != nil {
		return "", "", fmt.Errorf("%w: permissions: %w", session.ErrInvalid, err)
	}
	return string(r), string(p), nil
}

// decodeScope reads what encodeScope wrote. A scope that cannot be read is an
// error: a key without one would open everything or nothing.
func decodeScope(routes, permissions string, k *apikey.Key) error {
	if err := json.Unmarshal([]byte(routes), &k.Routes); err != nil {
		return fmt.Errorf("routes of API key %s cannot be read: %w", k.ID, err)
	}
	if err := json.Unmarshal([]byte(permissions), &k.Permissions); err != nil {
		return fmt.Errorf("permissions of API key %s cannot be read: %w", k.ID, err)
	}
	return nil
}

// hashBytes is a hash as it is stored, empty for none.
func hashBytes(h apikey.Hash) []byte {
	if h.IsZero() {
		return []byte{}
	}
	return h[:]
}

func apiKeyChanged(k *apikey.Key) session.Change {
	return session.Change{Kind: session.APIKeysChanged, Tenant: k.Tenant, UserID: k.UserID}
}
