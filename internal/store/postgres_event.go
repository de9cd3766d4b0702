package store

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// eventRow is an event as it is stored: the time, and the texts in the order of
// eventTexts.
type eventRow struct {
	at    int64
	texts [eventTexts]string
}

const (
	eventTexts = 12

	// The rows are numbered in the order in which they were given.
	pgInsertEvents = `INSERT INTO events (at, kind, tenant, session, user_id, actor_kind, actor_name, actor_user_id, address,
		user_agent, request_id, reason, detail)
		SELECT e.at, e.t1, e.t2, e.t3, e.t4, e.t5, e.t6, e.t7, e.t8, e.t9, e.t10, e.t11, e.t12
		FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
			$10::text[], $11::text[], $12::text[], $13::text[]) WITH ORDINALITY
			AS e (at, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, n) ORDER BY e.n`
)

// AppendEvents writes events of their own.
func (p *Postgres) AppendEvents(ctx context.Context, events ...audit.Event) error {
	return p.do(ctx, func(t *pgTx) error { return t.append(ctx, events...) })
}

// event puts an event among those to write.
func (t *pgTx) event(e *audit.Event) error {
	detail, err := encodeDetail(e)
	if err != nil {
		return misuse("%v", err)
	}
	a := &e.Actor
	t.events = append(t.events, eventRow{micro(t.at), [eventTexts]string{
		string(e.Kind), e.Tenant, e.Session, e.UserID, a.Kind, a.Name, a.UserID, a.Address, a.UserAgent, a.RequestID, e.Reason, detail,
	}})
	return nil
}

func queueEvents(b *pgx.Batch, events []eventRow) {
	if len(events) == 0 {
		return
	}
	times := make([]int64, len(events))
	args := []any{times}
	for column := range eventTexts {
		texts := make([]string, len(events))
		for i := range events {
			texts[i] = clean(events[i].texts[column])
		}
		args = append(args, texts)
	}
	for i := range events {
		times[i] = events[i].at
	}
	b.Queue(pgInsertEvents, args...)
}

// As with sessions, each list begins at the index of its most selective filter.
const (
	pgEventsBySession = `SELECT ` + eventColumns + ` FROM events WHERE session = $3 AND session <> '' AND ($1 = '' OR tenant = $1) AND ($2 = '' OR user_id = $2) AND ($4 = '' OR kind = $4)` + pgEventsRest
	pgEventsByUser    = `SELECT ` + eventColumns + ` FROM events WHERE user_id = $2 AND user_id <> '' AND $3 = '' AND ($1 = '' OR tenant = $1) AND ($4 = '' OR kind = $4)` + pgEventsRest
	pgEventsByKind    = `SELECT ` + eventColumns + ` FROM events WHERE tenant = $1 AND kind = $4 AND $2 = '' AND $3 = ''` + pgEventsRest
	pgEventsByTenant  = `SELECT ` + eventColumns + ` FROM events WHERE tenant = $1 AND $2 = '' AND $3 = '' AND $4 = ''` + pgEventsRest
	pgEventsNotable   = `SELECT ` + eventColumns + ` FROM events WHERE kind IN (` + notableKinds + `) AND ($1 = '' OR tenant = $1) AND $2 = '' AND $3 = '' AND $4 = ''` + pgEventsRest
	pgEventsAll       = `SELECT ` + eventColumns + ` FROM events WHERE $1 = '' AND $2 = '' AND $3 = '' AND ($4 = '' OR kind = $4)` + pgEventsRest

	pgEventsRest = ` AND seq < $5 AND at >= $7 AND at < $8 ORDER BY seq DESC LIMIT $6`
)

// Events reads events, newest first.
func (p *Postgres) Events(ctx context.Context, f session.EventFilter) ([]audit.Event, error) {
	query := pgEventsAll
	switch {
	case f.Notable:
		query = pgEventsNotable
	case f.Session != "":
		query = pgEventsBySession
	case f.UserID != "":
		query = pgEventsByUser
	case f.Tenant != "" && f.Kind != "":
		query = pgEventsByKind
	case f.Tenant != "":
		query = pgEventsByTenant
	}
	before := f.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	return listRows(ctx, p, query, scanEventRow, f.Tenant, f.UserID, f.Session, string(f.Kind), before, pageSize(f.Limit), micro(f.Since), endless(f.Until))
}

func scanEventRow(row pgx.CollectableRow) (e audit.Event, err error) {
	var at int64
	var detail string
	a := &e.Actor
	err = row.Scan(&e.Seq, &at, &e.Kind, &e.Tenant, &e.Session, &e.UserID, &a.Kind, &a.Name, &a.UserID, &a.Address,
		&a.UserAgent, &a.RequestID, &e.Reason, &detail)
	if err != nil {
		return e, err
	}
	e.Time = fromMicro(at)
	return e, decodeDetail(detail, &e)
}
