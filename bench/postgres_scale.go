package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// multiplySessions makes copies of one session, each with an id and a secret of
// its own and one of a thousand users. Logging in a million times would take a
// while.
const multiplySessions = `INSERT INTO sessions (id, created_at, absolute_expiry, tenant_epoch, user_epoch, struck_at, ended_at,
		tenant, user_id, username, client, secret, device, login_address, user_agent, ended_why, ended_by, state, active_day)
	SELECT substr(sha256(id || int8send(n)), 1, 16), created_at, absolute_expiry, tenant_epoch, user_epoch, 0, 0,
		tenant, '00000000-0000-4000-8000-' || lpad((n % 1000)::text, 12, '0'), username, client, sha256(secret || int8send(n)), device,
		login_address, user_agent, '', '', state, active_day - n % 30
	FROM sessions, generate_series(1, $1::bigint) n`

// multiply fills a database up to n sessions, and leaves it as a server is that
// had time to tidy up.
func (sh *shelf) multiply(ctx context.Context, h home, n int) error {
	if _, err := sh.sessions(ctx, 1); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, h.store)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, multiplySessions, n-1); err != nil {
		return err
	}
	return execute(ctx, h.store, `VACUUM ANALYZE sessions`, `CHECKPOINT`)
}

// draw returns some live sessions at random.
func (sh *shelf) draw(ctx context.Context, h home, n int) ([]session.Session, error) {
	conn, err := pgx.Connect(ctx, h.store)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT id FROM sessions WHERE ended_at = 0 ORDER BY random() LIMIT $1`, n)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, err
	}
	all := make([]session.Session, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, id := range ids {
		group.Go(func() error {
			one, err := sh.server.Store().Session(ctx, token.SessionID(id))
			if err == nil {
				all[i] = *one
			}
			return err
		})
	}
	return all, group.Wait()
}

// measureImages measures what goes to the log with images of pages as they are, and
// with compressed ones.
func (b *bench) measureImages(ctx context.Context, h home) error {
	for _, compression := range []string{"off", "lz4"} {
		if err := b.operator(ctx, `ALTER SYSTEM SET wal_compression = `+compression, `SELECT pg_reload_conf()`); err != nil {
			return err
		}
		if err := b.measureImagesOf(ctx, h, compression); err != nil {
			return err
		}
	}
	return b.operator(ctx, `ALTER SYSTEM RESET wal_compression`, `SELECT pg_reload_conf()`)
}

// measureImagesOf rotates sessions of a large store once each after a checkpoint,
// the dearest case for the log: nearly each is the first on its page. On the first
// refresh of a day the session moves in the indexes, too.
func (b *bench) measureImagesOf(ctx context.Context, h home, compression string) error {
	sh, err := openShelf(ctx, h, 0)
	if err != nil {
		return err
	}
	rows, err := sh.draw(ctx, h, 10_000)
	if err := errors.Join(err, sh.close(ctx)); err != nil {
		return err
	}
	for _, name := range []string{"each session once after a checkpoint, first of a day: log", "the same later that day"} {
		if err := b.operator(ctx, `CHECKPOINT`); err != nil {
			return err
		}
		used, after, err := b.usageOf(ctx, h, func() error { return rotateTimes(ctx, h, rows, 1) })
		if err != nil {
			return err
		}
		n := float64(len(rows))
		if compression != "off" {
			name += ", wal_compression = " + compression
		}
		b.table.note(name, fmt.Sprintf("%.0f bytes and %.0f bytes of images of pages", float64(used.records)/n, float64(used.fullPage)/n))
		b.table.note("  the store then", fmt.Sprintf("table %s, indexes %s", mebibytes(after.table), mebibytes(after.indexes)))
	}
	return nil
}

// endSome has the oldest sessions end two hours ago: the node that answers would
// sweep those that ended a month ago by itself, before it is asked to.
const endSome = `UPDATE sessions SET ended_at = (extract(epoch FROM now() - interval '2 hours') * 1000000)::bigint WHERE id IN (SELECT id FROM sessions WHERE ended_at = 0 ORDER BY seq LIMIT %d)`

// measureSweep measures refreshes at half of the highest rate while nothing else
// happens, and while another node deletes ended sessions as fast as it can.
func (b *bench) measureSweep(ctx context.Context, h home) error {
	const ended = 100_000
	var calm, swept []figures
	var took []time.Duration
	for range b.rounds {
		if err := execute(ctx, h.store, fmt.Sprintf(endSome, ended), `VACUUM ANALYZE sessions`, `CHECKPOINT`); err != nil {
			return err
		}
		one, two, duration, err := b.sweepOnce(ctx, h, ended)
		if err != nil {
			return err
		}
		calm, swept, took = append(calm, one), append(swept, two), append(took, duration)
	}
	b.table.baseline("refresh at half of the highest rate, evenly", calm)
	b.table.baseline(fmt.Sprintf("the same while %d ended sessions are swept", ended), swept)
	b.table.note("  the sweep took", took[len(took)/2].Round(10*time.Millisecond).String())
	b.table.bound("  p99 during the sweep ÷ p99 before", "%.2f", ratio(swept, calm, p99), atMost, 2)
	return nil
}

func (b *bench) sweepOnce(ctx context.Context, h home, ended int) (calm, swept figures, took time.Duration, err error) {
	sh, err := openShelf(ctx, h, 0)
	if err != nil {
		return calm, swept, 0, err
	}
	defer func() { err = errors.Join(err, sh.close(ctx)) }()
	tokens, err := sh.inUse(ctx, h, 10_000)
	if err != nil {
		return calm, swept, 0, err
	}
	p, err := startCounterfoil(ctx, b.binary, h, folioExact)
	if err != nil {
		return calm, swept, 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	clients := roundRobin(p.address, tokens, 128)
	most, err := run(p.address, clients, b.warmUp, b.measure)
	if err != nil {
		return calm, swept, 0, err
	}
	if calm, err = runOn(p.address, clients, openLoop(most.perSecond/2, b.warmUp, b.measure)); err != nil {
		return calm, swept, 0, err
	}
	during := openLoop(most.perSecond/2, b.warmUp, 10*time.Minute)
	var group errgroup.Group
	group.Go(func() error {
		defer during.stop()
		time.Sleep(time.Until(during.from))
		n, err := sh.server.Store().SweepSessions(ctx, time.Now().Add(-time.Hour), ended)
		took = time.Since(during.from)
		if err == nil && n != ended {
			err = fmt.Errorf("%d were swept", n)
		}
		return err
	})
	swept, err = runOn(p.address, clients, during)
	return calm, swept, took, errors.Join(err, group.Wait())
}
