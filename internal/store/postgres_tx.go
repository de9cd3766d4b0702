package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// pgTx is one transaction, READ COMMITTED. It is opened in one round trip, with
// locks taken and read what must be read first, and closed in another, with all
// that was gathered to be written and the COMMIT.
//
// All transactions lock in one order, so that none waits for another in a
// circle: the user (lockUser), then sessions by id, then whatever else, and the
// feed as the very last.
type pgTx struct {
	p    *Postgres
	ctx  context.Context
	conn *pgx.Conn

	// now is the database's clock, read after the locks of the opening were had.
	now time.Time
	// at is now, but never behind what was dated before.
	at time.Time
	// urgent is whether others wait for this transaction, and it must not wait
	// long for a row.
	urgent bool
	// committing is whether the COMMIT is on its way.
	committing bool

	// What to write with the COMMIT.
	last    []statement
	dirty   []*pgRow
	events  []eventRow
	changes []session.Change
}

// statement is one to be sent with others in one round trip.
type statement struct {
	sql  string
	args []any
	// each is called for each row of the answer, if it is set, and reset before
	// every attempt.
	each  func(pgx.CollectableRow) error
	reset func()
}

func (s statement) queue(b *pgx.Batch) {
	if s.reset != nil {
		s.reset()
	}
	q := b.Queue(s.sql, cleanAll(s.args)...)
	if s.each == nil {
		return
	}
	q.Query(func(rows pgx.Rows) error { return eachRow(rows, s.each) })
}

// eachRow reads an answer. What cannot be read is told apart from an answer
// that did not come.
func eachRow(rows pgx.Rows, each func(pgx.CollectableRow) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
	}
	return rows.Err()
}

// attempts is how often a transaction is tried that lost a race or its
// connection, and tryAgain how long it waits before, at least, the first time.
const (
	attempts = 4
	tryAgain = 10 * time.Millisecond
)

// do runs apply in a transaction, with the opening before it, and returns when
// it is committed and all listeners have run. If ctx ends before the COMMIT is
// sent, nothing happened. apply may run several times, and must not remember.
//
// If the COMMIT was sent and its answer never came, nobody knows, and the caller
// gets ErrUnavailable. Doing it again is harmless: the rule takes a refresh that
// was committed for one whose answer was lost and gives the same successor; a
// session that is created again under its id is the same one; what has ended
// stays ended, and an epoch may move twice. Where the second attempt finds its
// own work and says "exists already" (users, tenants, instances) or "not as you
// think" (a credential), that is the truth, and nothing was done twice.
func (p *Postgres) do(ctx context.Context, apply func(*pgTx) error, opening ...statement) error {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	t, err := p.tried(ctx, within, p.pool, apply, opening, again)
	if err == nil && len(t.changes) > 0 {
		p.feed.own(context.WithoutCancel(ctx), t.changes)
	}
	return err
}

// tried tries until it is committed, or there is no sense in trying again.
func (p *Postgres) tried(ctx, within context.Context, pool *pgxpool.Pool, apply func(*pgTx) error, opening []statement,
	again func(err error, committing bool) bool,
) (*pgTx, error) {
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t := &pgTx{p: p, ctx: within, urgent: pool == p.urgent}
		err := t.run(ctx, pool, apply, opening)
		if err == nil {
			p.health.report(nil)
			p.swapper.wrote(t.dirty)
			return t, nil
		}
		if gone := ctx.Err(); gone != nil && !t.committing {
			return nil, gone
		}
		if n == attempts || p.stopping.Load() || !again(err, t.committing) || !pause(within, n) {
			err = publicPostgres(err)
			p.health.report(err)
			return nil, err
		}
	}
}

