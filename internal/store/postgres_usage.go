package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/session"
)

var (
	addUsagePostgres  = forPostgres(addUsage)
	listUsagePostgres = forPostgres(listUsage)
	countLivePostgres = forPostgres(countAllLive)
)

// AddUsage adds what a node counted.
func (p *Postgres) AddUsage(ctx context.Context, at time.Time, u session.Usage) error {
	return p.do(ctx, func(t *pgTx) error {
		for _, series := range usageSeries {
			slot, begins := series.Slot(at)
			if _, err := t.exec(addUsagePostgres, usageArgs(series, slot, micro(begins), &u)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Usage reads a series.
func (p *Postgres) Usage(ctx context.Context, series session.UsageSeries) ([]session.Usage, error) {
	return listRows(ctx, p, listUsagePostgres, func(row pgx.CollectableRow) (u session.Usage, err error) {
		var begins, behind int64
		err = row.Scan(&begins, &u.Live, &u.Refreshes, &u.Retries, &u.LateRecoveries, &u.Superseded, &u.Reuse, &u.Logins, &u.LoginsFailed, &u.Ended, &behind)
		u.Begins, u.Behind = fromMicro(begins), time.Duration(behind)*time.Microsecond
		return u, err
	}, series.Name)
}

// CountLive counts the sessions that have not ended.
func (p *Postgres) CountLive(ctx context.Context) (int64, error) {
	counts, err := listRows(ctx, p, countLivePostgres, func(row pgx.CollectableRow) (n int64, err error) {
		return n, row.Scan(&n)
	}, micro(p.Now()))
	if err != nil {
		return 0, err
	}
	return counts[0], nil
}
