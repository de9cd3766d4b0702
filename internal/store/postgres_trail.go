package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
)

const (
	// pgWriting are the transactions that may have taken a number for an event.
	// The lock on the table is had before the number and kept to the end.
	pgWriting = `SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
		AND relation = 'events'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	// pgNewest sees the newest number first, by its snapshot, and who writes after.
	pgNewest = `SELECT coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(seq) FROM event_chain), 0), ARRAY(` + pgWriting + `)`
	pgStill  = `SELECT count(*) FROM (` + pgWriting + `) AS w WHERE virtualtransaction = ANY($1::text[])`

	// settleEvery and settlePatience are how often and how long to look whether
	// those who wrote have finished.
	settleEvery    = 5 * time.Millisecond
	settlePatience = time.Second
)

// settled is up to which number no event can be added any more, and whether there
// is anything new. Numbers are given before the commit, so that a smaller one
// may appear later, or never: this waits until everybody has finished who wrote
// when the newest number was seen.
func (p *Postgres) settled(ctx context.Context) (newest int64, fresh bool, err error) {
	type state struct {
		newest, sealed int64
		writing        []string
	}
	now, err := oneRow(ctx, p, "events", pgNewest, func(row pgx.CollectableRow) (s state, err error) {
		return s, row.Scan(&s.newest, &s.sealed, &s.writing)
	})
	if err != nil || now.newest <= now.sealed {
		return 0, false, err
	}
	waiting, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for len(now.writing) > 0 {
		n, err := oneRow(ctx, p, "events", pgStill, func(row pgx.CollectableRow) (n int, err error) { return n, row.Scan(&n) }, now.writing)
		if err != nil {
			return 0, false, err
		}
		if n == 0 {
			break
		}
		tick := time.NewTimer(settleEvery)
		select {
		case <-tick.C:
		case <-waiting.Done():
			tick.Stop()
			return 0, false, ctx.Err() // the next round tries again
		}
	}
	return now.newest, true, nil
}

const (
	pgTrySealing = `SELECT pg_try_advisory_xact_lock($1)`
	pgFresh      = `SELECT ` + eventColumns + ` FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3`
	pgInsertLink = `INSERT INTO event_chain (n, seq, at, passing, digest, hash)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[], $5::bytea[], $6::bytea[])`
)

// Seal adds to the chain what is settled.
func (p *Postgres) Seal(ctx context.Context, limit int) (int, error) {
	newest, fresh, err := p.settled(ctx)
	if err != nil || !fresh {
		return 0, err
	}
	sealed := 0
	err = p.do(ctx, func(t *pgTx) (err error) {
		sealed, err = t.seal(newest, min(limit, sealBatch))
		return err
	})
	return sealed, err
}

func (t *pgTx) seal(newest int64, limit int) (int, error) {
	mine := false
	err := t.query(func(row pgx.CollectableRow) error { return row.Scan(&mine) }, pgTrySealing, lockKey("seal"))
	if err != nil || !mine {
		return 0, err
	}
	var head audit.Link
	if err := t.query(func(row pgx.CollectableRow) (err error) { head, err = scanLinkRow(row); return err }, selectHead); err != nil {
		return 0, err
	}
	var events []audit.Event
	err = t.query(func(row pgx.CollectableRow) error {
		e, err := scanEventRow(row)
		events = append(events, e)
		return err
	}, pgFresh, head.Seq, newest, limit)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	var n, seq, at []int64
	var passing []bool
	var digest, hash [][]byte
	for _, l := range links(head, events) {
		n, seq, at, passing = append(n, l.N), append(seq, l.Seq), append(at, micro(l.At)), append(passing, l.Passing)
		digest, hash = append(digest, l.Digest[:]), append(hash, l.Hash[:])
	}
	return t.exec(pgInsertLink, n, seq, at, passing, digest, hash)
}

func scanLinkRow(row pgx.CollectableRow) (l audit.Link, err error) {
	var at int64
	var digest, hash []byte
	err = row.Scan(&l.N, &l.Seq, &at, &l.Passing, &digest, &hash)
	l.At = fromMicro(at)
	copy(l.Digest[:], digest)
	copy(l.Hash[:], hash)
	return l, err
}

// ChainHead is the newest link.
func (p *Postgres) ChainHead(ctx context.Context) (audit.Link, error) {
	return orZero(oneRow(ctx, p, "link", selectHead, scanLinkRow))
}

// orZero is for rows that need not be there.
func orZero[T any](value T, err error) (T, error) {
	var missing notFound
	if errors.As(err, &missing) {
		err = nil
	}
	return value, err
}

// Chain reads links after a number.
func (p *Postgres) Chain(ctx context.Context, after int64, limit int) ([]audit.Sealed, error) {
	return listRows(ctx, p, `SELECT `+chainColumns+` WHERE c.n > $1 ORDER BY c.n LIMIT $2`, func(row pgx.CollectableRow) (s audit.Sealed, err error) {
		var at, eventAt int64
		var digest, hash []byte
		var detail string
		e := &s.Event
		a := &e.Actor
		err = row.Scan(&e.Seq, &s.N, &s.Seq, &at, &s.Passing, &digest, &hash, &eventAt, &e.Kind, &e.Tenant, &e.Session, &e.UserID,
			&a.Kind, &a.Name, &a.UserID, &a.Address, &a.UserAgent, &a.RequestID, &e.Reason, &detail)
		s.At, e.Time, s.Gone = fromMicro(at), fromMicro(eventAt), e.Seq == 0
		copy(s.Digest[:], digest)
		copy(s.Hash[:], hash)
		if err != nil {
			return s, err
		}
		return s, spoiled(decodeDetail(detail, e), e)
	}, after, limit)
}

// Unsealed is what the chain does not hold.
func (p *Postgres) Unsealed(ctx context.Context) (u audit.Unsealed, err error) {
	if u.Inserted, err = listRows(ctx, p, selectInserted, scanEventRow); err != nil {
		return u, err
	}
	u.Waiting, err = oneRow(ctx, p, "events", countFresh, func(row pgx.CollectableRow) (n int64, err error) { return n, row.Scan(&n) })
	return u, err
}

// SaveCheckpoint stores a checkpoint.
func (p *Postgres) SaveCheckpoint(ctx context.Context, c audit.Checkpoint) error {
	return p.do(ctx, func(t *pgTx) error {
		_, err := t.exec(`INSERT INTO event_checkpoints (`+checkpointColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (n) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, at = excluded.at, swept = excluded.swept,
			key_id = excluded.key_id, signature = excluded.signature`,
			c.N, c.Seq, c.Hash[:], micro(c.At), micro(c.Swept), c.Key, c.Signature)
		return err
	})
}

