package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// lockKey is the number of an advisory lock. Two names that share one would wait
// for each other without need, and no more.
func lockKey(parts ...string) int64 {
	h := sha256.New()
	h.Write([]byte("counterfoil lock"))
	for _, part := range parts {
		_ = binary.Write(h, binary.BigEndian, uint32(len(part)))
		h.Write([]byte(part))
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// lockUser keeps everybody else from creating or ending sessions of a user, as a
// user: ending those in the rows that are there would miss the one that is being
// inserted. It is taken before any row.
func lockUser(tenant, userID string) statement {
	return statement{sql: `SELECT pg_advisory_xact_lock($1)`, args: []any{lockKey("user", tenant, userID)}}
}

const (
	// pgLockLive finds the sessions of a user that are neither ended nor expired
	// nor of an earlier epoch of the tenant. Those that only idled too long are
	// among them: how long is too long is a policy's business.
	pgLockLive = `SELECT ` + sessionColumns + ` FROM sessions
		WHERE user_id = $1 AND tenant = $2 AND absolute_expiry > $3 AND ended_at = 0
		AND tenant_epoch >= coalesce((SELECT max(n) FROM epochs WHERE epochs.tenant IN ('', $2) AND epochs.user_id = ''), 0)
		ORDER BY id FOR UPDATE`
	// pgCountLive bounds from above how many sessions of a user live.
	pgCountLive = `SELECT count(*) FROM sessions WHERE user_id = $1 AND tenant = $2 AND absolute_expiry > $3 AND ended_at = 0`
	pgReadEpoch = `SELECT n FROM epochs WHERE tenant = $1 AND user_id = $2`
	// pgNewestEpoch is what sessions of a tenant get that begin now: they are of
	// after whatever was restored.
	pgNewestEpoch = `SELECT coalesce(max(n), 0)::bigint FROM (
		SELECT n FROM epochs WHERE tenant IN ('', $1::text) AND user_id = '' UNION ALL SELECT epoch FROM adoption) AS newest (n)`
	pgMoveEpoch = `INSERT INTO epochs (tenant, user_id, n, at)
		SELECT $1::text, $2::text, 1 + CASE WHEN $2::text = '' THEN (` + pgNewestEpoch + `) ELSE 0 END, $3::bigint
		ON CONFLICT (tenant, user_id) DO UPDATE SET n = greatest(epochs.n + 1, excluded.n), at = excluded.at RETURNING n`
)

// lockLive reads the live sessions of a user under their locks.
func (p *Postgres) lockLive(tenant, userID string, into map[token.SessionID]*pgRow) statement {
	return statement{
		sql: pgLockLive, args: []any{userID, tenant, micro(p.Now())},
		reset: func() { clear(into) }, each: collect(into),
	}
}

// readEpoch reads the epoch of a tenant (userID "") or of a user.
func readEpoch(tenant, userID string, into *uint64) statement {
	return statement{
		sql: pgReadEpoch, args: []any{tenant, userID},
		reset: func() { *into = 0 }, each: func(row pgx.CollectableRow) error { return row.Scan(into) },
	}
}

// readNewestEpoch reads what a session gets that begins now.
func readNewestEpoch(tenant string, into *uint64) statement {
	s := readEpoch(tenant, "", into)
	s.sql, s.args = pgNewestEpoch, []any{tenant}
	return s
}

// moveEpoch ends every session of the tenant, or user, that began before.
func (t *pgTx) moveEpoch(tenant, userID string) error {
	var n uint64
	err := t.query(func(row pgx.CollectableRow) error { return row.Scan(&n) }, pgMoveEpoch, tenant, userID, micro(t.at))
	t.changed(session.Change{Kind: session.EpochMoved, Tenant: tenant, UserID: userID, Epoch: n})
	return err
}

// inOrder are rows in the order of their ids, without the spared one and those
// that cannot be read, and so cannot be refreshed either.
func inOrder(rows map[token.SessionID]*pgRow, spared token.SessionID) []*pgRow {
	var all []*pgRow
	for id, r := range rows {
		if id != spared && r.broken == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *pgRow) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return all
}

// endRows ends live sessions, each in its row, as an event and as a change.
func (t *pgTx) endRows(ctx context.Context, rows []*pgRow, e ending) (int, error) {
	fillActor(ctx, &e.event)
	for _, r := range rows {
		before := r.Session
		r.RevokedAt, r.RevokedWhy, r.RevokedBy = t.at, e.why, e.by
		event := e.event
		event.Tenant, event.UserID, event.Session = r.Tenant, r.UserID, r.ID.String()
		if err := t.save(r, &before); err != nil {
			return 0, err
		}
		if err := t.event(&event); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// endUser ends sessions because of something that happened to their user. If
// none is spared, the epoch moves, too: it ends what is being issued just now.
func (t *pgTx) endUser(ctx context.Context, who session.Scope, rows map[token.SessionID]*pgRow, why session.Reason, event audit.Event) (int, error) {
	if (who.Except == token.SessionID{}) {
		if err := t.moveEpoch(who.Tenant, who.UserID); err != nil {
			return 0, err
		}
	}
	fillActor(ctx, &event)
	return t.endRows(ctx, inOrder(rows, who.Except), ending{why: why, by: event.Actor.Name, event: event})
}

// evict ends the longest idle sessions of a user who is about to have more than
// limit.
func (t *pgTx) evict(ctx context.Context, new *session.Session, limit int) error {
	rows := make(map[token.SessionID]*pgRow)
	if err := t.query(collect(rows), pgLockLive, new.UserID, new.Tenant, micro(t.now)); err != nil {
		return err
	}
	all := inOrder(rows, new.ID)
	slices.SortFunc(all, func(a, b *pgRow) int {
		if order := a.LastActivity.Compare(b.LastActivity); order != 0 {
			return order
		}
		return int(a.seq - b.seq)
	})
	_, err := t.endRows(ctx, all[:max(0, len(all)+1-limit)], evicted)
	return err
}

// EndSessions ends the sessions of a user in their rows. Those of a whole
// tenant end by its epoch alone, however many they are, and are told in one
// event. An event is written even if no session lived, since the epoch moved.
func (p *Postgres) EndSessions(ctx context.Context, who session.Scope, why session.Reason, event audit.Event) (n int, err error) {
	if who.UserID == "" {
		return p.endTenant(ctx, who.Tenant, event)
	}
	err = p.endingUser(ctx, who, func(t *pgTx, rows map[token.SessionID]*pgRow) error {
		if n, err = t.endUser(ctx, who, rows, why, event); err != nil || n > 0 || who.Except != (token.SessionID{}) {
			return err
		}
		return t.append(ctx, event)
	})
	return n, err
}

// endingUser runs apply in a transaction that has locked a user and the user's
// live sessions.
func (p *Postgres) endingUser(ctx context.Context, who session.Scope, apply func(*pgTx, map[token.SessionID]*pgRow) error) error {
	rows := make(map[token.SessionID]*pgRow)
	return p.do(ctx, func(t *pgTx) error { return apply(t, rows) },
		lockUser(who.Tenant, who.UserID), p.lockLive(who.Tenant, who.UserID, rows))
}

const pgCountTenant = `SELECT count(*) FROM sessions WHERE tenant = $1 AND ended_at = 0 AND absolute_expiry > $2
	AND tenant_epoch >= coalesce((SELECT max(n) FROM epochs WHERE epochs.tenant IN ('', $1) AND epochs.user_id = ''), 0)`

// endTenant counts before, in nobody's way: a million rows take a while. How many
// they were is told where it can be; that they end does not wait for it.
func (p *Postgres) endTenant(ctx context.Context, tenant string, event audit.Event) (int, error) {
	n, err := p.countTenant(ctx, tenant)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		p.log.WarnContext(ctx, "the sessions of a tenant end without having been counted", "tenant", tenant, "error", publicPostgres(err))
	}
	return n, p.do(ctx, func(t *pgTx) error {
		if err := t.moveEpoch(tenant, ""); err != nil {
			return err
		}
		return t.append(ctx, event)
	})
}

// countFor is how long counting may take.
const countFor = 10 * time.Second

func (p *Postgres) countTenant(ctx context.Context, tenant string) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	b := &pgx.Batch{}
	b.Queue(`BEGIN READ ONLY`)
	b.Queue(`SET LOCAL statement_timeout = ` + strconv.FormatInt(countFor.Milliseconds(), 10))
	b.Queue(pgCountTenant, clean(tenant), micro(p.Now())).QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
	b.Queue(`COMMIT`)
	err = conn.SendBatch(ctx, b).Close()
	return n, err
}

// Rows that somebody works on are passed over: the next sweep finds them. Each
// array is found once; what IN selects, a plan may select again and again. A
// sweep goes on from where its last batch ended, and not over the entries of
// rows that are gone.
const (
	pgSweepEnded = `DELETE FROM sessions WHERE id = ANY(ARRAY(SELECT id FROM sessions
		WHERE ended_at <> 0 AND ended_at >= $3 AND ended_at < $1 ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING id, ended_at`
	pgSweepExpired = `DELETE FROM sessions WHERE id = ANY(ARRAY(SELECT id FROM sessions
		WHERE ended_at = 0 AND absolute_expiry >= $3 AND absolute_expiry < $1 ORDER BY absolute_expiry LIMIT $2 FOR UPDATE SKIP LOCKED))
		RETURNING id, absolute_expiry`
	// pgSweepEvents leaves what is younger than the time: the audit log has it
	// signed that only older events may be missing.
	pgSweepEvents = `DELETE FROM events WHERE session = ANY($1::text[]) AND session <> '' AND at < $2`
	// pgSweepRefused is for what strangers cause: without it they could fill the
	// disk with failed logins.
	pgSweepRefused = `DELETE FROM events WHERE seq = ANY(ARRAY(SELECT seq FROM events
		WHERE kind IN ('login_failed', 'login_limited', 'elevation_failed') AND at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))`
)

// sweepRest is how long a sweep rests after a batch, for each moment that the
// batch took, and longestRest the most: nobody waits for it, and refreshes must
// not wait because of it.
const (
	sweepRest   = 3
	longestRest = time.Second
)

// SweepSessions also deletes the events of refused logins from before the time.
func (p *Postgres) SweepSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	total := 0
	for _, query := range []string{pgSweepEnded, pgSweepExpired} {
		var from int64
		for more := true; more && total < limit; {
			batch, n := min(sweepBatch, limit-total), 0
			err := p.resting(ctx, func(t *pgTx) (err error) {
				n, from, err = t.sweep(query, before, from, batch)
				return err
			})
			if err != nil {
				return total, err
			}
			total += n
			more = n == batch
		}
	}
	for refused := 0; refused < maxRefused; refused += refusedBatch {
		n := 0
		err := p.resting(ctx, func(t *pgTx) (err error) {
			n, err = t.exec(pgSweepRefused, micro(before), refusedBatch)
			return err
		})
		if err != nil || n < refusedBatch {
			return total, err
		}
	}
	return total, nil
}

// resting is do with a rest after it.
func (p *Postgres) resting(ctx context.Context, apply func(*pgTx) error) error {
	began := p.config.Now()
	if err := p.do(ctx, apply); err != nil {
		return err
	}
	rest := time.NewTimer(min(longestRest, sweepRest*p.config.Now().Sub(began)))
	defer rest.Stop()
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sweep deletes a batch and returns where the next one begins.
func (t *pgTx) sweep(query string, before time.Time, from int64, limit int) (int, int64, error) {
	var ids []string
	next := from
	err := t.query(func(row pgx.CollectableRow) error {
		var raw []byte
		var at int64
		err := row.Scan(&raw, &at)
		var id token.SessionID
		copy(id[:], raw)
		ids, next = append(ids, id.String()), max(next, at)
		return err
	}, query, micro(before), limit, from)
	if err == nil && len(ids) > 0 {
		t.later(pgSweepEvents, ids, micro(before))
	}
	return len(ids), next, err
}
