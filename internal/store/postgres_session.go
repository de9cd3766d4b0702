package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// pgRow is a session under the lock of a transaction.
type pgRow struct {
	row
	// struck is what the column struck_at holds, and ends what ended_at is to
	// hold, 0 if the session does not end in this transaction.
	struck, ends int64
	// epoch is what the column tenant_epoch holds, and stored what state holds.
	epoch  uint64
	stored []byte
	// bound is what the column confirm holds.
	bound token.Confirmation
	// dirty is whether the row is in the transaction's list of those to write.
	dirty bool
	// broken is why the row cannot be read. That is its own session's fault and
	// nobody else's.
	broken error
}

// scanRow reads the sessionColumns, and what is selected after them.
func scanRow(row pgx.CollectableRow, r *pgRow, more ...any) error {
	var id, secret, device, encoded []byte
	var name string
	var tenantEpoch, userEpoch, created, expiry int64
	err := row.Scan(append([]any{
		&r.seq, &id, &r.Tenant, &r.UserID, &r.Username, &name, &secret, &device, &tenantEpoch, &userEpoch,
		&created, &expiry, &r.LoginAddress, &r.UserAgent, &encoded, &r.RevokedWhy, &r.RevokedBy, &r.Scope, &r.Confirm, &r.day,
	}, more...)...)
	if err != nil {
		return err
	}
	copy(r.ID[:], id)
	copy(r.Secret[:], secret)
	copy(r.Device[:], device)
	r.Client = client(name)
	r.TenantEpoch, r.UserEpoch, r.epoch = uint64(tenantEpoch), uint64(userEpoch), uint64(tenantEpoch)
	r.CreatedAt, r.AbsoluteExpiry = fromMicro(created), fromMicro(expiry)
	var b state
	copy(b[:], encoded)
	r.stored, r.bound = encoded, r.Confirm
	if err := decodeState(&b, len(encoded), &r.Session); err != nil {
		return err
	}
	r.struck = struckAt(&r.Session)
	return nil
}

const (
	pgSelectSession = `SELECT ` + sessionColumns + ` FROM sessions WHERE id = $1`
	// pgLockSessions takes the rows in the order of their ids, as everybody does.
	pgLockSessions = `SELECT ` + sessionColumns + ` FROM sessions WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE`
	pgLockWith     = `SELECT ` + sessionColumns + ` FROM sessions WHERE id = ANY(ARRAY(
			SELECT id FROM sessions WHERE user_id = $1 AND tenant = $2 AND absolute_expiry > $3 AND ended_at = 0
			AND tenant_epoch >= coalesce((SELECT max(n) FROM epochs WHERE epochs.tenant IN ('', $2) AND epochs.user_id = ''), 0)
			UNION SELECT $4::bytea)) ORDER BY id FOR UPDATE`

	pgInsertSession = `INSERT INTO sessions (id, created_at, absolute_expiry, tenant_epoch, user_epoch, struck_at, ended_at,
		tenant, user_id, username, client, secret, device, login_address, user_agent, ended_why, ended_by, state, scope, confirm, active_day)
		VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $7, $8, $9, $10, $11, $12, $13, '', '', $14, $15, $16, $17)`

	pgUpdateStates = `UPDATE sessions SET state = new.state
		FROM unnest($1::bytea[], $2::bytea[]) AS new (id, state) WHERE sessions.id = new.id`
	// pgUpdateSessions is for the rare changes that indexes follow.
	pgUpdateSessions = `UPDATE sessions SET state = new.state, struck_at = new.struck_at,
		ended_at = CASE WHEN new.ended_at = 0 THEN sessions.ended_at ELSE new.ended_at END,
		ended_why = new.ended_why, ended_by = new.ended_by, tenant_epoch = new.tenant_epoch, confirm = new.confirm,
		active_day = greatest(sessions.active_day, new.active_day)
		FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[])
			AS new (id, state, struck_at, ended_at, ended_why, ended_by, tenant_epoch, confirm, active_day) WHERE sessions.id = new.id`
)

// Session reads one session.
func (p *Postgres) Session(ctx context.Context, id token.SessionID) (*session.Session, error) {
	r, err := oneRow(ctx, p, "session", pgSelectSession, func(row pgx.CollectableRow) (r pgRow, err error) {
		return r, scanRow(row, &r)
	}, id[:])
	if err != nil {
		return nil, err
	}
	return &r.Session, nil
}

