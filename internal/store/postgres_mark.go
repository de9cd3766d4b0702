package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	// pgDurable makes a commit wait for the disk where others do not have to: a
	// mark that a crash took back would be taken for a restore.
	pgDurable = `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local')`

	pgLockMark     = `SELECT incarnation, n, at FROM marks WHERE own FOR UPDATE`
	pgReadRecorded = `SELECT n FROM marks WHERE incarnation = $1`
	pgReadAdoption = `SELECT epoch, since, until FROM adoption`
	pgSaveMark     = `UPDATE marks SET n = $1, at = $2 WHERE own`
	pgSaveTaken    = `INSERT INTO marks (incarnation, own, n, at) VALUES ($1, false, $2, $3)
		ON CONFLICT (incarnation) DO UPDATE SET n = excluded.n, at = excluded.at`
	pgSaveAdoption = `UPDATE adoption SET epoch = $1, since = $2, until = $3`
	pgEndBefore    = `INSERT INTO epochs (tenant, user_id, n, at) VALUES ('', '', $1, $2)
		ON CONFLICT (tenant, user_id) DO UPDATE SET n = greatest(epochs.n, excluded.n), at = excluded.at`
	// pgLeap makes a gap in the numbers of changes, so that every node that was
	// running reads everything again.
	pgLeap = `UPDATE feed SET seq = greatest(seq + 1, $1)`

	pgPlace = `SELECT 'system ' || system_identifier || ', timeline ' || timeline_id FROM pg_control_system(), pg_control_checkpoint()`
)

// Advance moves the mark on.
func (p *Postgres) Advance(ctx context.Context, remembered session.Mark) (mark session.Mark, err error) {
	var m marked
	err = p.do(ctx, func(t *pgTx) error {
		if err := m.behind(remembered); err != nil {
			return err
		}
		if m.over(t.now) {
			t.endBefore(m.own.Adoption.Epoch)
			if err := t.append(ctx, adoptionEnded); err != nil {
				return err
			}
			m.own.Adoption = session.Adoption{}
			t.saveAdoption(m.own.Adoption)
		}
		mark = t.saveMark(&m.own, m.own.N+1)
		return nil
	}, lockMark(remembered, &m)...)
	mark.Place = p.place
	return mark, err
}

// Restored deals with a database that was turned back.
func (p *Postgres) Restored(ctx context.Context, r session.Restoration) (mark session.Mark, did bool, err error) {
	var m marked
	place := p.wherever(ctx)
	err = p.do(ctx, func(t *pgTx) error {
		behind := m.behind(r.Remembered)
		if errors.Is(behind, session.ErrUnavailable) {
			return behind
		}
		if did = r.Told || behind != nil; !did {
			mark = t.saveMark(&m.own, m.own.N+1)
			return nil
		}
		beyond := m.beyond(t.now, r.Remembered)
		if err := t.append(ctx, m.restored(r, place)); err != nil {
			return err
		}
		m.own.Adoption = adoption(beyond, t.now, r)
		t.saveAdoption(m.own.Adoption)
		if r.AdoptFor <= 0 {
			t.endBefore(beyond)
		}
		if r.Remembered.Known() && r.Remembered.Incarnation != m.own.Incarnation {
			t.later(pgSaveTaken, r.Remembered.Incarnation, int64(beyond), micro(t.at))
		}
		mark = t.saveMark(&m.own, beyond)
		t.later(pgLeap, int64(beyond)) // locks the feed, as the very last
		return nil
	}, lockMark(r.Remembered, &m)...)
	mark.Place = place
	return mark, did, err
}

// lockMark reads the mark under its lock, and what goes with it.
func lockMark(remembered session.Mark, m *marked) []statement {
	return []statement{
		{sql: pgDurable, each: func(pgx.CollectableRow) error { return nil }},
		{sql: pgLockMark, reset: func() { *m = marked{} }, each: func(row pgx.CollectableRow) error {
			var at int64
			err := row.Scan(&m.own.Incarnation, &m.own.N, &at)
			m.own.At = fromMicro(at)
			return err
		}},
		{sql: pgReadRecorded, args: []any{remembered.Incarnation}, each: func(row pgx.CollectableRow) error {
			return row.Scan(&m.recorded)
		}},
		{sql: pgReadAdoption, each: func(row pgx.CollectableRow) error {
			var since, until int64
			err := row.Scan(&m.own.Adoption.Epoch, &since, &until)
			m.own.Adoption.Since, m.own.Adoption.Until = fromMicro(since), fromMicro(until)
			return err
		}},
		{sql: pgReadEpoch, args: []any{"", ""}, each: func(row pgx.CollectableRow) error { return row.Scan(&m.floor) }},
	}
}

func (t *pgTx) saveMark(own *session.Mark, n uint64) session.Mark {
	own.N, own.At = n, t.at
	t.later(pgSaveMark, int64(n), micro(t.at))
	return *own
}

func (t *pgTx) saveAdoption(a session.Adoption) {
	t.later(pgSaveAdoption, int64(a.Epoch), micro(a.Since), micro(a.Until))
}

// endBefore ends the sessions of all tenants that have an epoch below this.
func (t *pgTx) endBefore(epoch uint64) {
	t.later(pgEndBefore, int64(epoch), micro(t.at))
	t.changed(session.Change{Kind: session.EpochMoved, Epoch: epoch})
}

// wherever tells where the database is, "" where this role may not ask.
func (p *Postgres) wherever(ctx context.Context) (place string) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = p.read(within, pgPlace, nil, func(row pgx.CollectableRow) error { return row.Scan(&place) })
	return place
}
