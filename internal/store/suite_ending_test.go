package store

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var endingTests = map[string]func(*testing.T, bench, engine){
	"an end is a row, an event and a change": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		b.advance(time.Second)
		must(t, b.UpdateSession(t.Context(), s.ID, revoke))
		now := kept(b.Now())
		got := b.session(t, s.ID)
		if !got.RevokedAt.Equal(now) || got.RevokedWhy != session.LoggedOut || got.RevokedBy != "alice" {
			t.Errorf("ended %s, %s by %s", got.RevokedAt, got.RevokedWhy, got.RevokedBy)
		}
		wantEqual(t, len(b.events(t, audit.Logout)), 1)
		heard := b.heard.take()
		if len(heard) != 1 || heard[0].Kind != session.SessionEnded || heard[0].Session != s.ID || !heard[0].At.Equal(now) ||
			heard[0].Tenant != "diku" || heard[0].UserID != alice {
			t.Errorf("heard %+v", heard)
		}
		must(t, b.UpdateSession(t.Context(), s.ID, revoke))
		wantEqual(t, len(b.heard.take()), 0)
		ended, err := b.EndedSince(t.Context(), now)
		must(t, err)
		wantEqual(t, ended, []session.EndedSession{{Session: s.ID, At: now}})
		ended, err = b.EndedSince(t.Context(), now.Add(time.Microsecond))
		must(t, err)
		wantEqual(t, len(ended), 0)
	},
	"EndSessions ends those of one user and moves the epoch": func(t *testing.T, b bench, _ engine) {
		one, two, other := b.login(t, alice), b.login(t, alice), b.login(t, bob)
		elsewhere := newSession("supertenant", alice, b.Now())
		must(t, b.CreateSession(t.Context(), elsewhere, 0))
		e := audit.Event{Kind: audit.LogoutAll, Tenant: "diku", UserID: alice}
		n, err := b.EndSessions(as(t.Context()), session.Scope{Tenant: "diku", UserID: alice}, session.LoggedOutAll, e)
		must(t, err)
		wantEqual(t, n, 2)
		for _, id := range []token.SessionID{one.ID, two.ID} {
			s := b.session(t, id)
			if s.RevokedWhy != session.LoggedOutAll || s.RevokedBy != "alice" || !s.RevokedAt.Equal(kept(b.Now())) {
				t.Errorf("ended %s, %s by %s", s.RevokedAt, s.RevokedWhy, s.RevokedBy)
			}
			events, err := b.Events(t.Context(), session.EventFilter{Session: id.String()})
			must(t, err)
			if len(events) != 1 || events[0].Kind != audit.LogoutAll || events[0].Actor != actorAlice || events[0].UserID != alice {
				t.Errorf("events of a session: %+v", events)
			}
		}
		for _, id := range []token.SessionID{other.ID, elsewhere.ID} {
			if s := b.session(t, id); !s.RevokedAt.IsZero() {
				t.Errorf("a session of %s in %s was ended", s.UserID, s.Tenant)
			}
		}
		wantEqual(t, b.heard.kinds(), []session.ChangeKind{session.EpochMoved, session.SessionEnded, session.SessionEnded})
		wantEqual(t, b.login(t, alice).UserEpoch, 1)
		wantEqual(t, b.login(t, bob).UserEpoch, 0)
	},
	"a spared session lives on, and the epoch stays": func(t *testing.T, b bench, _ engine) {
		one, two := b.login(t, alice), b.login(t, alice)
		who := session.Scope{Tenant: "diku", UserID: alice, Except: two.ID}
		n, err := b.EndSessions(t.Context(), who, session.LoggedOutAll, audit.Event{Kind: audit.LogoutAll, Tenant: "diku"})
		must(t, err)
		wantEqual(t, n, 1)
		wantEqual(t, b.session(t, two.ID), two)
		if b.session(t, one.ID).RevokedAt.IsZero() {
			t.Error("the other session was not ended")
		}
		wantEqual(t, b.heard.kinds(), []session.ChangeKind{session.SessionEnded})
	},
	"an end of nothing leaves a trace, because the epoch moved": func(t *testing.T, b bench, _ engine) {
		n, err := b.EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.RevokedByAdmin, audit.Event{Kind: audit.SessionRevoked, Tenant: "diku"})
		must(t, err)
		wantEqual(t, n, 0)
		wantEqual(t, len(b.events(t, audit.SessionRevoked)), 1)
		wantEqual(t, b.heard.kinds(), []session.ChangeKind{session.EpochMoved})
	},
	"a tenant's sessions end by its epoch": func(t *testing.T, b bench, _ engine) {
		b.login(t, alice)
		b.login(t, bob)
		must(t, b.UpdateSession(t.Context(), b.login(t, bob).ID, revoke))
		b.heard.take()
		end := func() int {
			n, err := b.EndSessions(t.Context(), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.Event{Kind: audit.TenantEnded, Tenant: "diku"})
			must(t, err)
			return n
		}
		wantEqual(t, end(), 2)
		heard := b.heard.take()
		if len(heard) != 1 || heard[0].Kind != session.EpochMoved || heard[0].Tenant != "diku" || heard[0].UserID != "" || heard[0].Epoch != 1 {
			t.Errorf("heard %+v", heard)
		}
		wantEqual(t, len(b.events(t, audit.TenantEnded)), 1)
		page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku", Live: true})
		must(t, err)
		wantEqual(t, len(page.Sessions), 0)
		wantEqual(t, b.login(t, alice).TenantEpoch, 1)
		// Those of an earlier epoch are over already.
		wantEqual(t, end(), 1)
		n, err := b.EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.LoggedOutAll, audit.Event{})
		must(t, err)
		wantEqual(t, n, 0)
	},
	"EndUser ends the user's others with the same commit": func(t *testing.T, b bench, _ engine) {
		one, two, other := b.login(t, alice), b.login(t, alice), b.login(t, bob)
		must(t, b.UpdateSession(t.Context(), one.ID, func(now time.Time, s *session.Session) session.Effects {
			s.RevokedAt, s.RevokedWhy, s.RevokedBy = now, session.RefreshReuse, "refresh rule"
			return session.Effects{Save: true, EndUser: session.RefreshReuse, Events: []audit.Event{
				{Kind: audit.RefreshReuse, Tenant: "diku", Session: s.ID.String(), UserID: alice},
			}}
		}))
		got := b.session(t, two.ID)
		if got.RevokedWhy != session.RefreshReuse || got.RevokedBy != "refresh rule" {
			t.Errorf("the other session ended for %q by %q", got.RevokedWhy, got.RevokedBy)
		}
		wantEqual(t, b.session(t, other.ID), other)
		var of []string
		for _, e := range b.events(t, audit.RefreshReuse) {
			of = append(of, e.Session)
		}
		wantEqual(t, of, []string{two.ID.String(), one.ID.String()})
		wantEqual(t, b.heard.kinds(), []session.ChangeKind{session.SessionEnded, session.SessionEnded})
	},
	"the longest idle session leaves when there are too many": func(t *testing.T, b bench, _ engine) {
		busy, idle, ended := b.login(t, alice), b.login(t, alice), b.login(t, alice)
		other := b.login(t, bob)
		must(t, b.UpdateSession(t.Context(), ended.ID, revoke))
		b.advance(time.Minute)
		must(t, b.MergeSeen(t.Context(), []session.Seen{{Session: busy.ID, Gen: 1, At: b.Now()}}))
		b.heard.take()
		third := newSession("diku", alice, b.Now())
		must(t, b.CreateSession(as(t.Context()), third, 2, audit.Event{Kind: audit.Login, Tenant: "diku", Session: third.ID.String()}))
		for _, id := range []token.SessionID{busy.ID, third.ID, other.ID} {
			if !b.session(t, id).RevokedAt.IsZero() {
				t.Error("the wrong session left")
			}
		}
		wantEqual(t, b.session(t, idle.ID).RevokedWhy, session.Evicted)
		events := b.events(t, audit.SessionEvicted)
		if len(events) != 1 || events[0].Session != idle.ID.String() || events[0].UserID != alice || events[0].Actor != actorAlice {
			t.Errorf("events: %+v", events)
		}
		heard := b.heard.take()
		if len(heard) != 1 || heard[0].Session != idle.ID {
			t.Errorf("heard %+v", heard)
		}
	},
	"a smaller limit evicts several, never the new one": func(t *testing.T, b bench, _ engine) {
		for range 5 {
			b.login(t, alice)
		}
		b.advance(-time.Hour) // so that the new one seems the longest idle
		fresh := newSession("diku", alice, b.Now())
		must(t, b.CreateSession(t.Context(), fresh, 1))
		page, err := b.ListSessions(t.Context(), session.Filter{UserID: alice, Live: true})
		must(t, err)
		if len(page.Sessions) != 1 || page.Sessions[0].ID != fresh.ID {
			t.Fatalf("%d sessions live", len(page.Sessions))
		}
	},
	"the expired do not count": func(t *testing.T, b bench, _ engine) {
		old := b.login(t, alice)
		b.advance(25 * 24 * time.Hour)
		must(t, b.CreateSession(t.Context(), newSession("diku", alice, b.Now()), 1))
		wantEqual(t, b.session(t, old.ID), old)
	},
	"T52 a session that was ended is never rotated": func(t *testing.T, b bench, _ engine) {
		for range 20 {
			s := b.login(t, alice)
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					_ = b.UpdateSession(context.Background(), s.ID, func(now time.Time, row *session.Session) session.Effects {
						if !row.RevokedAt.IsZero() {
							return session.Effects{}
						}
						return rotate(now, row)
					})
				})
			}
			_, err := b.EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.LoggedOutAll, audit.Event{Kind: audit.LogoutAll})
			must(t, err)
			atEnd := b.session(t, s.ID)
			group.Wait()
			if atEnd.RevokedAt.IsZero() {
				t.Fatal("acknowledged, and not ended")
			}
			wantEqual(t, b.session(t, s.ID), atEnd)
		}
	},
	"the sweep takes what ended or expired, with its events": func(t *testing.T, b bench, _ engine) {
		var old []*session.Session
		for range 70 {
			s := newSession("diku", alice, b.Now())
			must(t, b.CreateSession(t.Context(), s, 0, audit.Event{Kind: audit.Login, Tenant: "diku", Session: s.ID.String()}))
			must(t, b.UpdateSession(t.Context(), s.ID, revoke))
			old = append(old, s)
		}
		expired := newSession("diku", alice, b.Now())
		expired.AbsoluteExpiry = b.Now().Add(time.Minute)
		must(t, b.CreateSession(t.Context(), expired, 0))
		must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
		b.advance(time.Hour)
		live, recent := b.login(t, alice), b.login(t, bob)
		must(t, b.UpdateSession(t.Context(), recent.ID, revoke))
		must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))

		before := b.Now().Add(-time.Minute)
		n, err := b.SweepSessions(t.Context(), before, 50)
		must(t, err)
		wantEqual(t, n, 50)
		n, err = b.SweepSessions(t.Context(), before, 50)
		must(t, err)
		wantEqual(t, n, 21)
		for _, s := range append(old, expired) {
			if _, err := b.Session(t.Context(), s.ID); err == nil {
				t.Fatal("a session was not swept")
			}
		}
		wantEqual(t, len(b.events(t, audit.Login)), 0)
		wantEqual(t, len(b.events(t, audit.Logout)), 1)
		wantEqual(t, len(b.events(t, audit.LoginFailed)), 1)
		wantEqual(t, len(b.events(t, "")), 3+2) // tenant and users, the recent logout and failure
		wantEqual(t, b.session(t, live.ID), live)
		b.session(t, recent.ID)
		n, err = b.SweepSessions(t.Context(), before, 50)
		must(t, err)
		wantEqual(t, n, 0)
	},
	"an open strike is found until it closes or the session ends": func(t *testing.T, b bench, e engine) {
		healed, ended, struck := b.login(t, alice), b.login(t, alice), b.login(t, alice)
		at := kept(b.Now())
		open := func(now time.Time, s *session.Session) session.Effects {
			s.StrikeNo++
			s.StrikeOpen[s.StrikeNo%session.MaxStrikes], s.StrikeAt = s.StrikeNo, now
			return session.Effects{Save: true}
		}
		for _, s := range []*session.Session{healed, ended, struck} {
			must(t, b.UpdateSession(t.Context(), s.ID, open))
		}
		b.advance(time.Second)
		must(t, b.UpdateSession(t.Context(), struck.ID, func(_ time.Time, s *session.Session) session.Effects {
			s.StrikeNo++
			s.StrikeOpen[s.StrikeNo%session.MaxStrikes] = s.StrikeNo
			return session.Effects{Save: true}
		}))
		must(t, b.UpdateSession(t.Context(), healed.ID, func(_ time.Time, s *session.Session) session.Effects {
			s.StrikeOpen = [4]uint32{}
			return session.Effects{Save: true}
		}))
		must(t, b.UpdateSession(t.Context(), ended.ID, revoke))
		got, err := e.reopen(t, b.DB, b.Now).Struck(t.Context())
		must(t, err)
		wantEqual(t, got, []session.Struck{{Session: struck.ID, StrikeAt: at}})
	},
}