// pause waits before the next attempt, and tells whether there is time for one.
func pause(ctx context.Context, n int) bool {
	wait := time.NewTimer(time.Duration(n)*tryAgain + rand.N(time.Duration(n)*tryAgain))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run runs one attempt.
func (t *pgTx) run(ctx context.Context, pool *pgxpool.Pool, apply func(*pgTx) error, opening []statement) error {
	conn, err := acquire(ctx, t.ctx, pool)
	if err != nil {
		return err
	}
	// One that is still in a transaction, because apply panicked or the time
	// was over, is thrown away with it.
	defer conn.Release()
	t.conn = conn.Conn()
	err = t.begin(opening)
	if err == nil {
		err = apply(t)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = t.commit()
	}
	if err != nil && t.conn.PgConn().TxStatus() != 'I' && !t.conn.IsClosed() {
		_, _ = t.conn.Exec(t.ctx, `ROLLBACK`) // what cannot be rolled back is thrown away
	}
	return err
}

// acquire waits for a connection until the caller leaves or the time is over.
func acquire(ctx, within context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	both, cancel := context.WithCancelCause(within)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	return pool.Acquire(both)
}

const selectClock = `SELECT clock_timestamp()`

// begin opens the transaction. The clock is a statement of its own, after the
// locks: in the list of the SELECT that takes them it would be read before.
func (t *pgTx) begin(opening []statement) error {
	b := &pgx.Batch{}
	lockWait := lockTimeout
	if t.urgent {
		lockWait = urgentLockTimeout
	}
	t.p.queueBegin(b, lockWait)
	for _, s := range opening {
		s.queue(b)
	}
	var clock time.Time
	b.Queue(selectClock).QueryRow(func(row pgx.Row) error { return row.Scan(&clock) })
	if err := t.send(b); err != nil {
		return err
	}
	t.read(clock)
	return nil
}

// read takes a reading of the database's clock.
func (t *pgTx) read(clock time.Time) {
	t.now = t.p.clock.turned(clock)
	t.at = t.p.dated(t.now)
}

// dated is a time, but never behind what was dated before.
func (p *Postgres) dated(now time.Time) time.Time {
	at := micro(now)
	for {
		latest := p.latest.Load()
		if latest >= at {
			return fromMicro(latest)
		}
		if p.latest.CompareAndSwap(latest, at) {
			return now
		}
	}
}

func (p *Postgres) queueBegin(b *pgx.Batch, lockWait string) {
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	if p.config.Pooled {
		b.Queue(`SET LOCAL statement_timeout = ` + statementTimeout)
		b.Queue(`SET LOCAL lock_timeout = ` + lockWait)
		b.Queue(`SET LOCAL idle_in_transaction_session_timeout = ` + idleTimeout)
	}
}

func (t *pgTx) send(b *pgx.Batch) error { return t.conn.SendBatch(t.ctx, b).Close() }

// commit writes what was gathered and commits, in one round trip.
func (t *pgTx) commit() error {
	b := &pgx.Batch{}
	for _, s := range t.last {
		s.queue(b)
	}
	queueSessions(b, t.dirty)
	queueEvents(b, t.events)
	var newest int64
	queueChanges(b, t.changes, &newest)
	queueCommit(b)
	t.committing = true
	if err := t.send(b); err != nil {
		return err
	}
	for i := range t.changes {
		t.changes[i].Seq = uint64(newest) - uint64(len(t.changes)-1-i)
	}
	return nil
}

func queueCommit(b *pgx.Batch) {
	b.Queue(`COMMIT`).Exec(func(done pgconn.CommandTag) error {
		if done.String() != "COMMIT" {
			return errors.New("the transaction was rolled back")
		}
		return nil
	})
}

// query runs a statement now and calls each for each row.
func (t *pgTx) query(each func(pgx.CollectableRow) error, sql string, args ...any) error {
	rows, err := t.conn.Query(t.ctx, sql, cleanAll(args)...)
	if err != nil {
		return err
	}
	return eachRow(rows, each)
}

// exec runs a statement now and returns how many rows it changed.
func (t *pgTx) exec(sql string, args ...any) (int, error) {
	done, err := t.conn.Exec(t.ctx, sql, cleanAll(args)...)
	return int(done.RowsAffected()), err
}

// must is exec for a statement that has to change a row; what names the row
// that is missing if it does not.
func (t *pgTx) must(what notFound, sql string, args ...any) error {
	n, err := t.exec(sql, args...)
	if err == nil && n == 0 {
		err = what
	}
	return err
}

// later sends a statement along with the COMMIT.
func (t *pgTx) later(sql string, args ...any) {
	t.last = append(t.last, statement{sql: sql, args: args})
}

func (t *pgTx) changed(c session.Change) {
	c.At = t.at
	t.changes = append(t.changes, c)
}

// append writes events with the rest of the transaction.
func (t *pgTx) append(ctx context.Context, events ...audit.Event) error {
	for _, e := range events {
		fillActor(ctx, &e)
		if err := t.event(&e); err != nil {
			return err
		}
	}
	return nil
}

// clean is a text as the database takes it: UTF-8 without the character 0. What
// strangers send may be neither, and must not keep a fact from being told.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// cleanAll makes arguments ones that the database takes. It has no null where
// this program has an empty value.
func cleanAll(args []any) []any {
	for i, arg := range args {
		switch value := arg.(type) {
		case string:
			args[i] = clean(value)
		case []byte:
			if value == nil {
				args[i] = []byte{}
			}
		}
	}
	return args
}

func cleanTexts(texts []string) []string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = clean(text)
	}
	return all
}
