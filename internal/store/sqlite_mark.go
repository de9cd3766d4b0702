package store

import (
	"context"
	"errors"
	"os"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Advance moves the mark on.
func (s *SQLite) Advance(ctx context.Context, remembered session.Mark) (mark session.Mark, err error) {
	if err := s.inPlace(); err != nil {
		return mark, err
	}
	err = s.writer.do(ctx, func(t *tx) error {
		m, err := t.mark(remembered)
		if err != nil {
			return err
		}
		if err := m.behind(remembered); err != nil {
			return err
		}
		if m.over(t.now) {
			if err := t.endBefore(m.own.Adoption.Epoch); err != nil {
				return err
			}
			if err := t.append(ctx, adoptionEnded); err != nil {
				return err
			}
			m.own.Adoption = session.Adoption{}
			if err := t.saveAdoption(m.own.Adoption); err != nil {
				return err
			}
		}
		mark, err = t.saveMark(&m.own, m.own.N+1)
		return err
	})
	return mark, err
}

// Restored deals with a database that was turned back.
func (s *SQLite) Restored(ctx context.Context, r session.Restoration) (mark session.Mark, did bool, err error) {
	if err := s.inPlace(); err != nil {
		return mark, false, err
	}
	err = s.writer.do(ctx, func(t *tx) error {
		m, err := t.mark(r.Remembered)
		if err != nil {
			return err
		}
		behind := m.behind(r.Remembered)
		if errors.Is(behind, session.ErrUnavailable) {
			return behind
		}
		if did = r.Told || behind != nil; !did {
			mark, err = t.saveMark(&m.own, m.own.N+1)
			return err
		}
		beyond := m.beyond(t.now, r.Remembered)
		event := m.restored(r, "")
		m.own.Adoption = adoption(beyond, t.now, r)
		if err := t.saveAdoption(m.own.Adoption); err != nil {
			return err
		}
		if r.AdoptFor <= 0 {
			if err := t.endBefore(beyond); err != nil {
				return err
			}
		}
		if r.Remembered.Known() && r.Remembered.Incarnation != m.own.Incarnation {
			err := t.exec(`INSERT INTO marks (incarnation, own, n, at) VALUES (?1, 0, ?2, ?3)
				ON CONFLICT (incarnation) DO UPDATE SET n = excluded.n, at = excluded.at`, r.Remembered.Incarnation, beyond, micro(t.at))
			if err != nil {
				return err
			}
		}
		t.changed(session.Change{Kind: session.Missed})
		if err := t.append(ctx, event); err != nil {
			return err
		}
		mark, err = t.saveMark(&m.own, beyond)
		return err
	})
	return mark, did, err
}

// inPlace is whether the file that is open is still the one of its name.
func (s *SQLite) inPlace() error {
	now, err := os.Stat(s.path)
	if err != nil || !os.SameFile(now, s.file) {
		return session.ErrReplaced
	}
	return nil
}

func (t *tx) mark(remembered session.Mark) (m marked, err error) {
	err = rows(t.conn, `SELECT incarnation, n, at, epoch, since, until FROM marks, adoption WHERE own = 1`, func(stmt *sqlite.Stmt) error {
		m.own = session.Mark{
			Incarnation: stmt.ColumnText(0), N: uint64(stmt.ColumnInt64(1)), At: fromMicro(stmt.ColumnInt64(2)),
			Adoption: session.Adoption{
				Epoch: uint64(stmt.ColumnInt64(3)), Since: fromMicro(stmt.ColumnInt64(4)), Until: fromMicro(stmt.ColumnInt64(5)),
			},
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	recorded, err := t.number(`SELECT n FROM marks WHERE incarnation = ?1`, remembered.Incarnation)
	if err != nil {
		return m, err
	}
	floor, err := t.epoch("", "")
	m.recorded, m.floor = uint64(recorded), floor
	return m, err
}

func (t *tx) saveMark(own *session.Mark, n uint64) (session.Mark, error) {
	own.N, own.At = n, t.at
	return *own, t.exec(`UPDATE marks SET n = ?1, at = ?2 WHERE own = 1`, n, micro(t.at))
}

func (t *tx) saveAdoption(a session.Adoption) error {
	return t.exec(`UPDATE adoption SET epoch = ?1, since = ?2, until = ?3`, a.Epoch, micro(a.Since), micro(a.Until))
}

// endBefore ends the sessions of all tenants that have an epoch below this.
func (t *tx) endBefore(epoch uint64) error {
	t.changed(session.Change{Kind: session.EpochMoved, Epoch: epoch})
	return t.exec(`INSERT INTO epochs (tenant, user_id, n, at) VALUES ('', '', ?1, ?2)
		ON CONFLICT (tenant, user_id) DO UPDATE SET n = max(n, excluded.n), at = excluded.at`, epoch, micro(t.at))
}
