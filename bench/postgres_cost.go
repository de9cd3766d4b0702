package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// measureCost measures what a refresh costs the database: commits, log, space
// and round trips. These depend on no clock, so one round is enough.
func (b *bench) measureCost(ctx context.Context) error {
	return errors.Join(b.measureCommits(ctx), b.measureGrowth(ctx), b.measureTrips(ctx))
}

// usage is what a database has done so far.
type usage struct {
	lsn               string
	commits           int64
	updates, hot      int64
	table, indexes    int64
	records, fullPage int64 // bytes of log between two of them
	// busy and kernel are the processor time of all its processes that ended.
	busy, kernel time.Duration
}

// readUsage waits until everybody else has left the database, because sessions
// report what they did when they end.
func (b *bench) readUsage(ctx context.Context, h home) (u usage, err error) {
	conn, err := pgx.Connect(ctx, h.store)
	if err != nil {
		return u, err
	}
	defer conn.Close(ctx)
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var others int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`).Scan(&others)
		if err != nil || others == 0 {
			break
		}
		if time.Now().After(until) {
			return u, fmt.Errorf("%d connections are still there", others)
		}
	}
	if u.busy, u.kernel, err = processor(b.postgres.PID()); err != nil {
		return u, err
	}
	err = conn.QueryRow(ctx, `SELECT pg_current_wal_lsn()::text, xact_commit, n_tup_upd, n_tup_hot_upd,
		pg_relation_size('sessions'), pg_indexes_size('sessions')
		FROM pg_stat_database, pg_stat_user_tables WHERE datname = current_database() AND relname = 'sessions'`).
		Scan(&u.lsn, &u.commits, &u.updates, &u.hot, &u.table, &u.indexes)
	return u, err
}

// since is what was used between two readings. The log counts whole, with its
// page headers, for all that the server did.
func (u usage) since(ctx context.Context, b *bench, before usage) (usage, error) {
	d := usage{
		commits: u.commits - before.commits, updates: u.updates - before.updates, hot: u.hot - before.hot,
		table: u.table - before.table, indexes: u.indexes - before.indexes,
		busy: u.busy - before.busy, kernel: u.kernel - before.kernel,
	}
	conn, err := pgx.Connect(ctx, b.postgres.URL("postgres"))
	if err != nil {
		return d, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS pg_walinspect`); err != nil {
		return d, fmt.Errorf("bytes of the log are counted by pg_walinspect, of PostgreSQL 15: %w", err)
	}
	var whole int64
	err = conn.QueryRow(ctx, `SELECT pg_wal_lsn_diff($2::text::pg_lsn, $1::text::pg_lsn)::bigint, coalesce(sum(fpi_size), 0)::bigint
		FROM pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn)`, before.lsn, u.lsn).Scan(&whole, &d.fullPage)
	d.records = whole - d.fullPage
	return d, err
}

// usageOf is what the database used for something, and how things stand after it.
func (b *bench) usageOf(ctx context.Context, h home, do func() error) (used, after usage, err error) {
	before, err := b.readUsage(ctx, h)
	if err != nil {
		return used, after, err
	}
	if err := do(); err != nil {
		return used, after, err
	}
	if after, err = b.readUsage(ctx, h); err != nil {
		return used, after, err
	}
	used, err = after.since(ctx, b, before)
	return used, after, err
}

// measureCommits counts commits and log under load.
func (b *bench) measureCommits(ctx context.Context) error {
	h, err := b.newHome(ctx, "cost")
	if err != nil {
		return err
	}
	defer h.remove()
	const sessions = 32
	tokens, err := fresh(ctx, h, sessions)
	if err != nil {
		return err
	}
	if err := b.operator(ctx, `CHECKPOINT`); err != nil {
		return err
	}
	var got figures
	var busy, kernel, ownBusy, ownKernel time.Duration
	used, _, err := b.usageOf(ctx, h, func() error {
		p, err := startCounterfoil(ctx, b.binary, h, folioExact)
		if err != nil {
			return err
		}
		busyBefore, kernelBefore, err1 := processor(os.Getpid())
		var err2, err3, err4 error
		got, err2 = run(p.address, roundRobin(p.address, tokens, sessions), b.warmUp, b.measure)
		ownBusy, ownKernel, err3 = processor(os.Getpid())
		ownBusy, ownKernel = ownBusy-busyBefore, ownKernel-kernelBefore
		busy, kernel, err4 = processor(p.command.Process.Pid)
		return errors.Join(err1, err2, err3, err4, p.stop())
	})
	if err != nil {
		return err
	}
	n := float64(got.answered)
	b.table.note("refreshes counted below, 32 sessions, start and stop included", fmt.Sprint(got.answered))
	b.table.bound("  commits of the database per refresh", "%.3f", float64(used.commits)/n, atMost, 0.2)
	b.table.bound("  bytes of log per refresh, without images of pages", "%.0f", float64(used.records)/n, atMost, 400)
	b.table.note("  bytes of images of pages per refresh", fmt.Sprintf("%.0f", float64(used.fullPage)/n))
	each := func(whole, kernel time.Duration) string {
		return fmt.Sprintf("%.0f µs, %.0f of it in the kernel", float64(whole.Microseconds())/n, float64(kernel.Microseconds())/n)
	}
	b.table.note("  processor time per refresh: program", each(busy, kernel))
	b.table.note("  processor time per refresh: database", each(used.busy, used.kernel))
	b.table.note("  processor time per refresh: load generator", each(ownBusy, ownKernel))
	return nil
}

