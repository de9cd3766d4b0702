package store

import (
	"context"

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

	// Days are fewer than logins, and those of one user or address are sorted.
	listTenantActive = `SELECT ` + sessionColumns + ` FROM sessions INDEXED BY sessions_tenant_active WHERE tenant = ?1 AND ?2 = '' AND ?4 = ''` + listRest
	listAllActive    = `SELECT ` + sessionColumns + ` FROM sessions INDEXED BY sessions_active WHERE ?1 = '' AND ?2 = '' AND ?4 = ''` + listRest

	// listRest selects by client, and leaves out what is over at time ?5 unless
	// that is 0. What follows continues below row ?6, or below it on day ?8.
	listRest = ` AND (?3 = '' OR client = ?3)
		AND (?5 = 0 OR (ended_at = 0 AND absolute_expiry > ?5 AND tenant_epoch >=
			coalesce((SELECT max(n) FROM epochs WHERE epochs.tenant IN ('', sessions.tenant) AND epochs.user_id = ''), 0)))`
	listByLogin = ` AND seq < ?6 AND ?8 > 0 ORDER BY seq DESC LIMIT ?7`
	// By activity, what is left of the day comes before the earlier days: SQLite
	// compares a day and a row at once without the index's help.
	listOfDay     = ` AND seq < ?6 AND active_day = ?8 ORDER BY seq DESC LIMIT ?7`
	listOfEarlier = ` AND ?6 <> 0 AND active_day < ?8 ORDER BY active_day DESC, seq DESC LIMIT ?7`
)

// ListSessions reads a page in the order of logins, newest first, or in that of
// activity. Address is that of the login. Live sessions include those that have
// idled too long under some policy.
func (s *SQLite) ListSessions(ctx context.Context, f session.Filter) (session.Page, error) {
	query := listAll
	switch {
	case f.UserID != "":
		query = listByUser
	case f.Address != "":
		query = listByAddress
	case f.Tenant != "" && f.ByActivity:
		query = listTenantActive
	case f.Tenant != "":
		query = listByTenant
	case f.ByActivity:
		query = listAllActive
	}
	parts := []string{listByLogin}
	if f.ByActivity {
		parts = []string{listOfDay, listOfEarlier}
	}
	limit, live := pageSize(f.Limit), int64(0)
	if f.Live {
		live = micro(s.now())
	}
	below, err := openCursor(f)
	if err != nil {
		return session.Page{}, err
	}
	var all []row
	for _, part := range parts {
		some, err := list(ctx, s, query+part, func(stmt *sqlite.Stmt) (r row, err error) {
			return r, scanSession(stmt, &r)
		}, f.Tenant, f.UserID, f.Client, f.Address, live, below.seq, limit+1-len(all), below.day)
		if err != nil {
			return session.Page{}, err
		}
		if all = append(all, some...); len(all) > limit {
			break
		}
	}
	var page session.Page
	if len(all) > limit {
		all = all[:limit]
		page.Next = newCursor(&all[limit-1], f)
	}
	for i := range all {
		page.Sessions = append(page.Sessions, all[i].Session)
	}
	return page, nil
}
