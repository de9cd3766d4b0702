package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// listRows runs a query that reads all of something, and once more if its connection
// turns out to be dead.
func listRows[T any](ctx context.Context, p *Postgres, query string, scan func(pgx.CollectableRow) (T, error), args ...any) ([]T, error) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 1; ; n++ {
		var all []T
		err := p.read(within, query, args, func(row pgx.CollectableRow) error {
			one, err := scan(row)
			all = append(all, one)
			return err
		})
		switch {
		case err == nil:
			return all, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case n == attempts || p.stopping.Load() || !again(err, false) || !pause(within, n):
			return nil, publicPostgres(err)
		}
	}
}

// read has the query planned for what is asked. A plan that is to fit any tenant
// would sort those of a big one, or walk a table to find those of a small one.
func (p *Postgres) read(ctx context.Context, query string, args []any, each func(pgx.CollectableRow) error) error {
	args = cleanAll(args)
	if !p.config.Pooled {
		args = append([]any{pgx.QueryExecModeExec}, args...)
	}
	rows, err := p.pool.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, each)
}

// oneRow runs a query for a single row and fails with a notFound named what if
// there is none.
func oneRow[T any](ctx context.Context, p *Postgres, what notFound, query string, scan func(pgx.CollectableRow) (T, error), args ...any) (T, error) {
	all, err := listRows(ctx, p, query, scan, args...)
	if err == nil && len(all) == 0 {
		err = what
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}
