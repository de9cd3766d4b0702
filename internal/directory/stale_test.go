package directory

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// elsewhere is a library whose sets are expanded where they are kept.
type elsewhere struct {
	*library
	sub map[string][]string
}

func (e *elsewhere) Expanded(ctx context.Context, tenant, userID string) (Grants, error) {
	g, err := e.Grants(ctx, tenant, userID)
	if err == nil {
		g.Permissions, err = e.Expand(ctx, tenant, g.Permissions)
	}
	return g, err
}

func (e *elsewhere) Expand(ctx context.Context, _ string, names []string) ([]string, error) {
	return ask(ctx, e.library, "expand", func() ([]string, error) {
		all := slices.Clone(names)
		for _, name := range names {
			all = append(all, e.sub[name]...)
		}
		return all, nil
	})
}

func TestAnExpanderTellsWhatPermissionsStandFor(t *testing.T) {
	lib := newLibrary("diku", "other")
	lib.sets["diku"] = []PermissionSet{{Name: "orders.get", Sub: []string{"ours"}}, {Name: "purge", ElevatedOnly: true}}
	lib.user("diku", "u1", "staff", "purge")
	source := &elsewhere{lib, map[string][]string{"staff": {"orders.get", "loans.get"}}}
	c, clk := newCache(t, &Cache{Source: source, Size: 10})
	a := access(t, c, "diku", "u1")
	if got := strings.Join(a.Ordinary.Names(), " "); got != "loans.get orders.get ours staff" || !a.Elevated.Has("purge") {
		t.Errorf("has %s, elevated %v", got, a.Elevated.Names())
	}
	lent := func(tenant, want string) {
		t.Helper()
		s, err := c.Expand(t.Context(), tenant, []string{"staff", "x"})
		if got := strings.Join(s.Names(), " "); err != nil || got != want {
			t.Errorf("lent %s in %s, %v; want %s", got, tenant, err, want)
		}
	}
	asked := lib.count("expand")
	lent("diku", "loans.get orders.get ours staff x")
	lent("diku", "loans.get orders.get ours staff x")
	lent("other", "loans.get orders.get staff x")
	if n := lib.count("expand") - asked; n != 2 {
		t.Errorf("asked %d times, want once for each tenant", n)
	}
	lib.change(func() { source.sub["staff"] = nil })
	c.ForgetPermissions("diku")
	lent("diku", "staff x")
	clk.advance(time.Minute)
	lent("other", "staff x")
}

func TestWhileTheSourceFailsAnswersCountForAWhile(t *testing.T) {
	lib := newLibrary("diku")
	lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{"orders.get"}}}
	lib.user("diku", "u1", "staff")
	stale := 0
	c, clk := newCache(t, &Cache{Source: &elsewhere{lib, nil}, TTL: 10 * time.Second, Stale: time.Minute, OnStale: func() { stale++ }})
	access(t, c, "diku", "u1")
	if _, err := c.Expand(t.Context(), "diku", []string{"staff"}); err != nil {
		t.Fatal(err)
	}
	away := errors.New("away")
	lib.change(func() { lib.failing = away })
	lib.user("diku", "u1") // which nobody can tell now
	for _, wait := range []time.Duration{10 * time.Second, time.Second, 58 * time.Second} {
		clk.advance(wait)
		if !access(t, c, "diku", "u1").Ordinary.Has("orders.get") {
			t.Fatal("lost its permissions")
		}
		if _, ok := c.Cached("diku", "u1"); !ok {
			t.Error("a refresh would ask again and again")
		}
		if s, err := c.Expand(t.Context(), "diku", []string{"staff"}); err != nil || !s.Has("orders.get") {
			t.Errorf("expanded to %v, %v", s.Names(), err)
		}
	}
	if stale == 0 {
		t.Error("nobody was told")
	}
	clk.advance(time.Second) // the bound
	if _, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, away) {
		t.Errorf("beyond the bound: %v", err)
	}
	if _, err := c.Expand(t.Context(), "diku", []string{"staff"}); !errors.Is(err, away) {
		t.Errorf("beyond the bound: %v", err)
	}
	lib.change(func() { lib.failing = nil })
	if a := access(t, c, "diku", "u1"); a.Ordinary.Has("orders.get") {
		t.Error("the old answer stays")
	}
}

func TestT45WhatWasForgottenIsNotGivenWhileTheSourceFails(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1", "orders.get")
	c, _ := newCache(t, &Cache{Source: lib, TTL: 10 * time.Second, Stale: time.Hour})
	access(t, c, "diku", "u1")
	lib.change(func() { lib.failing = errors.New("away") })
	c.ForgetUser("diku", "u1")
	if _, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, lib.failing) {
		t.Errorf("answered %v", err)
	}
}

func TestT65OneWhoWasDeletedDoesNotComeBackWhileTheSourceFails(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1", "orders.get")
	c, clk := newCache(t, &Cache{Source: lib, TTL: 10 * time.Second, Stale: time.Hour})
	access(t, c, "diku", "u1")
	lib.change(func() { delete(lib.users, userKey{"diku", "u1"}) })
	clk.advance(10 * time.Second)
	if _, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("answered %v", err)
	}
	lib.change(func() { lib.failing = errors.New("away") })
	if _, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, lib.failing) {
		t.Errorf("answered %v", err)
	}
}
