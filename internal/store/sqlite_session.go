package store

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const sessionColumns = `seq, id, tenant, user_id, username, client, secret, device, tenant_epoch, user_epoch,
	created_at, absolute_expiry, login_address, user_agent, state, ended_why, ended_by, scope, confirm, active_day`

func scanSession(stmt *sqlite.Stmt, r *row) error {
	r.seq = stmt.ColumnInt64(0)
	stmt.ColumnBytes(1, r.ID[:])
	r.Tenant = stmt.ColumnText(2)
	r.UserID = stmt.ColumnText(3)
	r.Username = stmt.ColumnText(4)
	r.Client = client(stmt.ColumnText(5))
	stmt.ColumnBytes(6, r.Secret[:])
	stmt.ColumnBytes(7, r.Device[:])
	r.TenantEpoch = uint64(stmt.ColumnInt64(8))
	r.UserEpoch = uint64(stmt.ColumnInt64(9))
	r.CreatedAt = fromMicro(stmt.ColumnInt64(10))
	r.AbsoluteExpiry = fromMicro(stmt.ColumnInt64(11))
	r.LoginAddress = stmt.ColumnText(12)
	r.UserAgent = stmt.ColumnText(13)
	r.RevokedWhy = session.Reason(stmt.ColumnText(15))
	r.RevokedBy = stmt.ColumnText(16)
	r.Scope = stmt.ColumnText(17)
	r.Confirm = token.Confirmation(stmt.ColumnText(18))
	r.day = stmt.ColumnInt64(19)
	var b state
	return decodeState(&b, stmt.ColumnBytes(14, b[:]), &r.Session)
}

const selectSession = `SELECT ` + sessionColumns + ` FROM sessions WHERE id = ?1`

// session reads a row that only this transaction can change.
func (t *tx) session(id token.SessionID, r *row) error {
	t.sessionStmt.BindBytes(1, id[:])
	found, err := t.sessionStmt.Step()
	if err != nil {
		return err
	}
	defer t.sessionStmt.Reset()
	if !found {
		return notFound("session")
	}
	return scanSession(t.sessionStmt, r)
}

// Session reads one session.
func (s *SQLite) Session(ctx context.Context, id token.SessionID) (*session.Session, error) {
	r, err := one(ctx, s, "session", selectSession, func(stmt *sqlite.Stmt) (r row, err error) {
		return r, scanSession(stmt, &r)
	}, id[:])
	if err != nil {
		return nil, err
	}
	return &r.Session, nil
}

const (
	insertSession = `INSERT INTO sessions (id, tenant, user_id, username, client, secret, device, tenant_epoch,
		user_epoch, created_at, absolute_expiry, login_address, user_agent, state, scope, confirm,
		active_day, struck_at, ended_at, ended_why, ended_by)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 0, 0, '', '')`
	updateState = `UPDATE sessions SET state = ?2 WHERE seq = ?1`
	// updateSession is for the rare changes that indexes follow.
	updateSession = `UPDATE sessions SET state = ?2, struck_at = ?3,
		ended_at = CASE WHEN ?4 = 0 THEN ended_at ELSE ?4 END, ended_why = ?5, ended_by = ?6, tenant_epoch = ?7, confirm = ?8,
		active_day = max(active_day, ?9) WHERE seq = ?1`
)

// CreateSession stores a new session and fills in its epochs.
func (s *SQLite) CreateSession(ctx context.Context, one *session.Session, limit int, events ...audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error { return t.createSession(ctx, one, limit, events...) })
}

func (t *tx) createSession(ctx context.Context, one *session.Session, limit int, events ...audit.Event) error {
	newest, err := t.number(newestEpoch, one.Tenant)
	if err != nil {
		return err
	}
	userEpoch, err := t.epoch(one.Tenant, one.UserID)
	if err != nil {
		return err
	}
	one.TenantEpoch, one.UserEpoch = uint64(newest), userEpoch
	b := encodeState(one)
	device := one.Device[:]
	if one.Device == [32]byte{} {
		device = nil
	}
	err = t.exec(insertSession, one.ID[:], one.Tenant, one.UserID, one.Username, one.Client, one.Secret[:], device,
		one.TenantEpoch, userEpoch, micro(one.CreatedAt), micro(one.AbsoluteExpiry), one.LoginAddress, one.UserAgent, b[:], one.Scope, string(one.Confirm), activeDay(one))
	if err != nil {
		return err
	}
	if err := t.append(ctx, events...); err != nil {
		return err
	}
	return t.evict(ctx, one, limit)
}

// UpdateSession lets decide change one session.
func (s *SQLite) UpdateSession(ctx context.Context, id token.SessionID, decide func(now time.Time, s *session.Session) session.Effects) error {
	return s.writer.do(ctx, func(t *tx) error {
		var r row
		if err := t.session(id, &r); err != nil {
			return err
		}
		before := r.Session
		effects := decide(t.now, &r.Session)
		if effects.Save {
			if err := t.save(&r, &before); err != nil {
				return err
			}
		}
		if err := t.append(ctx, effects.Events...); err != nil {
			return err
		}
		if effects.EndUser == "" {
			return nil
		}
		who := session.Scope{Tenant: r.Tenant, UserID: r.UserID, Except: r.ID}
		_, err := t.endSessions(ctx, who, alsoEnded(effects.EndUser, r.RevokedBy))
		return err
	})
}

// save writes back what decide changed.
func (t *tx) save(r *row, before *session.Session) error {
	s := &r.Session
	if err := allowed(s, before); err != nil {
		return err
	}
	b := encodeState(s)
	ends := before.RevokedAt.IsZero() && !s.RevokedAt.IsZero()
	if !ends && struckAt(s) == struckAt(before) && s.TenantEpoch == before.TenantEpoch && s.Confirm == before.Confirm && !r.moved() {
		return t.saveState(r.seq, &b)
	}
	endedAt := int64(0)
	if ends {
		endedAt = micro(t.at)
		t.changed(session.Change{Kind: session.SessionEnded, Tenant: s.Tenant, UserID: s.UserID, Session: s.ID})
	}
	return t.exec(updateSession, r.seq, b[:], struckAt(s), endedAt, string(s.RevokedWhy), s.RevokedBy, s.TenantEpoch, string(s.Confirm), activeDay(s))
}

func (t *tx) saveState(seq int64, b *state) error {
	t.saveStateStmt.BindInt64(1, seq)
	t.saveStateStmt.BindBytes(2, b[:])
	if err := step(t.saveStateStmt); err != nil {
		return err
	}
	t.wrote, t.dirty = true, true
	return nil
}

// MergeSeen merges by maximum and adds retries. It does so in several
// transactions, so that a big flush stops no refresh; if it fails, a part may
// have been merged, which merging again does not harm but for the count of
// retries. Sessions that have ended or gone are passed over.
func (s *SQLite) MergeSeen(ctx context.Context, seen []session.Seen) error {
	for len(seen) > 0 {
		n := min(len(seen), mergeBatch)
		part := seen[:n]
		seen = seen[n:]
		err := s.writer.do(ctx, func(t *tx) error {
			for _, one := range part {
				if err := t.merge(one); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeBatch is how many sessions are merged while refreshes wait.
const mergeBatch = 64

func (t *tx) merge(one session.Seen) error {
	var r row
	switch err := t.session(one.Session, &r); {
	case err == notFound("session"):
		return nil
	case err != nil:
		return err
	case !r.RevokedAt.IsZero():
		return nil
	}
	before := r.Session
	r.merge(one)
	return t.save(&r, &before)
}
