package store

import (
	"context"
	"math"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Each list begins at the index of its most selective filter, whose entries
// are in the order of logins, and passes over what the other filters leave
// out. So no list sorts, and a page costs what it shows, but for a filter that
// nearly nothing matches.
const (
	listByUser    = `SELECT ` + sessionColumns + ` FROM sessions INDEXED BY sessions_user WHERE user_id = ?2 AND (?1 = '' OR tenant = ?1) AND (?4 = '' OR login_address = ?4)` + listRest
	listByAddress = `SELECT ` + sessionColumns + ` FROM sessions INDEXED BY sessions_address WHERE login_address = ?4 AND ?2 = '' AND (?1 = '' OR tenant = ?1)` + listRest
	listByTenant  = `SELECT ` + sessionColumns + ` FROM sessions INDEXED BY sessions_tenant WHERE tenant = ?1 AND ?2 = '' AND ?4 = ''` + listRest
	listAll       = `SELECT ` + sessionColumns + ` FROM sessions NOT INDEXED WHERE ?1 = '' AND ?2 = '' AND ?4 = ''` + listRest

	// listRest selects by client, leaves out what is over at time ?5 unless
	// that is 0, and continues below row ?6.
	listRest = ` AND (?3 = '' OR client = ?3)
		AND (?5 = 0 OR (ended_at = 0 AND absolute_expiry > ?5 AND tenant_epoch >=
			coalesce((SELECT max(n) FROM epochs WHERE epochs.tenant IN ('', sessions.tenant) AND epochs.user_id = ''), 0)))
		AND seq < ?6 ORDER BY seq DESC LIMIT ?7`
)

// ListSessions reads a page in the order of logins, newest first. Address is
// that of the login. Live sessions include those that have idled too long
// under some policy.
func (s *SQLite) ListSessions(ctx context.Context, f session.Filter) (session.Page, error) {
	query := listAll
	switch {
	case f.UserID != "":
		query = listByUser
	case f.Address != "":
		query = listByAddress
	case f.Tenant != "":
		query = listByTenant
	}
	limit, live, below := pageSize(f.Limit), int64(0), int64(math.MaxInt64)
	if f.Live {
		live = micro(s.now())
	}
	if f.Cursor != "" {
		var err error
		if below, err = openCursor(f.Cursor); err != nil {
			return session.Page{}, err
		}
	}
	all, err := list(ctx, s, query, func(stmt *sqlite.Stmt) (r row, err error) {
		return r, scanSession(stmt, &r)
	}, f.Tenant, f.UserID, f.Client, f.Address, live, below, limit+1)
	if err != nil {
		return session.Page{}, err
	}
	var page session.Page
	if len(all) > limit {
		all = all[:limit]
		page.Next = newCursor(all[limit-1].seq)
	}
	for i := range all {
		page.Sessions = append(page.Sessions, all[i].Session)
	}
	return page, nil
}
