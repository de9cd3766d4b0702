package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/session"
)

// As with SQLite, each list begins at the index of its most selective filter,
// whose entries are in the order of logins. Two logins at the same moment may be
// committed in the other order than numbered.
const (
	pgListByUser    = `SELECT ` + sessionColumns + ` FROM sessions WHERE user_id = $2 AND ($1 = '' OR tenant = $1) AND ($4 = '' OR login_address = $4)` + pgListRest
	pgListByAddress = `SELECT ` + sessionColumns + ` FROM sessions WHERE login_address = $4 AND $2 = '' AND ($1 = '' OR tenant = $1)` + pgListRest
	pgListByTenant  = `SELECT ` + sessionColumns + ` FROM sessions WHERE tenant = $1 AND $2 = '' AND $4 = ''` + pgListRest
	pgListAll       = `SELECT ` + sessionColumns + ` FROM sessions WHERE $1 = '' AND $2 = '' AND $4 = ''` + pgListRest

	// Which index serves a list by activity is left to the planner.
	pgListRest = ` AND ($3 = '' OR client = $3)
		AND ($5::bigint = 0 OR (ended_at = 0 AND absolute_expiry > $5::bigint AND tenant_epoch >=
			coalesce((SELECT max(n) FROM epochs WHERE epochs.tenant IN ('', sessions.tenant) AND epochs.user_id = ''), 0)))`
	pgListByLogin    = ` AND seq < $6 AND $8::bigint > 0 ORDER BY seq DESC LIMIT $7`
	pgListByActivity = ` AND (active_day, seq) < ($8::bigint, $6::bigint) ORDER BY active_day DESC, seq DESC LIMIT $7`
)

// ListSessions reads a page in the order of logins, newest first, or in that of
// activity. Address is that of the login. Live sessions include those that have idled too long
// under some policy.
func (p *Postgres) ListSessions(ctx context.Context, f session.Filter) (session.Page, error) {
	query := pgListAll
	switch {
	case f.UserID != "":
		query = pgListByUser
	case f.Address != "":
		query = pgListByAddress
	case f.Tenant != "":
		query = pgListByTenant
	}
	if f.ByActivity {
		query += pgListByActivity
	} else {
		query += pgListByLogin
	}
	limit, live := pageSize(f.Limit), int64(0)
	if f.Live {
		live = micro(p.Now())
	}
	below, err := openCursor(f)
	if err != nil {
		return session.Page{}, err
	}
	all, err := listRows(ctx, p, query, func(row pgx.CollectableRow) (r pgRow, err error) {
		return r, scanRow(row, &r)
	}, f.Tenant, f.UserID, f.Client, f.Address, live, below.seq, limit+1, below.day)
	if err != nil {
		return session.Page{}, err
	}
	var page session.Page
	if len(all) > limit {
		all = all[:limit]
		page.Next = newCursor(&all[limit-1].row, f)
	}
	for i := range all {
		page.Sessions = append(page.Sessions, all[i].Session)
	}
	return page, nil
}

// EndedSince lists sessions by when they ended.
func (p *Postgres) EndedSince(ctx context.Context, t time.Time) ([]session.EndedSession, error) {
	const query = `SELECT id, ended_at FROM sessions WHERE ended_at <> 0 AND ended_at >= $1 ORDER BY ended_at`
	return listRows(ctx, p, query, func(row pgx.CollectableRow) (e session.EndedSession, err error) {
		var id []byte
		var at int64
		err = row.Scan(&id, &at)
		copy(e.Session[:], id)
		e.At = fromMicro(at)
		return e, err
	}, micro(t))
}

// Epochs lists epochs as the changes that moved them.
func (p *Postgres) Epochs(ctx context.Context, t time.Time) ([]session.Change, error) {
	const query = `SELECT tenant, user_id, n, at FROM epochs WHERE user_id = '' OR at >= $1 ORDER BY tenant, user_id`
	return listRows(ctx, p, query, func(row pgx.CollectableRow) (session.Change, error) {
		c := session.Change{Kind: session.EpochMoved}
		var at int64
		err := row.Scan(&c.Tenant, &c.UserID, &c.Epoch, &at)
		c.At = fromMicro(at)
		return c, err
	}, micro(t))
}

// Struck lists the live sessions with an open strike.
func (p *Postgres) Struck(ctx context.Context) ([]session.Struck, error) {
	const query = `SELECT id, struck_at FROM sessions WHERE struck_at <> 0 ORDER BY struck_at`
	return listRows(ctx, p, query, func(row pgx.CollectableRow) (one session.Struck, err error) {
		var id []byte
		var at int64
		err = row.Scan(&id, &at)
		copy(one.Session[:], id)
		one.StrikeAt = fromMicro(at)
		return one, err
	})
}
