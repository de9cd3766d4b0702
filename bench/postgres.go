package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// measurePostgres compares rotations on PostgreSQL with a bare server, and with
// the commits that the same database does for whoever updates one row at a time.
func (b *bench) measurePostgres(ctx context.Context) error {
	bare, err := startRole(ctx, "bare", "")
	if err != nil {
		return err
	}
	defer bare.stop()
	for _, sessions := range []int{32, 128, 1} {
		var base, ours, single, grouped []figures
		for range b.rounds {
			one, err := run(bare.address, bareClients(bare.address, sessions), b.warmUp, b.measure)
			if err != nil {
				return err
			}
			two, err := b.rotate(ctx, sessions)
			if err != nil {
				return err
			}
			base, ours = append(base, one), append(ours, two)
			if sessions == 128 {
				continue
			}
			three, err := b.updateRows(ctx, sessions)
			if err != nil {
				return err
			}
			single = append(single, three)
			if sessions == 1 {
				continue
			}
			four, err := b.updateStore(ctx, sessions)
			if err != nil {
				return err
			}
			grouped = append(grouped, four)
		}
		b.table.baseline(fmt.Sprintf("bare net/http POST, %d connections", sessions), base)
		b.table.against(fmt.Sprintf("refresh on PostgreSQL, %d sessions, each a rotation", sessions), ours, base)
		switch sessions {
		case 32:
			b.table.bound("  ÷ bare", "%.3f", ratio(ours, base, rate), atLeast, 0.30)
			b.table.baseline("one row per commit with pgx, 32 connections", single)
			b.table.note("  refresh, 32 sessions ÷ one row per commit", fmt.Sprintf("%.2f", ratio(ours, single, rate)))
			b.table.baseline("rotations in the store alone, grouped, 32 callers", grouped)
			b.table.bound("  ÷ one row per commit", "%.2f", ratio(grouped, single, rate), atLeast, 2.5)
		case 128:
			b.table.bound("  ÷ bare", "%.3f", ratio(ours, base, rate), atLeast, 0.35)
		case 1:
			b.table.baseline("UPDATE … RETURNING with pgx, 1 connection", single)
			b.table.bound("  p50 of a lone refresh ÷ p50 of that", "%.2f", ratio(ours, single, p50), atMost, 1.5)
		}
	}
	return nil
}

const (
	createRows = `CREATE TABLE rows (id bytea NOT NULL PRIMARY KEY, state bytea NOT NULL) WITH (fillfactor = 50)`
	updateRow  = `UPDATE rows SET state = $2 WHERE id = $1 RETURNING state`
)

// updateRows measures the least that a program without grouping can do: each
// worker updates a row of its own, as large as what a refresh changes, in a
// commit of its own.
func (b *bench) updateRows(ctx context.Context, workers int) (figures, error) {
	h, err := b.newHome(ctx, "rows")
	if err != nil {
		return figures{}, err
	}
	defer h.remove()
	if err := execute(ctx, h.store, createRows,
		`INSERT INTO rows SELECT int4send(n), repeat('x', 143)::bytea FROM generate_series(0, 1023) n`); err != nil {
		return figures{}, err
	}
	return drive(workers, closedLoop(b.warmUp, b.measure), func(i int) (task, error) {
		conn, err := pgx.Connect(ctx, h.store)
		if err != nil {
			return task{}, err
		}
		id, state := []byte{0, 0, 0, byte(i)}, make([]byte, 143)
		return task{
			prepare: func() error { state[0]++; return nil },
			act: func() error {
				var answer []byte
				return conn.QueryRow(ctx, updateRow, id, state).Scan(&answer)
			},
			done: func() { _ = conn.Close(ctx) },
		}, nil
	})
}

// updateStore measures what the store does of a refresh: the row is locked or
// guessed, moved on by whoever calls, and committed in groups.
func (b *bench) updateStore(ctx context.Context, callers int) (figures, error) {
	h, err := b.newHome(ctx, "grouped")
	if err != nil {
		return figures{}, err
	}
	defer h.remove()
	sh, err := openShelf(ctx, h, 32)
	if err != nil {
		return figures{}, err
	}
	rows, err := sh.sessions(ctx, callers)
	if err != nil {
		return figures{}, errors.Join(err, sh.close(ctx))
	}
	got, err := drive(callers, closedLoop(b.warmUp, b.measure), func(i int) (task, error) {
		return task{
			prepare: func() error { return nil },
			act:     func() error { return rotateOne(ctx, sh, rows[i].ID) },
			done:    func() {},
		}, nil
	})
	return got, errors.Join(err, sh.close(ctx))
}

// measureSteady measures how long a refresh takes when the machine is half
// busy, with requests that arrive at a constant rate.
func (b *bench) measureSteady(ctx context.Context) error {
	const sessions = 128
	var fastest, half []figures
	for range b.rounds {
		most, steady, err := b.halfRate(ctx, sessions)
		if err != nil {
			return err
		}
		fastest, half = append(fastest, most), append(half, steady)
	}
	b.table.baseline(fmt.Sprintf("the highest rate, %d sessions", sessions), fastest)
	b.table.baseline("half of it, arriving evenly", half)
	b.table.bound("  p99 in ms", "%.2f", median(half, p99)/1e6, atMost, 15)
	return nil
}

func (b *bench) halfRate(ctx context.Context, sessions int) (most, steady figures, err error) {
	h, err := b.newHome(ctx, "steady")
	if err != nil {
		return most, steady, err
	}
	defer h.remove()
	tokens, err := fresh(ctx, h, sessions)
	if err != nil {
		return most, steady, err
	}
	p, err := startCounterfoil(ctx, b.binary, h, folioExact)
	if err != nil {
		return most, steady, err
	}
	clients := roundRobin(p.address, tokens, sessions)
	if most, err = run(p.address, clients, b.warmUp, b.measure); err == nil {
		steady, err = runOn(p.address, clients, openLoop(most.perSecond/2, b.warmUp, b.measure))
	}
	return most, steady, errors.Join(err, p.stop())
}

// fresh makes sessions in an empty home and returns their tokens.
func fresh(ctx context.Context, h home, sessions int) ([]string, error) {
	sh, err := openShelf(ctx, h, 32)
	if err != nil {
		return nil, err
	}
	rows, err := sh.sessions(ctx, sessions)
	tokens := make([]string, len(rows))
	for i := range rows {
		tokens[i] = sh.refreshToken(&rows[i], 1)
	}
	return tokens, errors.Join(err, sh.close(ctx))
}

func p50(f figures) float64 { return float64(f.p50) }
func p99(f figures) float64 { return float64(f.p99) }

// patience is how long a number that the database reports late may take.
const patience = 5 * time.Second
