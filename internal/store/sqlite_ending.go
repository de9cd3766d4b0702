package store

import (
	"context"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// selectLive finds the sessions of a user that are neither ended nor expired
// nor of an earlier epoch of the tenant. Those that only idled too long are
// among them: how long is too long is a policy's business.
const selectLive = `SELECT ` + sessionColumns + ` FROM sessions INDEXED BY sessions_live
	WHERE user_id = ?1 AND tenant = ?2 AND absolute_expiry > ?3 AND ended_at = 0 AND tenant_epoch >= ?4`

func (t *tx) live(tenant, userID string) ([]row, error) {
	epoch, err := t.number(`SELECT coalesce(max(n), 0) FROM epochs WHERE tenant IN ('', ?1) AND user_id = ''`, tenant)
	if err != nil {
		return nil, err
	}
	var all []row
	err = rows(t.conn, selectLive, func(stmt *sqlite.Stmt) error {
		all = append(all, row{})
		return scanSession(stmt, &all[len(all)-1])
	}, userID, tenant, micro(t.now), epoch)
	return all, err
}

// end ends one live session, in its row, as an event and as a change.
func (t *tx) end(r *row, e ending) error {
	before := r.Session
	r.RevokedAt, r.RevokedWhy, r.RevokedBy = t.at, e.why, e.by
	e.event.Tenant, e.event.UserID, e.event.Session = r.Tenant, r.UserID, r.ID.String()
	if err := t.save(r, &before); err != nil {
		return err
	}
	return t.insertEvent(&e.event)
}

// endSessions ends the live sessions of one user, but for who.Except.
func (t *tx) endSessions(ctx context.Context, who session.Scope, e ending) (int, error) {
	all, err := t.live(who.Tenant, who.UserID)
	if err != nil {
		return 0, err
	}
	fillActor(ctx, &e.event)
	n := 0
	for i := range all {
		if all[i].ID == who.Except {
			continue
		}
		if err := t.end(&all[i], e); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// endUser ends sessions because of something that happened to their user. If
// none is spared, the epoch moves, too: it ends what is being issued just now.
func (t *tx) endUser(ctx context.Context, who session.Scope, why session.Reason, event audit.Event) (int, error) {
	if (who.Except == token.SessionID{}) {
		if err := t.moveEpoch(who.Tenant, who.UserID); err != nil {
			return 0, err
		}
	}
	fillActor(ctx, &event)
	return t.endSessions(ctx, who, ending{why: why, by: event.Actor.Name, event: event})
}

// countLive bounds from above how many sessions of a user live. It reads the
// index alone.
const countLive = `SELECT count(*) FROM sessions INDEXED BY sessions_live
	WHERE user_id = ?1 AND tenant = ?2 AND absolute_expiry > ?3 AND ended_at = 0`

// evict ends the longest idle sessions of a user who has more than limit, and
// never the new one. Below 1 there is no limit.
func (t *tx) evict(ctx context.Context, new *session.Session, limit int) error {
	if limit < 1 {
		return nil
	}
	n, err := t.number(countLive, new.UserID, new.Tenant, micro(t.now))
	if err != nil || n <= int64(limit) {
		return err
	}
	all, err := t.live(new.Tenant, new.UserID)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(r row) bool { return r.ID == new.ID })
	slices.SortStableFunc(all, func(a, b row) int { return a.LastActivity.Compare(b.LastActivity) })
	e := evicted
	fillActor(ctx, &e.event)
	for i := 0; i < len(all)+1-limit; i++ {
		if err := t.end(&all[i], e); err != nil {
			return err
		}
	}
	return nil
}

// EndSessions ends the sessions of a user in their rows. Those of a whole
// tenant end by its epoch alone, however many they are, and are told in one
// event. An event is written even if no session lived, since the epoch moved.
func (s *SQLite) EndSessions(ctx context.Context, who session.Scope, why session.Reason, event audit.Event) (int, error) {
	if who.UserID == "" {
		return s.endTenant(ctx, who.Tenant, event)
	}
	n := 0
	err := s.writer.do(ctx, func(t *tx) (err error) {
		if n, err = t.endUser(ctx, who, why, event); err != nil || n > 0 || who.Except != (token.SessionID{}) {
			return err
		}
		return t.append(ctx, event)
	})
	return n, err
}

const countTenant = `SELECT count(*) FROM sessions INDEXED BY sessions_tenant
	WHERE tenant = ?1 AND ended_at = 0 AND absolute_expiry > ?2
	AND tenant_epoch >= coalesce((SELECT max(n) FROM epochs WHERE tenant IN ('', ?1) AND user_id = ''), 0)`

// endTenant counts before, on a connection that nobody waits for: a million
// rows take a while.
func (s *SQLite) endTenant(ctx context.Context, tenant string, event audit.Event) (int, error) {
	n, err := one(ctx, s, "tenant", countTenant, func(stmt *sqlite.Stmt) (int, error) {
		return stmt.ColumnInt(0), nil
	}, tenant, micro(s.now()))
	if err != nil {
		return 0, err
	}
	return n, s.writer.do(ctx, func(t *tx) error {
		if err := t.moveEpoch(tenant, ""); err != nil {
			return err
		}
		return t.append(ctx, event)
	})
}

const (
	selectSwept = `SELECT seq, id FROM sessions INDEXED BY sessions_ended WHERE ended_at <> 0 AND ended_at < ?1
		UNION ALL
		SELECT seq, id FROM sessions INDEXED BY sessions_expiry WHERE ended_at = 0 AND absolute_expiry < ?1
		LIMIT ?2`
	deleteSession = `DELETE FROM sessions WHERE seq = ?1`
	// deleteSessionEvents leaves what is younger than the time: the audit log has
	// it signed that only older events may be missing.
	deleteSessionEvents = `DELETE FROM events WHERE session = ?1 AND session <> '' AND at < ?2`
	// deleteRefused is for what strangers cause: without it they could fill
	// the disk with failed logins.
	deleteRefused = `DELETE FROM events WHERE seq IN (SELECT seq FROM events INDEXED BY events_refused
		WHERE kind IN ('login_failed', 'login_limited', 'elevation_failed') AND at < ?1 LIMIT ?2)`
)

const (
	// sweepBatch is how many sessions are deleted while refreshes wait.
	sweepBatch = 32
	// refusedBatch and maxRefused are how many events of refused logins are
	// deleted at once, and in one sweep.
	refusedBatch = 256
	maxRefused   = 100 * refusedBatch
)

// SweepSessions also deletes the events of refused logins from before the time.
func (s *SQLite) SweepSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	total := 0
	for total < limit {
		n, batch := 0, min(sweepBatch, limit-total)
		err := s.writer.do(ctx, func(t *tx) (err error) {
			n, err = t.sweep(before, batch)
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
		if n < batch {
			break
		}
	}
	for refused := 0; refused < maxRefused; refused += refusedBatch {
		more := false
		err := s.writer.do(ctx, func(t *tx) error {
			err := t.exec(deleteRefused, micro(before), refusedBatch)
			more = t.conn.Changes() == refusedBatch
			return err
		})
		if err != nil || !more {
			return total, err
		}
	}
	return total, nil
}

func (t *tx) sweep(before time.Time, limit int) (int, error) {
	type swept struct {
		seq int64
		id  token.SessionID
	}
	var all []swept
	err := rows(t.conn, selectSwept, func(stmt *sqlite.Stmt) error {
		one := swept{seq: stmt.ColumnInt64(0)}
		stmt.ColumnBytes(1, one.id[:])
		all = append(all, one)
		return nil
	}, micro(before), limit)
	if err != nil {
		return 0, err
	}
	for _, one := range all {
		if err := t.exec(deleteSessionEvents, one.id.String(), micro(before)); err != nil {
			return 0, err
		}
		if err := t.exec(deleteSession, one.seq); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}
