package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

// measurePages shows that rotating does not grow the store: the pages of
// 10,000 sessions after one rotation each, and after many.
func (b *bench) measurePages(ctx context.Context) error {
	rotations := b.rotations
	h, err := b.newHome(ctx, "pages")
	if err != nil {
		return err
	}
	defer h.remove()
	sh, err := openShelf(ctx, h, 100)
	if err != nil {
		return err
	}
	defer sh.close(ctx)
	rows, err := sh.sessions(ctx, 10_000)
	if err != nil {
		return err
	}
	pages := func() (int64, error) {
		if err := sh.server.Store().(*store.SQLite).Checkpoint(ctx); err != nil {
			return 0, err
		}
		info, err := os.Stat(filepath.Join(h.data, "counterfoil.db"))
		if err != nil {
			return 0, err
		}
		return info.Size() / 4096, nil
	}
	if err := rotateAll(ctx, sh, rows); err != nil {
		return err
	}
	first, err := pages()
	if err != nil {
		return err
	}
	begin := time.Now()
	for range rotations - 1 {
		if err := rotateAll(ctx, sh, rows); err != nil {
			return err
		}
	}
	each := time.Since(begin) / time.Duration(max(1, (rotations-1)*len(rows)))
	last, err := pages()
	if err != nil {
		return err
	}
	b.table.note("pages of 4 KiB in the store, 10,000 sessions", fmt.Sprintf("%d after 1 rotation each, %d after %d (%s a rotation in the store)", first, last, rotations, each))
	if first != last {
		return fmt.Errorf("the store grew from %d to %d pages", first, last)
	}
	return nil
}

func rotateAll(ctx context.Context, sh *shelf, rows []session.Session) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(256)
	for i := range rows {
		group.Go(func() error { return rotateOne(ctx, sh, rows[i].ID) })
	}
	return group.Wait()
}

// exact is the rule by which every presentation of the newest token rotates.
var exact = session.DefaultPolicy().FOLIOExact().Rule()

// rotateOne is what a refresh does in the store.
func rotateOne(ctx context.Context, sh *shelf, id token.SessionID) error {
	return sh.server.Store().UpdateSession(ctx, id, func(now time.Time, row *session.Session) session.Effects {
		next, verdict := row.Present(session.Presented{Gen: row.Gen, Genuine: true, Allowed: true, Expiry: row.AbsoluteExpiry}, exact, now)
		row.Family = next
		return session.Effects{Save: verdict.Changed}
	})
}

// measureScale compares a store of 1,000 sessions with a large one, and says
// what the large one costs in memory and at start.
func (b *bench) measureScale(ctx context.Context) error {
	small, large := make([]figures, 0, b.rounds), make([]figures, 0, b.rounds)
	sizes := []struct {
		into           *[]figures
		active, stored int
		home           home
	}{{into: &small, active: 1000, stored: 1000}, {into: &large, active: 10_000, stored: b.stored}}
	for i := range sizes {
		h, err := b.fill(ctx, sizes[i].stored)
		if err != nil {
			return err
		}
		defer h.remove()
		sizes[i].home = h
	}
	for range b.rounds {
		for _, size := range sizes {
			got, err := b.rotateIn(ctx, size.home, size.active)
			if err != nil {
				return err
			}
			*size.into = append(*size.into, got)
		}
	}
	b.table.baseline("refresh with 1,000 sessions in the store, 32 connections", small)
	b.table.against(fmt.Sprintf("refresh with %d sessions in the store, 10,000 active", b.stored), large, small)
	b.table.bound("p99 with many sessions ÷ with 1,000", "%.2f", ratio(large, small, p99), atMost, 1.5)
	b.table.note("memory with 10,000 active sessions", fmt.Sprintf("%d MiB resident", b.memory>>20))
	b.table.note("start until the first answer", b.startUp.Round(time.Millisecond).String())
	if b.postgres == nil {
		return nil
	}
	if err := b.measureImages(ctx, sizes[1].home); err != nil {
		return err
	}
	return b.measureSweep(ctx, sizes[1].home)
}

// fill makes a home with sessions.
func (b *bench) fill(ctx context.Context, sessions int) (home, error) {
	h, err := b.newHome(ctx, "scale")
	if err != nil {
		return home{}, err
	}
	sh, err := openShelf(ctx, h, 1000)
	if err != nil {
		return home{}, err
	}
	if b.postgres == nil {
		_, err = sh.sessions(ctx, sessions)
	} else {
		err = sh.multiply(ctx, h, sessions)
	}
	return h, errors.Join(err, sh.close(ctx))
}

// rotateIn rotates some of the sessions that are there.
func (b *bench) rotateIn(ctx context.Context, h home, active int) (figures, error) {
	sh, err := openShelf(ctx, h, 0)
	if err != nil {
		return figures{}, err
	}
	tokens, err := sh.inUse(ctx, h, active)
	if err := errors.Join(err, sh.close(ctx)); err != nil {
		return figures{}, err
	}
	p, err := startCounterfoil(ctx, b.binary, h, folioExact)
	if err != nil {
		return figures{}, err
	}
	got, err := run(p.address, roundRobin(p.address, tokens, 32), b.warmUp, b.measure)
	if err == nil {
		b.memory, err = p.memory()
		b.startUp = p.started
	}
	return got, errors.Join(err, p.stop())
}

// inUse returns the tokens of some live sessions that have been used today: the
// first refresh of a day moves an index, and is measured apart.
func (sh *shelf) inUse(ctx context.Context, h home, n int) ([]string, error) {
	rows, err := sh.pick(ctx, h, n)
	if err == nil {
		err = rotateAll(ctx, sh, rows)
	}
	tokens := make([]string, len(rows))
	for i := range rows {
		tokens[i] = sh.refreshToken(&rows[i], rows[i].Gen+1)
	}
	return tokens, err
}

// pick returns stored sessions.
func (sh *shelf) pick(ctx context.Context, h home, n int) ([]session.Session, error) {
	if h.store != "" {
		return sh.draw(ctx, h, n)
	}
	rows := make([]session.Session, 0, n)
	filter := session.Filter{Tenant: tenant, Live: true, Limit: 1000}
	for len(rows) < n {
		page, err := sh.server.Sessions().List(ctx, filter)
		if err != nil {
			return nil, err
		}
		rows = append(rows, page.Sessions...)
		if page.Next == "" {
			break
		}
		filter.Cursor = page.Next
	}
	return rows[:min(n, len(rows))], nil
}