// measureGrowth rotates 10,000 sessions many times and looks at the files.
func (b *bench) measureGrowth(ctx context.Context) error {
	h, err := b.newHome(ctx, "growth")
	if err != nil {
		return err
	}
	defer h.remove()
	sh, err := openShelf(ctx, h, 100)
	if err != nil {
		return err
	}
	rows, err := sh.sessions(ctx, 10_000)
	if err := errors.Join(err, sh.close(ctx), rotateTimes(ctx, h, rows, 3)); err != nil {
		return err
	}
	before, err := b.readUsage(ctx, h)
	if err != nil {
		return err
	}
	if err := rotateTimes(ctx, h, rows, max(1, b.rotations/50)); err != nil {
		return err
	}
	after, err := b.readUsage(ctx, h)
	if err != nil {
		return err
	}
	n := float64(after.updates - before.updates)
	b.table.note("rotations counted below, 10,000 sessions", fmt.Sprintf("%.0f, table %s, indexes %s", n, mebibytes(after.table), mebibytes(after.indexes)))
	b.table.bound("  growth of the table per refresh, bytes", "%.3f", float64(after.table-before.table)/n, atMost, 0)
	b.table.bound("  growth of its indexes per refresh, bytes", "%.3f", float64(after.indexes-before.indexes)/n, atMost, 0)
	b.table.note("  share of updates that stayed in their page (HOT)", fmt.Sprintf("%.2f %%", 100*float64(after.hot-before.hot)/n))
	return b.measureMerge(ctx, h, rows)
}

// rotateTimes rotates sessions in the store, without a server in front of it.
func rotateTimes(ctx context.Context, h home, rows []session.Session, times int) error {
	sh, err := openShelf(ctx, h, 0)
	if err != nil {
		return err
	}
	for range times {
		err = errors.Join(err, rotateAll(ctx, sh, rows))
	}
	return errors.Join(err, sh.close(ctx))
}

// measureMerge stores that each session was seen once, as nodes do at most once a
// minute for each session that is in use.
func (b *bench) measureMerge(ctx context.Context, h home, rows []session.Session) error {
	seen := make([]session.Seen, len(rows))
	for i := range rows {
		seen[i] = session.Seen{Session: rows[i].ID, Gen: 1, At: time.Now()}
	}
	var took time.Duration
	used, _, err := b.usageOf(ctx, h, func() error {
		sh, err := openShelf(ctx, h, 0)
		if err != nil {
			return err
		}
		begin := time.Now()
		err = sh.server.Store().MergeSeen(ctx, seen)
		took = time.Since(begin)
		return errors.Join(err, sh.close(ctx))
	})
	if err != nil {
		return err
	}
	n := float64(len(rows))
	b.table.note("storing that a session was in use", fmt.Sprintf("%.0f/s, %.0f bytes of log without images", n/took.Seconds(), float64(used.records)/n))
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// measureTrips counts how often a lone refresh waits for the network.
func (b *bench) measureTrips(ctx context.Context) error {
	h, err := b.newHome(ctx, "trips")
	if err != nil {
		return err
	}
	defer h.remove()
	tokens, err := fresh(ctx, h, 1)
	if err != nil {
		return err
	}
	way, err := pgtest.CountTrips(h.store)
	if err != nil {
		return err
	}
	defer way.Close()
	h.store = way.URL
	p, err := startCounterfoil(ctx, b.binary, h, folioExact)
	if err != nil {
		return err
	}
	clients := roundRobin(p.address, tokens, 1)
	_, err = run(p.address, clients, 0, b.warmUp)
	before := way.Count()
	got, err2 := run(p.address, clients, 0, b.measure)
	trips := way.Count() - before
	if err := errors.Join(err, err2, p.stop()); err != nil {
		return err
	}
	b.table.bound("round trips of a lone refresh, the node's own talk included", "%.2f", float64(trips)/float64(got.answered), atMost, 3)
	return nil
}
