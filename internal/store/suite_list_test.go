package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var listTests = map[string]func(*testing.T, bench, engine){
	"pages come newest first, each session once": func(t *testing.T, b bench, _ engine) {
		var want []token.SessionID
		for range 25 {
			want = append([]token.SessionID{b.login(t, alice).ID}, want...)
			b.login(t, bob)
		}
		var got []token.SessionID
		f := session.Filter{Tenant: "diku", UserID: alice, Limit: 10}
		for pages := 1; ; pages++ {
			page, err := b.ListSessions(t.Context(), f)
			must(t, err)
			for _, s := range page.Sessions {
				got = append(got, s.ID)
			}
			// Who logs in meanwhile does not shift the pages.
			b.login(t, alice)
			if f.Cursor = page.Next; f.Cursor == "" {
				wantEqual(t, pages, 3)
				break
			}
		}
		wantEqual(t, got, want)
	},
	"by activity, the latest day comes first, each session once": func(t *testing.T, b bench, _ engine) {
		var all []token.SessionID
		for range 6 {
			all = append(all, b.login(t, alice).ID)
		}
		other := newSession("Diku", bob, b.Now())
		must(t, b.CreateSession(t.Context(), other, 0))
		rotateAt := func(id token.SessionID) {
			must(t, b.UpdateSession(t.Context(), id, func(now time.Time, s *session.Session) session.Effects {
				s.LastActivity = now
				return rotate(now, s)
			}))
		}
		b.advance(24 * time.Hour)
		rotateAt(all[1])
		rotateAt(all[1]) // a second time on that day
		must(t, b.MergeSeen(t.Context(), []session.Seen{{Session: all[4], Gen: 1, At: b.Now()}}))
		b.advance(24 * time.Hour)
		rotateAt(all[2])
		rotateAt(all[1])
		must(t, b.MergeSeen(t.Context(), []session.Seen{{Session: all[2], Gen: 1, At: b.Now().Add(-72 * time.Hour)}})) // never back
		want := []token.SessionID{all[2], all[1], all[4], all[5], all[3], all[0]}
		for _, f := range []session.Filter{{Tenant: "diku"}, {UserID: alice}, {Address: newSession("diku", alice, b.Now()).LoginAddress, Tenant: "diku"}, {Tenant: "diku", Live: true}} {
			f.ByActivity, f.Limit = true, 2
			var got []token.SessionID
			for {
				page, err := b.ListSessions(t.Context(), f)
				must(t, err)
				for _, s := range page.Sessions {
					got = append(got, s.ID)
				}
				if f.Cursor = page.Next; f.Cursor == "" {
					break
				}
			}
			wantEqual(t, got, want)
		}
		page, err := b.ListSessions(t.Context(), session.Filter{ByActivity: true, Limit: 4})
		must(t, err)
		wantEqual(t, page.Sessions[3].ID, other.ID) // of all tenants
		for _, wrong := range []session.Filter{{Cursor: page.Next}, {ByActivity: true, Cursor: "AAAAAAAAAAA"}} {
			_, err := b.ListSessions(t.Context(), wrong)
			wantError(t, err, session.ErrInvalid)
		}
	},
	"a full last page has no next": func(t *testing.T, b bench, _ engine) {
		b.login(t, alice)
		b.login(t, alice)
		page, err := b.ListSessions(t.Context(), session.Filter{Limit: 2})
		must(t, err)
		if len(page.Sessions) != 2 || page.Next != "" {
			t.Fatalf("%d sessions, next %q", len(page.Sessions), page.Next)
		}
	},
	"a page holds the whole session": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		page, err := b.ListSessions(t.Context(), session.Filter{})
		must(t, err)
		wantEqual(t, page.Sessions, []session.Session{*s})
	},
	"filters narrow, alone and together": func(t *testing.T, b bench, _ engine) {
		make1 := func(tenant, user, client, address string) token.SessionID {
			s := newSession(tenant, user, b.Now())
			s.Client, s.LoginAddress = client, address
			must(t, b.CreateSession(t.Context(), s, 0))
			return s.ID
		}
		one := make1("diku", alice, session.ClientWeb, "192.0.2.1")
		two := make1("diku", alice, session.ClientAPI, "192.0.2.2")
		three := make1("diku", bob, session.ClientWeb, "192.0.2.1")
		four := make1("Diku", alice, session.ClientWeb, "192.0.2.1") // another tenant: case counts
		must(t, b.UpdateSession(t.Context(), three, revoke))
		for _, c := range []struct {
			f    session.Filter
			want []token.SessionID
		}{
			{session.Filter{}, []token.SessionID{four, three, two, one}},
			{session.Filter{Tenant: "diku"}, []token.SessionID{three, two, one}},
			{session.Filter{Tenant: "Diku"}, []token.SessionID{four}},
			{session.Filter{UserID: alice}, []token.SessionID{four, two, one}},
			{session.Filter{Client: session.ClientAPI}, []token.SessionID{two}},
			{session.Filter{Address: "192.0.2.1"}, []token.SessionID{four, three, one}},
			{session.Filter{Live: true}, []token.SessionID{four, two, one}},
			{session.Filter{Tenant: "diku", UserID: alice}, []token.SessionID{two, one}},
			{session.Filter{Tenant: "diku", Client: session.ClientWeb}, []token.SessionID{three, one}},
			{session.Filter{Tenant: "diku", Address: "192.0.2.1"}, []token.SessionID{three, one}},
			{session.Filter{Tenant: "diku", UserID: alice, Client: session.ClientWeb, Address: "192.0.2.1", Live: true}, []token.SessionID{one}},
			{session.Filter{Tenant: "diku", UserID: bob, Live: true}, nil},
			{session.Filter{Tenant: "diku", Address: "192.0.2.1", Live: true}, []token.SessionID{one}},
			{session.Filter{Tenant: "diku", UserID: alice, Address: "192.0.2.9"}, nil},
			{session.Filter{Tenant: "unknown"}, nil},
		} {
			page, err := b.ListSessions(t.Context(), c.f)
			must(t, err)
			var got []token.SessionID
			for _, s := range page.Sessions {
				got = append(got, s.ID)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%+v: %v, want %v", c.f, got, c.want)
			}
		}
	},
	"live leaves out the expired": func(t *testing.T, b bench, _ engine) {
		b.login(t, alice)
		b.advance(24 * 24 * time.Hour)
		page, err := b.ListSessions(t.Context(), session.Filter{Live: true})
		must(t, err)
		wantEqual(t, len(page.Sessions), 0)
	},
	"a cursor that is not ours is refused": func(t *testing.T, b bench, _ engine) {
		for _, cursor := range []string{"x", "AAAA", "' OR 1=1 --", "AAAAAAAAAAAAAAAA", "AAAAAAAAAA=", "AAAAAAAAAAB"} {
			_, err := b.ListSessions(t.Context(), session.Filter{Cursor: cursor})
			wantError(t, err, session.ErrInvalid)
		}
	},
	"a page has at most a thousand, and a hundred unasked": func(t *testing.T, b bench, _ engine) {
		for range 101 {
			must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
		}
		wantEqual(t, len(b.events(t, audit.LoginFailed)), 100)
		for limit, want := range map[int]int{-1: 100, 0: 100, 1: 1, 999: 999, 1000: 1000, 1001: 1000} {
			wantEqual(t, pageSize(limit), want)
		}
	},
	"events come newest first, by every filter": func(t *testing.T, b bench, _ engine) {
		a, c := token.NewSessionID().String(), token.NewSessionID().String()
		var events []audit.Event
		for _, e := range []audit.Event{
			{Kind: audit.Login, Tenant: "t1", Session: a, UserID: "u1", Actor: actorAlice, Reason: "why", Detail: map[string]string{"generation": "12", "bad": "\xff"}},
			{Kind: audit.Logout, Tenant: "t1", Session: a, UserID: "u1", Actor: actorAlice},
			{Kind: audit.LoginFailed, Tenant: "t1", UserID: "u2", Actor: audit.Actor{Kind: "anonymous"}},
			{Kind: audit.Login, Tenant: "t2", Session: c, UserID: "u1", Actor: actorAlice},
		} {
			b.advance(time.Second)
			must(t, b.AppendEvents(t.Context(), e))
			e.Time = kept(b.Now())
			events = append(events, e)
		}
		events[0].Detail["bad"] = "\ufffd" // replaced, so that the fact is told
		all, err := b.Events(t.Context(), session.EventFilter{Limit: 4})
		must(t, err)
		for i := range all {
			events[i].Seq = all[3-i].Seq
			if i > 0 && events[i].Seq <= events[i-1].Seq {
				t.Error("the numbers do not grow")
			}
		}
		for _, c := range []struct {
			f    session.EventFilter
			want []int
		}{
			{session.EventFilter{Tenant: "t1"}, []int{2, 1, 0}},
			{session.EventFilter{Tenant: "T1"}, nil},
			{session.EventFilter{UserID: "u1"}, []int{3, 1, 0}},
			{session.EventFilter{Tenant: "t1", UserID: "u1"}, []int{1, 0}},
			{session.EventFilter{Session: a}, []int{1, 0}},
			{session.EventFilter{Tenant: "t2", Session: a}, nil},
			{session.EventFilter{Session: a, UserID: "u2"}, nil},
			{session.EventFilter{Kind: audit.LoginFailed}, []int{2}},
			{session.EventFilter{Tenant: "t1", Kind: audit.Login}, []int{0}},
			{session.EventFilter{UserID: "u1", Kind: audit.Login}, []int{3, 0}},
			{session.EventFilter{Session: a, Kind: audit.Logout}, []int{1}},
			{session.EventFilter{Tenant: "t1", Before: events[2].Seq}, []int{1, 0}},
			{session.EventFilter{UserID: "u1", Before: events[3].Seq, Limit: 1}, []int{1}},
		} {
			var want []audit.Event
			for _, i := range c.want {
				want = append(want, events[i])
			}
			got, err := b.Events(t.Context(), c.f)
			must(t, err)
			wantEqual(t, got, want)
		}
	},
	"an event without an actor has the request's, without a request the system": func(t *testing.T, b bench, _ engine) {
		must(t, b.AppendEvents(as(t.Context()), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
		must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
		got := b.events(t, audit.LoginFailed)
		wantEqual(t, []audit.Actor{got[0].Actor, got[1].Actor}, []audit.Actor{audit.System, actorAlice})
	},
}