// lockSessions reads the rows of some sessions under their locks.
func lockSessions(ids [][]byte, into map[token.SessionID]*pgRow) statement {
	return statement{sql: pgLockSessions, args: []any{ids}, reset: func() { clear(into) }, each: collect(into)}
}

func collect(into map[token.SessionID]*pgRow) func(pgx.CollectableRow) error {
	return func(row pgx.CollectableRow) error {
		r := &pgRow{}
		r.broken = scanRow(row, r)
		into[r.ID] = r
		return nil
	}
}

// save puts a row that was changed among those to write, and tells of its end.
func (t *pgTx) save(r *pgRow, before *session.Session) error {
	if err := allowed(&r.Session, before); err != nil {
		return err
	}
	if before.RevokedAt.IsZero() && !r.RevokedAt.IsZero() {
		r.ends = micro(t.at)
		t.changed(session.Change{Kind: session.SessionEnded, Tenant: r.Tenant, UserID: r.UserID, Session: r.ID})
	}
	if !r.dirty {
		r.dirty = true
		t.dirty = append(t.dirty, r)
	}
	return nil
}

// queueSessions writes rows back: those that only rotated in one statement, and
// those whose end or strike an index follows in another.
func queueSessions(b *pgx.Batch, rows []*pgRow) {
	var ids, states, rareIDs, rareStates [][]byte
	var struck, ended, epochs, days []int64
	var why, by, bound []string
	for _, r := range rows {
		encoded := encodeState(&r.Session)
		now := struckAt(&r.Session)
		if r.ends == 0 && now == r.struck && r.TenantEpoch == r.epoch && r.Confirm == r.bound && !r.moved() {
			ids, states = append(ids, r.ID[:]), append(states, encoded[:])
			continue
		}
		rareIDs, rareStates = append(rareIDs, r.ID[:]), append(rareStates, encoded[:])
		struck, ended, epochs = append(struck, now), append(ended, r.ends), append(epochs, int64(r.TenantEpoch))
		days = append(days, activeDay(&r.Session))
		why, by = append(why, clean(string(r.RevokedWhy))), append(by, clean(r.RevokedBy))
		bound = append(bound, string(r.Confirm))
	}
	if len(ids) > 0 {
		b.Queue(pgUpdateStates, ids, states)
	}
	if len(rareIDs) > 0 {
		b.Queue(pgUpdateSessions, rareIDs, rareStates, struck, ended, why, by, epochs, bound, days)
	}
}

// CreateSession stores a new session and fills in its epochs. One that is there
// already, just as it was to be stored, is our own: the answer to the COMMIT of
// an earlier attempt was lost.
func (p *Postgres) CreateSession(ctx context.Context, one *session.Session, limit int, events ...audit.Event) error {
	var tenantEpoch, userEpoch uint64
	var known *pgRow
	var living int
	err := p.do(ctx, func(t *pgTx) error {
		if known != nil {
			return nil
		}
		t.insertSession(one, tenantEpoch, userEpoch)
		if err := t.append(ctx, events...); err != nil {
			return err
		}
		if limit < 1 || living < limit {
			return nil
		}
		return t.evict(ctx, one, limit)
	},
		lockUser(one.Tenant, one.UserID),
		readNewestEpoch(one.Tenant, &tenantEpoch), readEpoch(one.Tenant, one.UserID, &userEpoch),
		statement{sql: pgCountLive, args: []any{one.UserID, one.Tenant, micro(p.Now())}, each: func(row pgx.CollectableRow) error {
			return row.Scan(&living)
		}},
		statement{sql: pgSelectSession, args: []any{one.ID[:]}, reset: func() { known = nil }, each: func(row pgx.CollectableRow) error {
			known = &pgRow{}
			return scanRow(row, known)
		}})
	if err == nil && known != nil {
		err = sameLogin(known, one)
		tenantEpoch, userEpoch = known.TenantEpoch, known.UserEpoch
	}
	if err == nil {
		one.TenantEpoch, one.UserEpoch = tenantEpoch, userEpoch
	}
	return err
}

// insertSession sends a new session along with the COMMIT.
func (t *pgTx) insertSession(one *session.Session, tenantEpoch, userEpoch uint64) {
	device := one.Device[:]
	if one.Device == [32]byte{} {
		device = []byte{}
	}
	b := encodeState(one)
	t.later(pgInsertSession, one.ID[:], micro(one.CreatedAt), micro(one.AbsoluteExpiry), int64(tenantEpoch), int64(userEpoch),
		one.Tenant, one.UserID, one.Username, one.Client, one.Secret[:], device, one.LoginAddress, one.UserAgent, b[:], one.Scope, string(one.Confirm), activeDay(one))
}

