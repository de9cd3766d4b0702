package store

import (
	"context"
	"time"
)

// Spend uses what is good once. Of two that come at the same time, the second
// waits for the first and then finds it.
func (p *Postgres) Spend(ctx context.Context, kind string, id []byte, until time.Time) (first bool, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		_, err := t.exec(`DELETE FROM spent WHERE (kind, id) IN (SELECT kind, id FROM spent WHERE expires_at < $1
			ORDER BY kind, id LIMIT $2 FOR UPDATE SKIP LOCKED)`, micro(t.now), spentSwept)
		if err != nil {
			return err
		}
		n, err := t.exec(`INSERT INTO spent (kind, id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, kind, id, micro(until))
		first = n == 1
		return err
	})
	return first && err == nil, err
}
