package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"
)

// postgresCopy is one end of a copy: a connection in a transaction.
type postgresCopy struct{ conn *pgx.Conn }

// openPostgresSource begins to read a database as it is now. It writes nothing,
// not even a newer schema. Unless it is forced, it waits for those who are
// writing, and keeps everybody from writing until it is done: nodes that listed
// themselves as live are named, and one that was stopped and wakes, or that
// starts meanwhile, gets no lock.
func openPostgresSource(ctx context.Context, c *CopyConfig) (_ copySource, err error) {
	p, err := connectToCopy(ctx, c.From)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	applied, err := appliedMigrations(ctx, p.conn, postgresMigrations)
	if err != nil {
		return nil, publicPostgres(err)
	}
	if err := checkCurrent(applied, postgresMigrations); err != nil {
		return nil, err
	}
	if err := p.begin(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		return nil, err
	}
	if c.Force {
		return p, nil
	}
	if err := p.exec(ctx, `LOCK TABLE `+tableNames()+`, nodes IN SHARE MODE`); err != nil {
		return nil, err
	}
	return p, p.refuseLive(ctx, c.LiveFor.Microseconds())
}

// refuseLive fails with ErrLocked if nodes have heard within so many
// microseconds.
func (p *postgresCopy) refuseLive(ctx context.Context, within int64) error {
	const query = `SELECT name || ' (' || id || ')' FROM nodes
		WHERE heard_at >= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1::bigint ORDER BY name, id`
	rows, err := p.conn.Query(ctx, query, within)
	if err != nil {
		return publicPostgres(err)
	}
	live, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return publicPostgres(err)
	}
	if len(live) > 0 {
		return fmt.Errorf("%w by node %s", ErrLocked, strings.Join(live, ", "))
	}
	return nil
}

// openPostgresTarget brings the schema up to date and locks everything, the list
// of migrations too: a program that starts looks at that first, gets no lock,
// and does not start.
func openPostgresTarget(ctx context.Context, c *CopyConfig) (_ copyTarget, err error) {
	p, err := connectToCopy(ctx, c.To)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := bringUp(ctx, p.conn); err != nil {
		return nil, err
	}
	if err := p.begin(ctx, `BEGIN ISOLATION LEVEL READ COMMITTED`); err != nil {
		return nil, err
	}
	return p, p.exec(ctx, `LOCK TABLE migrations, nodes, changes, `+tableNames()+` IN ACCESS EXCLUSIVE MODE`)
}

func tableNames() string {
	var names []string
	for i := range copiedTables {
		names = append(names, copiedTables[i].name)
	}
	return strings.Join(names, ", ")
}

func connectToCopy(ctx context.Context, at Place) (*postgresCopy, error) {
	config, err := pgx.ParseConfig(at.URL)
	if err != nil {
		return nil, errors.New("the URL of the database cannot be read") // it may hold a password
	}
	prepare(config, at.Pooled)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, publicPostgres(err)
	}
	return &postgresCopy{conn}, nil
}

// begin opens the transaction without the bounds of one that a request waits
// for. None of its statements takes a snapshot: that is for the first after the
// locks.
func (p *postgresCopy) begin(ctx context.Context, begin string) error {
	for _, query := range []string{
		begin, `SET LOCAL statement_timeout = 0`, `SET LOCAL idle_in_transaction_session_timeout = 0`, `SET LOCAL lock_timeout = 5000`,
	} {
		if err := p.exec(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// close gives up what was not committed.
func (p *postgresCopy) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.conn.Close(ctx)
}

func (p *postgresCopy) exec(ctx context.Context, query string) error {
	_, err := p.conn.Exec(ctx, query, pgx.QueryExecModeSimpleProtocol)
	return publicPostgres(err)
}

func (p *postgresCopy) count(ctx context.Context, query string) (n int64, err error) {
	err = p.conn.QueryRow(ctx, query).Scan(&n)
	return n, publicPostgres(err)
}

func (p *postgresCopy) rows(ctx context.Context, t *table) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		found, err := p.conn.Query(ctx, t.selectAll())
		if err != nil {
			yield(nil, publicPostgres(err))
			return
		}
		defer found.Close()
		row, fields := make([]any, len(t.columns)), make([]any, len(t.columns))
		for i, c := range t.columns {
			fields[i] = c.kind.field()
		}
		for found.Next() {
			if err := found.Scan(fields...); err != nil {
				yield(nil, publicPostgres(err))
				return
			}
			for i, field := range fields {
				row[i] = value(field)
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := found.Err(); err != nil {
			yield(nil, publicPostgres(err))
		}
	}
}

// field is where a value of the kind is scanned to.
func (k columnKind) field() any {
	switch k {
	case number:
		return new(int64)
	case truth:
		return new(bool)
	case raw:
		return new([]byte)
	}
	return new(string)
}

// value is what a field holds.
func value(field any) any {
	switch field := field.(type) {
	case *int64:
		return *field
	case *bool:
		return *field
	case *[]byte:
		return *field
	case *string:
		return *field
	}
	return nil
}

func (p *postgresCopy) keeps(text string) string { return clean(text) }

func (p *postgresCopy) insert(ctx context.Context, t *table, next func() ([]any, error)) error {
	_, err := p.conn.CopyFrom(ctx, pgx.Identifier{t.name}, t.names(), pgx.CopyFromFunc(next))
	return publicPostgres(err)
}

// commit lets the numbers go on after the highest that was copied, and the
// planner know how large the tables have become.
func (p *postgresCopy) commit(ctx context.Context) error {
	for t, numbers := range map[string]string{
		"sessions": `sessions`, "events": `(SELECT seq FROM events UNION ALL SELECT seq FROM event_chain) AS all_events`,
	} {
		err := p.exec(ctx, `SELECT setval(pg_get_serial_sequence('`+t+`', 'seq'), max(seq)) FROM `+numbers+` HAVING max(seq) IS NOT NULL`)
		if err != nil {
			return err
		}
	}
	if err := p.exec(ctx, `ANALYZE `+tableNames()); err != nil {
		return err
	}
	// From here on it is too late to be interrupted.
	done, err := p.conn.Exec(context.WithoutCancel(ctx), `COMMIT`)
	switch {
	case err != nil && sqlState(err) == "":
		return errUncertain
	case err == nil && done.String() != "COMMIT":
		return errors.New("the transaction was rolled back")
	}
	return publicPostgres(err)
}