func sameLogin(known *pgRow, one *session.Session) error {
	if known.Secret != one.Secret || known.Tenant != clean(one.Tenant) || known.UserID != clean(one.UserID) ||
		!known.CreatedAt.Equal(fromMicro(micro(one.CreatedAt))) {
		return misuse("a session id was used twice")
	}
	return nil
}

// UpdateSession lets decide change one session, the short way if it can, else in
// a transaction with others that wait. One that ends other sessions of the user
// runs again, alone, because those are locked behind their user.
func (p *Postgres) UpdateSession(ctx context.Context, id token.SessionID, decide func(now time.Time, s *session.Session) session.Effects) error {
	if done, err := p.swapper.do(ctx, id, decide); done || err != nil {
		return err
	}
	alone, err := p.group.do(ctx, id, decide)
	if !alone {
		return err
	}
	return p.updateAlone(ctx, id, decide)
}

func (p *Postgres) updateAlone(ctx context.Context, id token.SessionID, decide func(now time.Time, s *session.Session) session.Effects) error {
	known, err := p.Session(ctx, id) // who the user is never changes
	if err != nil {
		return err
	}
	rows := make(map[token.SessionID]*pgRow)
	return p.do(ctx, func(t *pgTx) error {
		r := rows[id]
		if r == nil {
			return notFound("session")
		}
		effects, err := t.decide(ctx, r, decide)
		if err != nil || effects.EndUser == "" {
			return err
		}
		others := slices.DeleteFunc(inOrder(rows, id), func(r *pgRow) bool { return !r.RevokedAt.IsZero() })
		_, err = t.endRows(ctx, others, alsoEnded(effects.EndUser, r.RevokedBy))
		return err
	}, lockUser(known.Tenant, known.UserID), p.lockWith(id, known.Tenant, known.UserID, rows))
}

// lockWith is lockLive with one session more, whether it lives or not. It is one
// statement, so that all are locked in the order of their ids.
func (p *Postgres) lockWith(id token.SessionID, tenant, userID string, into map[token.SessionID]*pgRow) statement {
	s := p.lockLive(tenant, userID, into)
	s.sql, s.args = pgLockWith, append(s.args, id[:])
	return s
}

// decide runs a callback on a row and takes in what it wants done. If it fails,
// or panics, the row is as it was.
func (t *pgTx) decide(ctx context.Context, r *pgRow, decide func(now time.Time, s *session.Session) session.Effects) (effects session.Effects, err error) {
	if r.broken != nil {
		return effects, fmt.Errorf("%w: %w", errUnreadable, r.broken)
	}
	before := r.Session
	done := false
	defer func() {
		if !done || err != nil || !effects.Save {
			r.Session = before
		}
	}()
	effects = decide(t.now, &r.Session)
	done = true
	events, n, m := t.events, len(t.changes), len(t.dirty)
	if err = t.append(ctx, effects.Events...); err == nil && effects.Save {
		err = t.save(r, &before)
	}
	if err != nil {
		t.events, t.changes = events, t.changes[:n]
		if len(t.dirty) > m {
			t.dirty, r.dirty = t.dirty[:m], false
		}
	}
	return effects, err
}

// MergeSeen merges by maximum and adds retries. It does so in several
// transactions, so that a big flush stops no refresh; if it fails, a part may
// have been merged, which merging again does not harm but for the count of
// retries. Sessions that have ended or gone are passed over.
func (p *Postgres) MergeSeen(ctx context.Context, seen []session.Seen) error {
	for len(seen) > 0 {
		n := min(len(seen), mergeBatch)
		if err := p.merge(ctx, seen[:n]); err != nil {
			return err
		}
		seen = seen[n:]
	}
	return nil
}

func (p *Postgres) merge(ctx context.Context, seen []session.Seen) error {
	var ids [][]byte
	for i := range seen {
		ids = append(ids, seen[i].Session[:])
	}
	rows := make(map[token.SessionID]*pgRow)
	return p.do(ctx, func(t *pgTx) error {
		for _, one := range seen {
			r := rows[one.Session]
			if r == nil || r.broken != nil || !r.RevokedAt.IsZero() {
				continue
			}
			before := r.Session
			r.row.merge(one)
			if err := t.save(r, &before); err != nil {
				return err
			}
		}
		return nil
	}, lockSessions(ids, rows))
}