func scanCheckpointRow(row pgx.CollectableRow) (c audit.Checkpoint, err error) {
	var at, swept int64
	var hash []byte
	err = row.Scan(&c.N, &c.Seq, &hash, &at, &swept, &c.Key, &c.Signature)
	c.At, c.Swept = fromMicro(at), fromMicro(swept)
	copy(c.Hash[:], hash)
	return c, err
}

// Checkpoints reads those of a range.
func (p *Postgres) Checkpoints(ctx context.Context, from, to int64) ([]audit.Checkpoint, error) {
	return listRows(ctx, p, `SELECT `+checkpointColumns+` FROM event_checkpoints WHERE n >= $1 AND n <= $2 ORDER BY n`, scanCheckpointRow, from, to)
}

// NewestCheckpoint is the last one from before a time.
func (p *Postgres) NewestCheckpoint(ctx context.Context, before time.Time) (audit.Checkpoint, error) {
	return orZero(oneRow(ctx, p, "checkpoint", `SELECT `+checkpointColumns+` FROM event_checkpoints WHERE at < $1 ORDER BY n DESC LIMIT 1`,
		scanCheckpointRow, endless(before)))
}

// Prune deletes links up to a checkpoint.
func (p *Postgres) Prune(ctx context.Context, upTo int64, limit int) (n int, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		const oldest = ` = ANY(ARRAY(SELECT `
		const of = ` FROM event_chain WHERE n <= $1 ORDER BY n LIMIT $2))`
		if _, err := t.exec(`DELETE FROM events WHERE seq`+oldest+`seq`+of, upTo, limit); err != nil {
			return err
		}
		if n, err = t.exec(`DELETE FROM event_chain WHERE n`+oldest+`n`+of, upTo, limit); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM event_checkpoints WHERE n < $1`, upTo)
		return err
	})
	return n, err
}

const pgLeaseSink = `INSERT INTO event_sinks (name, n, holder, until) VALUES ($1, coalesce((SELECT max(n) FROM event_chain), 0), $2, $3)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
	WHERE event_sinks.holder = excluded.holder OR event_sinks.until < $4 RETURNING n`

// LeaseSink lets a node feed a sink.
func (p *Postgres) LeaseSink(ctx context.Context, name, holder string, hold time.Duration) (n int64, ok bool, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		n, ok = 0, false
		return t.query(func(row pgx.CollectableRow) error { ok = true; return row.Scan(&n) },
			pgLeaseSink, name, holder, micro(t.now.Add(hold)), micro(t.now))
	})
	return n, ok, err
}

// AdvanceSink notes what a sink has.
func (p *Postgres) AdvanceSink(ctx context.Context, name, holder string, n int64, dead []audit.DeadLetter) (ok bool, err error) {
	err = p.do(ctx, func(t *pgTx) error {
		changed, err := t.exec(`UPDATE event_sinks SET n = $3 WHERE name = $1 AND holder = $2`, name, holder, n)
		if ok = changed > 0; !ok || err != nil {
			return err
		}
		for _, d := range dead {
			t.later(`INSERT INTO event_dead_letters (sink, n, at, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, name, d.N, micro(t.now), d.Why)
		}
		return nil
	})
	return ok, err
}

// Sinks lists all sinks.
func (p *Postgres) Sinks(ctx context.Context) ([]audit.Sink, error) {
	return listRows(ctx, p, selectSinks, func(row pgx.CollectableRow) (s audit.Sink, err error) {
		return s, row.Scan(&s.Name, &s.N, &s.Holder, &s.Dead)
	})
}

// DeadLetters lists what sinks refused.
func (p *Postgres) DeadLetters(ctx context.Context, limit int) ([]audit.DeadLetter, error) {
	return listRows(ctx, p, `SELECT sink, n, at, why FROM event_dead_letters ORDER BY at DESC, n DESC LIMIT $1`, func(row pgx.CollectableRow) (d audit.DeadLetter, err error) {
		var at int64
		err = row.Scan(&d.Sink, &d.N, &at, &d.Why)
		d.At = fromMicro(at)
		return d, err
	}, limit)
}
