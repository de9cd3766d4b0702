package store

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var sessionTests = map[string]func(*testing.T, bench, engine){
	"a session is kept as it was given, to the microsecond": func(t *testing.T, b bench, _ engine) {
		at := b.Now().Add(-time.Hour)
		given := newSession("diku", alice, at)
		given.Family = session.Family{
			Gen: 1 << 40, RotatedAt: at, WindowAt: at.Add(1), SeenGen: 1<<40 - 1, LateN: 3, LateSince: at.Add(2 * time.Second),
			StrikeNo: 9, StrikeOpen: [4]uint32{8, 9, 0, 7}, StrikeAt: at.Add(3 * time.Second),
		}
		given.Device = [32]byte{31: 0xff}
		given.Retries = 1 << 50
		given.LastAddress = "2001:db8:1234:5678:9abc:def0:1234:5678"
		given.Username, given.Client = "Ærøskøbing", "another client"
		must(t, b.CreateSession(t.Context(), given, 100))
		want := *given
		for _, field := range []*time.Time{
			&want.RotatedAt, &want.WindowAt, &want.LateSince, &want.StrikeAt, &want.CreatedAt, &want.AbsoluteExpiry, &want.LastActivity,
		} {
			*field = kept(*field)
		}
		wantEqual(t, *b.session(t, given.ID), want)
	},
	"zero times stay zero": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		if !s.WindowAt.IsZero() || !s.RevokedAt.IsZero() || !s.StrikeAt.IsZero() || !s.LateSince.IsZero() {
			t.Fatalf("family at login: %+v", s.Family)
		}
	},
	"a session id is stored once": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		again := newSession("diku", bob, b.Now())
		again.ID = s.ID
		if err := b.CreateSession(t.Context(), again, 0); err == nil {
			t.Fatal("the id was taken over")
		}
		wantEqual(t, b.session(t, s.ID), s)
	},
	"a session that is not there is not found": func(t *testing.T, b bench, _ engine) {
		_, err := b.Session(t.Context(), token.NewSessionID())
		wantError(t, err, session.ErrNotFound, directory.ErrNotFound)
		err = b.UpdateSession(t.Context(), token.NewSessionID(), func(time.Time, *session.Session) session.Effects {
			t.Error("decide ran without a row")
			return session.Effects{}
		})
		wantError(t, err, session.ErrNotFound)
	},
	"an update saves what decide changed, on the store's clock": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		b.advance(time.Minute)
		var told time.Time
		var found session.Session
		must(t, b.UpdateSession(t.Context(), s.ID, func(now time.Time, row *session.Session) session.Effects {
			told, found = now, *row
			row.LastAddress, row.Retries = "198.51.100.1", 7
			return rotate(now, row)
		}))
		wantEqual(t, told, kept(b.Now()))
		wantEqual(t, found, *s)
		want := *s
		want.Gen, want.SeenGen, want.Retries, want.LastAddress = 2, 1, 7, "198.51.100.1"
		want.RotatedAt, want.WindowAt, want.LastActivity = told, told, told
		wantEqual(t, *b.session(t, s.ID), want)
	},
	"without Save the row stays, and events are written all the same": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		must(t, b.UpdateSession(as(t.Context()), s.ID, func(now time.Time, row *session.Session) session.Effects {
			rotate(now, row)
			return session.Effects{Events: []audit.Event{{Kind: audit.GenerationAhead, Tenant: "diku", Session: s.ID.String()}}}
		}))
		wantEqual(t, b.session(t, s.ID), s)
		if got := b.events(t, audit.GenerationAhead); len(got) != 1 || got[0].Actor != actorAlice {
			t.Fatalf("events: %+v", got)
		}
	},
	"the clock may go backwards, and decide is told": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		b.advance(-time.Hour)
		var told time.Time
		must(t, b.UpdateSession(t.Context(), s.ID, func(now time.Time, row *session.Session) session.Effects {
			told = now
			return revoke(now, row)
		}))
		wantEqual(t, told, kept(b.Now()))
		// The feed counts on: who starts now must still hear of the end.
		b.advance(time.Hour)
		ended, err := b.EndedSince(t.Context(), b.Now().Add(-time.Minute))
		must(t, err)
		wantEqual(t, ended, []session.EndedSession{{Session: s.ID, At: kept(b.Now())}})
		wantEqual(t, b.events(t, audit.Logout)[0].Time, kept(b.Now()))
	},
	"what is fixed at login cannot be changed": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		for name, change := range map[string]func(*session.Session){
			"id":     func(s *session.Session) { s.ID = token.NewSessionID() },
			"tenant": func(s *session.Session) { s.Tenant = "supertenant" },
			"user":   func(s *session.Session) { s.UserID = bob },
			"secret": func(s *session.Session) { s.Secret[0]++ },
			"expiry": func(s *session.Session) { s.AbsoluteExpiry = s.AbsoluteExpiry.Add(time.Hour) },
			"epoch":  func(s *session.Session) { s.UserEpoch++ },
			"device": func(s *session.Session) { s.Device[0]++ },
		} {
			err := b.UpdateSession(t.Context(), s.ID, func(now time.Time, row *session.Session) session.Effects {
				change(row)
				e := rotate(now, row)
				e.Events = []audit.Event{{Kind: audit.LateRecovery, Tenant: "diku"}}
				return e
			})
			if err == nil {
				t.Errorf("%s was changed", name)
			}
		}
		wantEqual(t, b.session(t, s.ID), s)
		wantEqual(t, len(b.events(t, audit.LateRecovery)), 0)
	},
	"a session that ended cannot be woken": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		must(t, b.UpdateSession(t.Context(), s.ID, revoke))
		ended := b.session(t, s.ID)
		for _, change := range []func(*session.Session){
			func(s *session.Session) { s.RevokedAt = time.Time{} },
			func(s *session.Session) { s.RevokedAt = s.RevokedAt.Add(time.Hour) },
			func(s *session.Session) { s.RevokedWhy = session.RevokedByAdmin },
		} {
			err := b.UpdateSession(t.Context(), s.ID, func(_ time.Time, row *session.Session) session.Effects {
				change(row)
				return session.Effects{Save: true}
			})
			if err == nil {
				t.Fatal("the end was changed")
			}
		}
		wantEqual(t, b.session(t, s.ID), ended)
	},
	"a hundred callers count to a hundred": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		var group sync.WaitGroup
		var mu sync.Mutex
		seen := make(map[uint64]bool)
		for range 100 {
			group.Go(func() {
				var gen uint64
				err := b.UpdateSession(context.Background(), s.ID, func(now time.Time, row *session.Session) session.Effects {
					e := rotate(now, row)
					gen = row.Gen
					return e
				})
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[gen] {
					t.Errorf("generation %d again, or %v", gen, err)
				}
				seen[gen] = true
			})
		}
		group.Wait()
		wantEqual(t, b.session(t, s.ID).Gen, 101)
	},
	"what was noticed is merged by maximum, retries are added": func(t *testing.T, b bench, _ engine) {
		one, other, ended := b.login(t, alice), b.login(t, alice), b.login(t, alice)
		must(t, b.UpdateSession(t.Context(), ended.ID, revoke))
		later := kept(b.Now().Add(time.Minute))
		must(t, b.MergeSeen(t.Context(), []session.Seen{
			{Session: one.ID, Gen: 5, At: later, Retries: 2},
			{Session: one.ID, Gen: 3, At: later.Add(-time.Hour), Retries: 1},
			{Session: token.NewSessionID(), Gen: 5, At: later},
			{Session: ended.ID, Gen: 5, At: later, Retries: 2},
		}))
		got := b.session(t, one.ID)
		if got.SeenGen != 5 || !got.LastActivity.Equal(later) || got.Retries != 3 {
			t.Errorf("merged: seen %d at %s, %d retries", got.SeenGen, got.LastActivity, got.Retries)
		}
		wantEqual(t, b.session(t, other.ID), other)
		wantEqual(t, b.session(t, ended.ID).SeenGen, 0)
	},
	"much that was noticed is merged, too": func(t *testing.T, b bench, _ engine) {
		var seen []session.Seen
		for range 150 {
			seen = append(seen, session.Seen{Session: b.login(t, alice).ID, Gen: 1, At: b.Now(), Retries: 1})
		}
		must(t, b.MergeSeen(t.Context(), seen))
		for _, one := range seen {
			wantEqual(t, b.session(t, one.Session).SeenGen, 1)
		}
		must(t, b.MergeSeen(t.Context(), nil))
	},
	"an address that is too long is cut, and nothing else": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		must(t, b.UpdateSession(t.Context(), s.ID, func(now time.Time, row *session.Session) session.Effects {
			row.LastAddress = strings.Repeat("f", 300)
			return rotate(now, row)
		}))
		got := b.session(t, s.ID)
		if got.Gen != 2 || !strings.HasPrefix(got.LastAddress, "ffff") {
			t.Fatalf("generation %d from %q", got.Gen, got.LastAddress)
		}
	},
}
