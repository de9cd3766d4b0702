package store

import (
	"context"
	"math"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// insertEvent never gives a number again: the engine would, once the newest event
// is swept, and the chain knows that number as another event's.
const insertEvent = `INSERT INTO events (seq, at, kind, tenant, session, user_id, actor_kind, actor_name, actor_user_id, address,
	user_agent, request_id, reason, detail)
	VALUES (1 + max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(seq) FROM event_chain), 0)),
		?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`

// AppendEvents writes events of their own.
func (s *SQLite) AppendEvents(ctx context.Context, events ...audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error { return t.append(ctx, events...) })
}

// append writes events with the rest of the transaction. The actor is the
// request's where an event names none.
func (t *tx) append(ctx context.Context, events ...audit.Event) error {
	for _, e := range events {
		fillActor(ctx, &e)
		if err := t.insertEvent(&e); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) insertEvent(e *audit.Event) error {
	detail, err := encodeDetail(e)
	if err != nil {
		return err
	}
	a := &e.Actor
	return t.exec(insertEvent, micro(t.at), string(e.Kind), e.Tenant, e.Session, e.UserID,
		a.Kind, a.Name, a.UserID, a.Address, a.UserAgent, a.RequestID, e.Reason, detail)
}

const eventColumns = `seq, at, kind, tenant, session, user_id, actor_kind, actor_name, actor_user_id, address,
	user_agent, request_id, reason, detail`

// notableKinds are those of audit.Notable, as the index has them.
const notableKinds = `'refresh_reuse', 'tag_mismatch', 'generation_ahead', 'clock_backwards', 'store_turned_back', 'user_blocked', 'tenant_sessions_ended', 'key_changed', 'policy_changed'`

// As with sessions, each list begins at the index of its most selective
// filter.
const (
	eventsBySession = `SELECT ` + eventColumns + ` FROM events INDEXED BY events_session WHERE session = ?3 AND session <> '' AND (?1 = '' OR tenant = ?1) AND (?2 = '' OR user_id = ?2) AND (?4 = '' OR kind = ?4)` + eventsRest
	eventsByUser    = `SELECT ` + eventColumns + ` FROM events INDEXED BY events_user WHERE user_id = ?2 AND user_id <> '' AND ?3 = '' AND (?1 = '' OR tenant = ?1) AND (?4 = '' OR kind = ?4)` + eventsRest
	eventsByKind    = `SELECT ` + eventColumns + ` FROM events INDEXED BY events_kind WHERE tenant = ?1 AND kind = ?4 AND ?2 = '' AND ?3 = ''` + eventsRest
	eventsByTenant  = `SELECT ` + eventColumns + ` FROM events INDEXED BY events_tenant WHERE tenant = ?1 AND ?2 = '' AND ?3 = '' AND ?4 = ''` + eventsRest
	eventsNotable   = `SELECT ` + eventColumns + ` FROM events INDEXED BY events_notable WHERE kind IN (` + notableKinds + `) AND (?1 = '' OR tenant = ?1) AND ?2 = '' AND ?3 = '' AND ?4 = ''` + eventsRest
	eventsAll       = `SELECT ` + eventColumns + ` FROM events NOT INDEXED WHERE ?1 = '' AND ?2 = '' AND ?3 = '' AND (?4 = '' OR kind = ?4)` + eventsRest

	eventsRest = ` AND seq < ?5 AND at >= ?7 AND at < ?8 ORDER BY seq DESC LIMIT ?6`
)

// Events reads events, newest first.
func (s *SQLite) Events(ctx context.Context, f session.EventFilter) ([]audit.Event, error) {
	query := eventsAll
	switch {
	case f.Notable:
		query = eventsNotable
	case f.Session != "":
		query = eventsBySession
	case f.UserID != "":
		query = eventsByUser
	case f.Tenant != "" && f.Kind != "":
		query = eventsByKind
	case f.Tenant != "":
		query = eventsByTenant
	}
	before := f.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	return list(ctx, s, query, scanEvent, f.Tenant, f.UserID, f.Session, string(f.Kind), before, pageSize(f.Limit), micro(f.Since), endless(f.Until))
}

func scanEvent(stmt *sqlite.Stmt) (audit.Event, error) {
	e := audit.Event{
		Seq: stmt.ColumnInt64(0), Time: fromMicro(stmt.ColumnInt64(1)), Kind: audit.Kind(stmt.ColumnText(2)),
		Tenant: stmt.ColumnText(3), Session: stmt.ColumnText(4), UserID: stmt.ColumnText(5),
		Actor: audit.Actor{
			Kind: stmt.ColumnText(6), Name: stmt.ColumnText(7), UserID: stmt.ColumnText(8),
			Address: stmt.ColumnText(9), UserAgent: stmt.ColumnText(10), RequestID: stmt.ColumnText(11),
		},
		Reason: stmt.ColumnText(12),
	}
	return e, decodeDetail(stmt.ColumnText(13), &e)
}
