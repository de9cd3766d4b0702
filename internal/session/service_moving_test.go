package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	signingKey = "0123456789abcdef0123456789abcdef"
	oldJTI     = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"
)

// movingOver has mod-authtoken's tokens count for three hours.
func movingOver(w *world) {
	reader, _, err := token.NewFOLIO(signingKey)
	w.must(err)
	until := w.now().Add(3 * time.Hour)
	w.old = &session.OldTokens{Reader: reader, Until: until, Legacy: map[string]bool{"diku": true}, LegacyUntil: until}
}

// allowed is a refresh token of mod-authtoken that an import brought.
func (w *world) allowed() string {
	w.t.Helper()
	expires := w.now().Add(time.Hour)
	_, _, err := w.service.ImportOldTokens(w.as("operator", "test"), "diku", []session.OldToken{{ID: oldJTI, UserID: readerID, Expires: expires}})
	w.must(err)
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: []byte(signingKey)}, nil)
	w.must(err)
	sealed, err := encrypter.Encrypt(fmt.Appendf(nil, `{"type":"refresh","exp":%d,"iat":%d,"sub":"reader","user_id":%q,"tenant":"diku","jti":%q}`,
		expires.Unix(), w.now().Unix(), readerID, oldJTI))
	w.must(err)
	raw, err := sealed.CompactSerialize()
	w.must(err)
	return raw
}

func TestOldTokenThatComesBackLateEndsItsSession(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second) // the epochs of the preparation are older
		old := w.allowed()
		first := w.refresh(old)
		w.holds(first.Access)
		w.sleep(9 * time.Second)
		if again := w.refresh(old); again.Session != first.Session || again.Refresh != first.Refresh {
			t.Fatal("another tab has another session")
		}
		second := w.refresh(first.Refresh)
		w.sleep(2 * time.Second)
		if !w.refused(old).Final {
			t.Error("a used token may come again")
		}
		w.dead(second.Access, session.ErrTokenInvalid)
		if why := w.row(first.Session).RevokedWhy; why != session.RefreshReuse {
			t.Errorf("ended because of %q", why)
		}
	})
}

func TestT6FiftySwapsOfOneOldTokenGiveOneSession(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second)
		old := w.allowed()
		var all sync.WaitGroup
		got := make([]token.SessionID, 50)
		for i := range got {
			all.Go(func() {
				if tokens, err := w.present(old); err == nil {
					got[i] = tokens.Session
				}
			})
		}
		all.Wait()
		if got[0].IsZero() || slices.ContainsFunc(got, func(id token.SessionID) bool { return id != got[0] }) {
			t.Errorf("sessions %v", got)
		}
	})
}

func TestOldTokenWithoutImportIsRefused(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second)
		old := w.allowed()
		_, withdrawn, err := w.service.ImportOldTokens(w.as("operator", "test"), "diku", []session.OldToken{{ID: oldJTI, UserID: readerID, Revoked: true}})
		w.must(err)
		if withdrawn != 1 || !w.refused(old).Final {
			t.Errorf("%d withdrawn", withdrawn)
		}
	})
}

func TestOldTokenInAnotherTenantIsRefusedAndStaysUnused(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second)
		old := w.allowed()
		_, err := w.service.Refresh(from(home), session.RefreshRequest{Token: old, Tenant: "other"})
		if w.refusal(nil, err).Final {
			t.Error("another tenant's header ends an old token")
		}
		w.refresh(old)
	})
}

func TestOldTokensEndWithAllSessionsOfTheirUser(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second)
		old := w.allowed()
		legacy, err := w.service.LegacyToken(from(home), "diku", readerID, "reader")
		w.must(err)
		w.holds(legacy)
		w.sleep(time.Second)
		w.must(w.service.LogoutUser(from(home), "diku", readerID))
		w.dead(legacy, session.ErrTokenInvalid)
		w.refused(old)
		w.restart()
		w.dead(legacy, session.ErrTokenInvalid)
		w.refused(old)
	})
}

// Threat: a token that never expires is used where nobody looks. Every use is in
// an event, however many there are.
func TestEveryUseOfATokenThatNeverExpiresIsTold(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second)
		legacy, err := w.service.LegacyToken(from(home), "diku", readerID, "reader")
		w.must(err)
		uses := func() (told []string) {
			events, err := w.db.Events(context.Background(), session.EventFilter{Limit: 1000})
			w.must(err)
			for _, e := range slices.Backward(events) {
				if e.Kind == audit.LegacyTokenUsed {
					told = append(told, e.Detail["uses"]+" from "+e.Detail["addresses"])
				}
			}
			return told
		}
		const away = "198.51.100.7"
		use := func(address string, n int) {
			t.Helper()
			for range n {
				_, err := w.service.Check(from(address), legacy, token.KindAccess)
				w.must(err)
			}
		}
		want := func(list ...string) {
			t.Helper()
			if got := uses(); !slices.Equal(got, list) {
				t.Errorf("%q, want %q", got, list)
			}
		}
		use(home, 3)
		want("1 from " + home)
		use(away, 40)
		want("1 from " + home)
		w.sleep(2 * time.Minute) // nobody uses it, and it is told
		both := home + " " + away
		want("1 from "+home, "42 from "+both)
		use(away, 1)
		use(home, 2)
		w.restart() // and so it is at the end
		want("1 from "+home, "42 from "+both, "3 from "+away+" "+home)
		if _, err := w.service.LegacyToken(from(home), "other", readerID, "reader"); !errors.Is(err, session.ErrForbidden) {
			t.Errorf("a tenant that was not named: %v", err)
		}
		w.sleep(3 * time.Hour)
		w.dead(legacy, session.ErrTokenInvalid)
	})
}

func TestElevateRefusesATokenWithoutSession(t *testing.T) {
	inWorld(t, movingOver, func(w *world) {
		w.sleep(2 * time.Second)
		legacy, err := w.service.LegacyToken(from(home), "diku", readerID, "reader")
		w.must(err)
		caller, err := w.check(legacy)
		w.must(err)
		_, err = w.service.Elevate(from(home), &caller, password, []string{"orders.item.put"})
		if !errors.Is(err, session.ErrForbidden) {
			t.Error(err)
		}
	})
}
