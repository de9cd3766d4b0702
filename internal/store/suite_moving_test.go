package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

const oldJTI = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"

var (
	movedEvent  = audit.Event{Kind: audit.OldTokensImported, Tenant: "diku"}
	importEvent = audit.Event{Kind: audit.PasswordImported, Tenant: "diku", UserID: alice}
	swapEvent   = audit.Event{Kind: audit.OldTokenSwapped, Tenant: "diku", UserID: alice}
)

func oldTokenOf(b bench) session.OldToken {
	return session.OldToken{ID: oldJTI, UserID: alice, Expires: kept(b.Now().Add(time.Hour)).Truncate(time.Second)}
}

var movingTests = map[string]func(*testing.T, bench, engine){
	"of fifty who swap one old token, one succeeds": func(t *testing.T, b bench, _ engine) {
		_, _, err := b.ImportOldTokens(as(t.Context()), "diku", []session.OldToken{oldTokenOf(b)}, movedEvent)
		must(t, err)
		var won atomic.Int64
		var all sync.WaitGroup
		become := make([]string, 50)
		for i := range become {
			all.Go(func() {
				s := newSession("diku", alice, b.Now())
				before, first, err := b.SwapOldToken(as(t.Context()), "diku", oldJTI, s, 100, swapEvent)
				if err != nil {
					t.Error(err)
				}
				become[i] = before.Session.String()
				if first {
					won.Add(1)
					become[i] = s.ID.String()
				}
			})
		}
		all.Wait()
		wantEqual(t, won.Load(), 1)
		for _, one := range become {
			wantEqual(t, one, become[0])
		}
		wantEqual(t, len(b.events(t, audit.OldTokenSwapped)), 1)
		page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku", UserID: alice})
		must(t, err)
		wantEqual(t, len(page.Sessions), 1)
		wantEqual(t, page.Sessions[0].ID.String(), become[0])
	},
	"an old token that was not allowed is nothing": func(t *testing.T, b bench, _ engine) {
		_, _, err := b.SwapOldToken(as(t.Context()), "diku", oldJTI, newSession("diku", alice, b.Now()), 100, swapEvent)
		wantError(t, err, session.ErrNotFound)
		_, err = b.SpendOldToken(as(t.Context()), "diku", oldJTI, swapEvent)
		wantError(t, err, session.ErrNotFound)
	},
	"an import of old tokens allows, withdraws and forgets": func(t *testing.T, b bench, _ engine) {
		one, revoked, expired := oldTokenOf(b), oldTokenOf(b), oldTokenOf(b)
		revoked.ID, revoked.Revoked = "r", true
		expired.ID, expired.Expires = "e", b.Now().Add(-time.Second)
		step := func(allowed, withdrawn int, tokens ...session.OldToken) {
			t.Helper()
			a, w, err := b.ImportOldTokens(as(t.Context()), "diku", tokens, movedEvent)
			must(t, err)
			wantEqual(t, fmt.Sprint(a, w), fmt.Sprint(allowed, withdrawn))
		}
		step(1, 0, one, revoked, expired)
		step(0, 0, one)
		one.Revoked = true
		step(0, 1, one)
		one.Revoked = false
		step(1, 0, one)
		_, first, err := b.SwapOldToken(as(t.Context()), "diku", oldJTI, newSession("diku", alice, b.Now()), 100, swapEvent)
		must(t, err)
		wantEqual(t, first, true)
		one.Revoked = true
		step(0, 0, one) // it was used here: its session is ours
		_, _, err = b.ImportOldTokens(as(t.Context()), "unknown", []session.OldToken{oldTokenOf(b)}, movedEvent)
		wantError(t, err, session.ErrNotFound)
		b.advance(2 * time.Hour)
		step(0, 0)
		_, err = b.SpendOldToken(as(t.Context()), "diku", oldJTI, swapEvent)
		wantError(t, err, session.ErrNotFound)
	},
	"a spent old token becomes nothing": func(t *testing.T, b bench, _ engine) {
		_, _, err := b.ImportOldTokens(as(t.Context()), "diku", []session.OldToken{oldTokenOf(b)}, movedEvent)
		must(t, err)
		before, err := b.SpendOldToken(as(t.Context()), "diku", oldJTI, swapEvent)
		must(t, err)
		wantEqual(t, before.UsedAt.IsZero(), true)
		before, first, err := b.SwapOldToken(as(t.Context()), "diku", oldJTI, newSession("diku", alice, b.Now()), 100, swapEvent)
		must(t, err)
		wantEqual(t, first || !before.Session.IsZero(), false)
		wantEqual(t, before.UsedAt, kept(b.Now()))
	},
	"an imported hash is stored once for each salt": func(t *testing.T, b bench, _ engine) {
		c := session.ImportedCredential{Tenant: "diku", UserID: alice, Salt: "AA", Encoded: "first"}
		did := func(want bool, old string) {
			t.Helper()
			done, err := b.ImportCredential(as(t.Context()), c, old, importEvent)
			must(t, err)
			wantEqual(t, done, want)
		}
		did(true, "")
		did(false, "")
		c.Salt, c.Encoded = "BB", "second"
		did(false, "other")
		must(t, b.CreateSession(as(t.Context()), newSession("diku", alice, b.Now()), 100, audit.Event{Kind: audit.Login}))
		did(true, "AA")
		salt, has, err := b.ImportedCredential(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, fmt.Sprint(salt, has), "BBtrue")
		encoded, err := b.Credential(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, encoded, "second")
		page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku", UserID: alice})
		must(t, err)
		wantEqual(t, page.Sessions[0].RevokedWhy, session.PasswordChanged)
		c.Tenant = "unknown"
		if _, err := b.ImportCredential(as(t.Context()), c, "", importEvent); !errors.Is(err, session.ErrNotFound) {
			t.Error(err)
		}
	},
}
