package store

import (
	"context"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var spentTests = map[string]func(*testing.T, bench, engine){
	"what is good once is good once": func(t *testing.T, b bench, _ engine) {
		spend := func(kind, id string, want bool) {
			t.Helper()
			first, err := b.Spend(t.Context(), kind, []byte(id), b.Now().Add(time.Minute))
			must(t, err)
			wantEqual(t, first, want)
		}
		spend("proof", "one", true)
		spend("proof", "one", false)
		spend("other", "one", true)
		spend("proof", "two", true)
		b.advance(2 * time.Minute)
		spend("proof", "three", true) // forgets the others
		spend("proof", "one", true)
	},
	"one of 50 is the first": func(t *testing.T, b bench, _ engine) {
		won := make(chan bool)
		for range 50 {
			go func() {
				first, err := b.Spend(context.WithoutCancel(t.Context()), "proof", []byte("same"), b.Now().Add(time.Minute))
				won <- first && err == nil
			}()
		}
		winners := 0
		for range 50 {
			if <-won {
				winners++
			}
		}
		wantEqual(t, winners, 1)
	},
	"a session is bound once": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		bind := func(key string) error {
			return b.UpdateSession(t.Context(), s.ID, func(_ time.Time, row *session.Session) session.Effects {
				row.Gen++
				row.Confirm = token.ConfirmKey(key)
				return session.Effects{Save: true}
			})
		}
		must(t, bind("one"))
		must(t, bind("one"))
		wantError(t, bind("two"), errMisuse)
		got, err := b.Session(t.Context(), s.ID)
		must(t, err)
		wantEqual(t, got.Confirm, token.ConfirmKey("one"))
		wantEqual(t, got.Gen, uint64(3))
	},
}
