package store

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/session"
)

// AddUsage adds what a node counted.
func (s *SQLite) AddUsage(ctx context.Context, at time.Time, u session.Usage) error {
	return s.writer.do(ctx, func(t *tx) error {
		for _, series := range usageSeries {
			slot, begins := series.Slot(at)
			if err := t.exec(addUsage, usageArgs(series, slot, micro(begins), &u)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Usage reads a series.
func (s *SQLite) Usage(ctx context.Context, series session.UsageSeries) ([]session.Usage, error) {
	return list(ctx, s, listUsage, func(stmt *sqlite.Stmt) (session.Usage, error) {
		return session.Usage{
			Begins: fromMicro(stmt.ColumnInt64(0)), Live: stmt.ColumnInt64(1), Refreshes: stmt.ColumnInt64(2), Retries: stmt.ColumnInt64(3),
			LateRecoveries: stmt.ColumnInt64(4), Superseded: stmt.ColumnInt64(5), Reuse: stmt.ColumnInt64(6), Logins: stmt.ColumnInt64(7),
			LoginsFailed: stmt.ColumnInt64(8), Ended: stmt.ColumnInt64(9), Behind: time.Duration(stmt.ColumnInt64(10)) * time.Microsecond,
		}, nil
	}, series.Name)
}

// CountLive counts the sessions that have not ended.
func (s *SQLite) CountLive(ctx context.Context) (int64, error) {
	counts, err := list(ctx, s, countAllLive, func(stmt *sqlite.Stmt) (int64, error) { return stmt.ColumnInt64(0), nil }, micro(s.now()))
	if err != nil {
		return 0, err
	}
	return counts[0], nil
}
