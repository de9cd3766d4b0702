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

// Keys lists all keys, removed ones too.
func (p *Postgres) Keys(ctx context.Context) ([]token.StoredKey, error) {
	const query = `SELECT purpose, id, state, algorithm, public, wrapped, created_at, activated_at, retired_at, removed_at
		FROM keys ORDER BY purpose, created_at, id`
	return listRows(ctx, p, query, func(row pgx.CollectableRow) (k token.StoredKey, err error) {
		var created, activated, retired, removed int64
		err = row.Scan(&k.Purpose, &k.ID, &k.State, &k.Algorithm, &k.Public, &k.Wrapped, &created, &activated, &retired, &removed)
		k.CreatedAt, k.ActivatedAt, k.RetiredAt, k.RemovedAt = fromMicro(created), fromMicro(activated), fromMicro(retired), fromMicro(removed)
		for _, field := range []*[]byte{&k.Public, &k.Wrapped} {
			if len(*field) == 0 {
				*field = nil
			}
		}
		return k, err
	})
}

// pgSaveKey replaces a key only by what may follow on it: the same one in the
// same state or a later one, or another under the number of one that was
// removed. The node that saves may have read before another node removed the
// key, or made one of the same number.
const pgSaveKey = `INSERT INTO keys (purpose, id, state, algorithm, public, wrapped, created_at, activated_at, retired_at, removed_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
	ON CONFLICT (purpose, id) DO UPDATE SET state = excluded.state, algorithm = excluded.algorithm,
	public = excluded.public, wrapped = excluded.wrapped, created_at = excluded.created_at,
	activated_at = excluded.activated_at, retired_at = excluded.retired_at, removed_at = excluded.removed_at
	WHERE ` + keyFollows

// keyFollows is in the words of both engines.
const keyFollows = `(excluded.wrapped = keys.wrapped OR length(excluded.wrapped) = 0)
		AND CASE excluded.state WHEN 'pending' THEN 1 WHEN 'active' THEN 2 WHEN 'retired' THEN 3 ELSE 4 END >=
			CASE keys.state WHEN 'pending' THEN 1 WHEN 'active' THEN 2 WHEN 'retired' THEN 3 ELSE 4 END
	OR keys.state = 'removed' AND excluded.created_at > keys.created_at`

// errKeyChanged is a key that another node changed while this one worked out its
// own change. Reading the keys again and trying again is right.
var errKeyChanged = fmt.Errorf("%w: another node changed the key meanwhile", session.ErrUnavailable)

// SaveKeys inserts or replaces keys, with an event each, all or none. The bytes
// of a secret that was replaced by nothing stay in the database's files until
// they are overwritten, and in its log and backups for as long as those are
// kept: without the master key they are of no use.
func (p *Postgres) SaveKeys(ctx context.Context, keys []token.StoredKey) error {
	return p.do(ctx, func(t *pgTx) error {
		for _, k := range keys {
			n, err := t.exec(pgSaveKey, k.Purpose, k.ID, k.State, k.Algorithm, k.Public, k.Wrapped,
				micro(k.CreatedAt), micro(k.ActivatedAt), micro(k.RetiredAt), micro(k.RemovedAt))
			switch {
			case err != nil:
				return err
			case n == 0:
				return errKeyChanged
			}
			if err := t.append(ctx, keyEvent(k)); err != nil {
				return err
			}
		}
		t.changed(session.Change{Kind: session.KeysChanged})
		return nil
	})
}

func keyEvent(k token.StoredKey) audit.Event {
	return audit.Event{
		Kind: audit.KeyChanged, Tenant: directory.SuperTenant, Reason: "a key is now " + k.State,
		Detail: map[string]string{"purpose": k.Purpose, "key": k.ID, "state": k.State},
	}
}
