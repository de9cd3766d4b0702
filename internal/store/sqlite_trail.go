package store

import (
	"context"
	"math"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Seal reads and computes beside the writer, which only takes the links: events
// are numbered by one writer, so that what can be read is whole.
func (s *SQLite) Seal(ctx context.Context, limit int) (int, error) {
	head, err := s.ChainHead(ctx)
	if err != nil {
		return 0, err
	}
	events, err := list(ctx, s, `SELECT `+eventColumns+` FROM events NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT ?2`,
		scanEvent, head.Seq, min(limit, sealBatch))
	if err != nil || len(events) == 0 {
		return 0, err
	}
	made := links(head, events)
	sealed := 0
	err = s.writer.do(ctx, func(t *tx) error {
		sealed = 0
		n, err := t.number(`SELECT coalesce(max(n), 0) FROM event_chain`)
		if err != nil || n != head.N {
			return err // somebody else was here, and the next round sees it
		}
		for _, l := range made {
			if err := t.exec(`INSERT INTO event_chain (n, seq, at, passing, digest, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)`,
				l.N, l.Seq, micro(l.At), l.Passing, l.Digest[:], l.Hash[:]); err != nil {
				return err
			}
		}
		sealed = len(made)
		return nil
	})
	return sealed, err
}

// ChainHead is the newest link.
func (s *SQLite) ChainHead(ctx context.Context) (audit.Link, error) {
	all, err := list(ctx, s, selectHead, func(stmt *sqlite.Stmt) (audit.Link, error) { return scanLink(stmt, 0), nil })
	if err != nil || len(all) == 0 {
		return audit.Link{}, err
	}
	return all[0], nil
}

func scanLink(stmt *sqlite.Stmt, col int) audit.Link {
	l := audit.Link{
		N: stmt.ColumnInt64(col), Seq: stmt.ColumnInt64(col + 1), At: fromMicro(stmt.ColumnInt64(col + 2)),
		Passing: stmt.ColumnInt64(col+3) != 0,
	}
	stmt.ColumnBytes(col+4, l.Digest[:])
	stmt.ColumnBytes(col+5, l.Hash[:])
	return l
}

// Chain reads links after a number.
func (s *SQLite) Chain(ctx context.Context, after int64, limit int) ([]audit.Sealed, error) {
	return list(ctx, s, `SELECT `+chainColumns+` WHERE c.n > ?1 ORDER BY c.n LIMIT ?2`, func(stmt *sqlite.Stmt) (audit.Sealed, error) {
		one := audit.Sealed{Link: scanLink(stmt, 1), Gone: stmt.ColumnInt64(0) == 0}
		if one.Gone {
			return one, nil
		}
		one.Event = audit.Event{
			Seq: stmt.ColumnInt64(0), Time: fromMicro(stmt.ColumnInt64(7)), Kind: audit.Kind(stmt.ColumnText(8)),
			Tenant: stmt.ColumnText(9), Session: stmt.ColumnText(10), UserID: stmt.ColumnText(11),
			Actor: audit.Actor{
				Kind: stmt.ColumnText(12), Name: stmt.ColumnText(13), UserID: stmt.ColumnText(14),
				Address: stmt.ColumnText(15), UserAgent: stmt.ColumnText(16), RequestID: stmt.ColumnText(17),
			},
			Reason: stmt.ColumnText(18),
		}
		return one, spoiled(decodeDetail(stmt.ColumnText(19), &one.Event), &one.Event)
	}, after, limit)
}

// spoiled keeps a detail that cannot be read from hiding which event was altered:
// its digest is another's then.
func spoiled(err error, e *audit.Event) error {
	if err != nil {
		e.Detail = map[string]string{"detail": "cannot be read"}
	}
	return nil
}

// Unsealed is what the chain does not hold.
func (s *SQLite) Unsealed(ctx context.Context) (u audit.Unsealed, err error) {
	if u.Inserted, err = list(ctx, s, selectInserted, scanEvent); err != nil {
		return u, err
	}
	u.Waiting, err = one(ctx, s, "events", countFresh, func(stmt *sqlite.Stmt) (int64, error) { return stmt.ColumnInt64(0), nil })
	return u, err
}

// SaveCheckpoint stores a checkpoint.
func (s *SQLite) SaveCheckpoint(ctx context.Context, c audit.Checkpoint) error {
	return s.writer.do(ctx, func(t *tx) error {
		return t.exec(`INSERT OR REPLACE INTO event_checkpoints (`+checkpointColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`,
			c.N, c.Seq, c.Hash[:], micro(c.At), micro(c.Swept), c.Key, c.Signature)
	})
}

func scanCheckpoint(stmt *sqlite.Stmt) (audit.Checkpoint, error) {
	c := audit.Checkpoint{
		N: stmt.ColumnInt64(0), Seq: stmt.ColumnInt64(1), At: fromMicro(stmt.ColumnInt64(3)), Swept: fromMicro(stmt.ColumnInt64(4)),
		Key: stmt.ColumnText(5), Signature: make([]byte, stmt.ColumnLen(6)),
	}
	stmt.ColumnBytes(2, c.Hash[:])
	stmt.ColumnBytes(6, c.Signature)
	return c, nil
}

// Checkpoints reads those of a range.
func (s *SQLite) Checkpoints(ctx context.Context, from, to int64) ([]audit.Checkpoint, error) {
	return list(ctx, s, `SELECT `+checkpointColumns+` FROM event_checkpoints WHERE n >= ?1 AND n <= ?2 ORDER BY n`, scanCheckpoint, from, to)
}

// NewestCheckpoint is the last one from before a time.
func (s *SQLite) NewestCheckpoint(ctx context.Context, before time.Time) (audit.Checkpoint, error) {
	all, err := list(ctx, s, `SELECT `+checkpointColumns+` FROM event_checkpoints WHERE at < ?1 ORDER BY n DESC LIMIT 1`, scanCheckpoint, endless(before))
	if err != nil || len(all) == 0 {
		return audit.Checkpoint{}, err
	}
	return all[0], nil
}

func endless(t time.Time) int64 {
	if t.IsZero() {
		return math.MaxInt64
	}
	return micro(t)
}

// Prune deletes links up to a checkpoint.
func (s *SQLite) Prune(ctx context.Context, upTo int64, limit int) (n int, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if err := t.exec(`DELETE FROM events WHERE seq IN (SELECT seq FROM event_chain WHERE n <= ?1 ORDER BY n LIMIT ?2)`, upTo, limit); err != nil {
			return err
		}
		if err := t.exec(`DELETE FROM event_chain WHERE n IN (SELECT n FROM event_chain WHERE n <= ?1 ORDER BY n LIMIT ?2)`, upTo, limit); err != nil {
			return err
		}
		n = t.conn.Changes()
		return t.exec(`DELETE FROM event_checkpoints WHERE n < ?1`, upTo)
	})
	return n, err
}

const leaseSink = `INSERT INTO event_sinks (name, n, holder, until) VALUES (?1, coalesce((SELECT max(n) FROM event_chain), 0), ?2, ?3)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
	WHERE event_sinks.holder = excluded.holder OR event_sinks.until < ?4 RETURNING n`

// LeaseSink lets a node feed a sink.
func (s *SQLite) LeaseSink(ctx context.Context, name, holder string, hold time.Duration) (n int64, ok bool, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		n, ok = 0, false
		err := rows(t.conn, leaseSink, func(stmt *sqlite.Stmt) error {
			n, ok = stmt.ColumnInt64(0), true
			return nil
		}, name, holder, micro(t.now.Add(hold)), micro(t.now))
		t.wrote, t.dirty = true, true
		return err
	})
	return n, ok, err
}

// AdvanceSink notes what a sink has.
func (s *SQLite) AdvanceSink(ctx context.Context, name, holder string, n int64, dead []audit.DeadLetter) (ok bool, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		err := t.exec(`UPDATE event_sinks SET n = ?3 WHERE name = ?1 AND holder = ?2`, name, holder, n)
		if ok = t.conn.Changes() > 0; !ok || err != nil {
			return err
		}
		for _, d := range dead {
			if err := t.exec(`INSERT OR REPLACE INTO event_dead_letters (sink, n, at, why) VALUES (?1, ?2, ?3, ?4)`, name, d.N, micro(t.now), d.Why); err != nil {
				return err
			}
		}
		return nil
	})
	return ok, err
}

// Sinks lists all sinks.
func (s *SQLite) Sinks(ctx context.Context) ([]audit.Sink, error) {
	return list(ctx, s, selectSinks, func(stmt *sqlite.Stmt) (audit.Sink, error) {
		return audit.Sink{Name: stmt.ColumnText(0), N: stmt.ColumnInt64(1), Holder: stmt.ColumnText(2), Dead: stmt.ColumnInt64(3)}, nil
	})
}

// DeadLetters lists what sinks refused.
func (s *SQLite) DeadLetters(ctx context.Context, limit int) ([]audit.DeadLetter, error) {
	return list(ctx, s, `SELECT sink, n, at, why FROM event_dead_letters ORDER BY at DESC, n DESC LIMIT ?1`, func(stmt *sqlite.Stmt) (audit.DeadLetter, error) {
		return audit.DeadLetter{Sink: stmt.ColumnText(0), N: stmt.ColumnInt64(1), At: fromMicro(stmt.ColumnInt64(2)), Why: stmt.ColumnText(3)}, nil
	}, limit)
}
