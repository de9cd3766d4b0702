package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// The bounds of what operators ask of a large store.
const (
	listBound     = 100.0 // ms: any page of sessions
	overviewBound = 1.0   // % of a core: the overview every 5 s, and counting once a minute
	listTimes     = 50
)

// measureLists times pages of sessions in a large store, and what the overview
// of the console costs.
func (b *bench) measureLists(ctx context.Context) error {
	h, err := b.fill(ctx, b.stored)
	if err != nil {
		return err
	}
	defer h.remove()
	sh, err := openShelf(ctx, h, 0)
	if err != nil {
		return err
	}
	err = b.listAll(ctx, sh)
	return errors.Join(err, sh.close(ctx))
}

func (b *bench) listAll(ctx context.Context, sh *shelf) error {
	service := sh.server.Sessions()
	page := func(f session.Filter) (session.Page, error) { f.Limit = 50; return service.List(ctx, f) }
	first, err := page(session.Filter{Live: true})
	if err != nil {
		return err
	}
	if len(first.Sessions) == 0 {
		return errors.New("the store is empty")
	}
	one := first.Sessions[0]
	last, err := lastCursor(ctx, service, session.Filter{})
	if err != nil {
		return err
	}
	idle, err := lastCursor(ctx, service, session.Filter{ByActivity: true})
	if err != nil {
		return err
	}
	for _, what := range []struct {
		name   string
		filter session.Filter
	}{
		{"first page", session.Filter{Live: true}},
		{"page of one user", session.Filter{Live: true, Tenant: one.Tenant, UserID: one.UserID}},
		{"page of a tenant, a client and an address", session.Filter{Live: true, Tenant: one.Tenant, Client: one.Client, Address: one.LoginAddress}},
		{"last page", session.Filter{Cursor: last}},
		{"first page by activity", session.Filter{Live: true, ByActivity: true}},
		{"last page by activity", session.Filter{Cursor: idle, ByActivity: true}},
	} {
		worst, err := slowest(func() error { _, err := page(what.filter); return err })
		if err != nil {
			return fmt.Errorf("%s: %w", what.name, err)
		}
		b.table.bound(fmt.Sprintf("%s of %d sessions, slowest of %d, ms", what.name, b.stored, listTimes), "%.2f", worst.Seconds()*1000, atMost, listBound)
	}
	return b.measureOverview(ctx, sh)
}

// measureOverview adds up what an open overview asks for.
func (b *bench) measureOverview(ctx context.Context, sh *shelf) error {
	store, service := sh.server.Store(), sh.server.Sessions()
	count, err := slowest(func() error { _, err := store.CountLive(ctx); return err })
	if err != nil {
		return err
	}
	asked, err := slowest(func() error {
		_, err1 := store.Usage(ctx, session.LastHour)
		_, err2 := store.Usage(ctx, session.LastMonth)
		_, err3 := service.Events.Events(ctx, session.EventFilter{Notable: true, Limit: 10})
		return errors.Join(err1, err2, err3)
	})
	if err != nil {
		return err
	}
	b.table.bound("console's overview: share of a core, in percent", "%.2f", 100*(asked.Seconds()/5+count.Seconds()/60), atMost, overviewBound)
	return nil
}

// lastCursor walks to where the last page begins.
func lastCursor(ctx context.Context, service *session.Service, f session.Filter) (string, error) {
	for f.Limit = 1000; ; {
		page, err := service.List(ctx, f)
		if err != nil || page.Next == "" {
			return f.Cursor, err
		}
		f.Cursor = page.Next
	}
}

func slowest(do func() error) (time.Duration, error) {
	took := make([]time.Duration, listTimes)
	for i := range took {
		began := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	return slices.Max(took), nil
}
