package store

import (
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

// The statements are the same on both engines, but for how they name arguments.
const (
	// addUsage takes a slot over when its turn has come. A node that is late with
	// what happened before adds nothing to it.
	addUsage = `INSERT INTO usage (series, slot, begins, live, refreshes, retries, late_recoveries, superseded, reuse, logins, logins_failed, ended, behind)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
		ON CONFLICT (series, slot) DO UPDATE SET begins = excluded.begins, live = excluded.live, ` + addUsageSums + `
		WHERE usage.begins <= excluded.begins`

	listUsage = `SELECT begins, live, refreshes, retries, late_recoveries, superseded, reuse, logins, logins_failed, ended, behind FROM usage WHERE series = ?1`

	countAllLive = `SELECT count(*) FROM sessions WHERE ended_at = 0 AND absolute_expiry > ?1`
)

const addUsageSums = `refreshes = CASE WHEN usage.begins = excluded.begins THEN usage.refreshes ELSE 0 END + excluded.refreshes,
	retries = CASE WHEN usage.begins = excluded.begins THEN usage.retries ELSE 0 END + excluded.retries,
	late_recoveries = CASE WHEN usage.begins = excluded.begins THEN usage.late_recoveries ELSE 0 END + excluded.late_recoveries,
	superseded = CASE WHEN usage.begins = excluded.begins THEN usage.superseded ELSE 0 END + excluded.superseded,
	reuse = CASE WHEN usage.begins = excluded.begins THEN usage.reuse ELSE 0 END + excluded.reuse,
	logins = CASE WHEN usage.begins = excluded.begins THEN usage.logins ELSE 0 END + excluded.logins,
	logins_failed = CASE WHEN usage.begins = excluded.begins THEN usage.logins_failed ELSE 0 END + excluded.logins_failed,
	ended = CASE WHEN usage.begins = excluded.begins THEN usage.ended ELSE 0 END + excluded.ended,
	behind = CASE WHEN usage.begins = excluded.begins AND usage.behind > excluded.behind THEN usage.behind ELSE excluded.behind END`

// forPostgres names arguments as PostgreSQL does.
func forPostgres(statement string) string { return strings.ReplaceAll(statement, "?", "$") }

// usageArgs are the arguments of addUsage after the series.
func usageArgs(series session.UsageSeries, slot, begins int64, u *session.Usage) []any {
	return []any{
		series.Name, slot, begins, u.Live, u.Refreshes, u.Retries, u.LateRecoveries, u.Superseded, u.Reuse, u.Logins, u.LoginsFailed, u.Ended, u.Behind.Microseconds(),
	}
}

// usageSeries are all that are kept.
var usageSeries = []session.UsageSeries{session.LastHour, session.LastMonth}
