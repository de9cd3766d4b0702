package store

import (
	"context"
	"time"
)

// spentSwept is how many are forgotten with each one that comes.
const spentSwept = 20

// Spend uses what is good once.
func (s *SQLite) Spend(ctx context.Context, kind string, id []byte, until time.Time) (first bool, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		first = false
		err := t.exec(`DELETE FROM spent WHERE (kind, id) IN (SELECT kind, id FROM spent WHERE expires_at < ?1 LIMIT ?2)`, micro(t.now), spentSwept)
		if err != nil {
			return err
		}
		n, err := t.number(`SELECT count(*) FROM spent WHERE kind = ?1 AND id = ?2`, kind, id)
		if err != nil || n > 0 {
			return err
		}
		first = true
		return t.exec(`INSERT INTO spent (kind, id, expires_at) VALUES (?1, ?2, ?3)`, kind, id, micro(until))
	})
	return first && err == nil, err
}
