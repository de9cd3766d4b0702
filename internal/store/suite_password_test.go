package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

var (
	resetEvent = audit.Event{Kind: audit.PasswordReset, Tenant: "diku", UserID: alice}
	linkEvent  = audit.Event{Kind: audit.PasswordLink, Tenant: "diku", UserID: alice}
)

// actionOf is an action of alice that holds for an hour.
func actionOf(b bench, id string) session.PasswordAction {
	return session.PasswordAction{Tenant: "diku", ID: id, UserID: alice, Expires: kept(b.Now().Add(time.Hour)), Secret: [32]byte{1, 31: 0xff}}
}

var passwordTests = map[string]func(*testing.T, bench, engine){
	"wrong passwords in a row are counted": func(t *testing.T, b bench, _ engine) {
		_, err := b.Attempts(t.Context(), "diku", alice)
		wantError(t, err, session.ErrNotFound)
		e := audit.Event{Kind: audit.LoginFailed, Tenant: "diku", UserID: alice}
		for _, step := range []struct {
			after time.Duration
			want  int
		}{
			{0, 1},
			{0, 2},
			{9 * time.Minute, 3},
			{10 * time.Minute, 1},
			// mod-login takes the minutes modulo 60: 61 minutes are one to it.
			{61 * time.Minute, 1},
			{9 * time.Minute, 2},
		} {
			b.advance(step.after)
			n, err := b.FailAttempt(as(t.Context()), "diku", alice, 10*time.Minute, e)
			must(t, err)
			wantEqual(t, n, step.want)
		}
		got, err := b.Attempts(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, got, session.Attempts{Count: 2, Last: kept(b.Now())})
		wantEqual(t, len(b.events(t, audit.LoginFailed)), 6)
		must(t, b.ClearAttempts(t.Context(), "diku", alice))
		got, err = b.Attempts(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, got.Count, 0)
		_, err = b.Attempts(t.Context(), "college", alice)
		wantError(t, err, session.ErrNotFound)
		_, err = b.FailAttempt(t.Context(), "unknown", alice, time.Minute)
		wantError(t, err, session.ErrNotFound)
	},
	"T31 wrong passwords at once are all counted": func(t *testing.T, b bench, _ engine) {
		var highest atomic.Int32
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				n, err := b.FailAttempt(context.Background(), "diku", alice, time.Minute)
				if err != nil {
					t.Error(err)
				}
				for old := highest.Load(); int32(n) > old && !highest.CompareAndSwap(old, int32(n)); old = highest.Load() {
				}
			})
		}
		group.Wait()
		wantEqual(t, highest.Load(), 20)
	},
	"former passwords are kept, ten of them": func(t *testing.T, b bench, _ engine) {
		must(t, ignore(b.SetCredential(t.Context(), "diku", alice, "", "h0")))
		must(t, ignore(b.SetCredential(t.Context(), "diku", alice, "h0", "h0 stronger"))) // the same password
		for n := 1; n <= 12; n++ {
			must(t, ignore(b.ChangePassword(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, fmt.Sprintf("h%d", n), resetEvent)))
		}
		all, err := b.FormerPasswords(t.Context(), "diku", alice, 100)
		must(t, err)
		wantEqual(t, all, []string{"h11", "h10", "h9", "h8", "h7", "h6", "h5", "h4", "h3", "h2"})
		two, err := b.FormerPasswords(t.Context(), "diku", alice, 2)
		must(t, err)
		wantEqual(t, two, []string{"h11", "h10"})
	},
	"a password is removed with all that belongs to it": func(t *testing.T, b bench, _ engine) {
		who := session.Scope{Tenant: "diku", UserID: alice}
		must(t, ignore(b.ChangePassword(t.Context(), who, "h1", resetEvent)))
		must(t, ignore(b.ChangePassword(t.Context(), who, "h2", resetEvent)))
		must(t, ignore(b.SaveAction(t.Context(), actionOf(b, "a1"), linkEvent)))
		s := b.login(t, alice)
		n, err := b.DeleteCredential(as(t.Context()), "diku", alice, audit.Event{Kind: audit.PasswordDeleted, Tenant: "diku", UserID: alice})
		must(t, err)
		wantEqual(t, n, 1)
		wantEqual(t, b.session(t, s.ID).RevokedWhy, session.PasswordChanged)
		_, err = b.Credential(t.Context(), "diku", alice)
		wantError(t, err, session.ErrNotFound)
		_, err = b.Action(t.Context(), "diku", "a1")
		wantError(t, err, session.ErrNotFound)
		former, err := b.FormerPasswords(t.Context(), "diku", alice, 10)
		must(t, err)
		wantEqual(t, len(former), 0)
		_, err = b.DeleteCredential(t.Context(), "diku", alice, resetEvent)
		wantError(t, err, session.ErrNotFound)
	},
	"a user has one action, the newest": func(t *testing.T, b bench, _ engine) {
		first, second := actionOf(b, "a1"), actionOf(b, "a2")
		has, err := b.SaveAction(as(t.Context()), first, linkEvent)
		must(t, err)
		wantEqual(t, has, false)
		must(t, ignore(b.SetCredential(t.Context(), "diku", alice, "", "h")))
		got, err := b.Action(t.Context(), "diku", "a1")
		must(t, err)
		wantEqual(t, got, first)
		has, err = b.SaveAction(as(t.Context()), second, linkEvent)
		must(t, err)
		wantEqual(t, has, true)
		_, err = b.Action(t.Context(), "diku", "a1")
		wantError(t, err, session.ErrNotFound)
		_, err = b.Action(t.Context(), "college", "a2")
		wantError(t, err, session.ErrNotFound)
		others := second
		others.UserID = bob
		_, err = b.SaveAction(t.Context(), others, linkEvent)
		wantError(t, err, directory.ErrExists)
		others.Tenant = "unknown"
		_, err = b.SaveAction(t.Context(), others, linkEvent)
		wantError(t, err, session.ErrNotFound)
		wantEqual(t, len(b.events(t, audit.PasswordLink)), 2)
	},
	"T66 an action sets a password once and ends all sessions": func(t *testing.T, b bench, _ engine) {
		one, other := b.login(t, alice), b.login(t, alice)
		a := actionOf(b, "a1")
		must(t, ignore(b.SaveAction(t.Context(), a, linkEvent)))
		must(t, ignore(b.FailAttempt(t.Context(), "diku", alice, time.Minute)))
		first, ended, err := b.UseAction(as(t.Context()), a, "h1", resetEvent)
		must(t, err)
		wantEqual(t, first, true)
		wantEqual(t, ended, 2)
		for _, s := range []*session.Session{one, other} {
			wantEqual(t, b.session(t, s.ID).RevokedWhy, session.PasswordChanged)
		}
		hash, err := b.Credential(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, hash, "h1")
		count, err := b.Attempts(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, count.Count, 0)
		_, _, err = b.UseAction(t.Context(), a, "h2", resetEvent)
		wantError(t, err, session.ErrNotFound)
		wantEqual(t, len(b.events(t, audit.PasswordReset)), 1)
		must(t, ignore(b.SaveAction(t.Context(), a, linkEvent)))
		first, _, err = b.UseAction(t.Context(), a, "h3", resetEvent)
		must(t, err)
		wantEqual(t, first, false)
		former, err := b.FormerPasswords(t.Context(), "diku", alice, 10)
		must(t, err)
		wantEqual(t, former, []string{"h1"})
	},
	"T66 of fifty uses of one action one succeeds": func(t *testing.T, b bench, _ engine) {
		a := actionOf(b, "a1")
		must(t, ignore(b.SaveAction(t.Context(), a, linkEvent)))
		var won, lost atomic.Int32
		var group sync.WaitGroup
		for n := range 50 {
			group.Go(func() {
				_, _, err := b.UseAction(context.Background(), a, fmt.Sprintf("h%d", n), resetEvent)
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, session.ErrNotFound):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		wantEqual(t, won.Load(), 1)
		wantEqual(t, lost.Load(), 49)
		wantEqual(t, len(b.events(t, audit.PasswordReset)), 1)
	},
	"T66 an action that is over, or is not what it was, sets nothing": func(t *testing.T, b bench, _ engine) {
		a := actionOf(b, "a1")
		must(t, ignore(b.SaveAction(t.Context(), a, linkEvent)))
		for name, change := range map[string]func(*session.PasswordAction){
			"tenant": func(a *session.PasswordAction) { a.Tenant = "college" },
			"user":   func(a *session.PasswordAction) { a.UserID = bob },
			"secret": func(a *session.PasswordAction) { a.Secret = [32]byte{} },
			"id":     func(a *session.PasswordAction) { a.ID = "a2" },
		} {
			other := a
			change(&other)
			if _, _, err := b.UseAction(t.Context(), other, "h", resetEvent); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		b.advance(time.Hour)
		_, _, err := b.UseAction(t.Context(), a, "h", resetEvent)
		wantError(t, err, session.ErrNotFound)
		_, err = b.Credential(t.Context(), "diku", alice)
		wantError(t, err, session.ErrNotFound)
		got, err := b.Action(t.Context(), "diku", "a1") // still tells that it is over
		must(t, err)
		wantEqual(t, got, a)
		b.advance(25 * time.Hour)
		others := actionOf(b, "a2")
		others.UserID = bob
		must(t, ignore(b.SaveAction(t.Context(), others, linkEvent)))
		_, err = b.Action(t.Context(), "diku", "a1")
		wantError(t, err, session.ErrNotFound)
	},
	"a new password takes the action along": func(t *testing.T, b bench, _ engine) {
		a := actionOf(b, "a1")
		must(t, ignore(b.SaveAction(t.Context(), a, linkEvent)))
		must(t, ignore(b.ChangePassword(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, "h", resetEvent)))
		_, _, err := b.UseAction(t.Context(), a, "h2", resetEvent)
		wantError(t, err, session.ErrNotFound)
	},
	"people are found by id, name and address": func(t *testing.T, b bench, _ engine) {
		for id, email := range map[string]string{
			"3d1a2b3c-0000-4000-8000-000000000001": "Z@Example.org", "3d1a2b3c-0000-4000-8000-000000000002": "both@example.org",
			"3d1a2b3c-0000-4000-8000-000000000003": "both@example.org", "3d1a2b3c-0000-4000-8000-000000000004": "",
		} {
			u := directory.User{ID: id, Tenant: "diku", Username: "user" + id[35:], Active: true, Email: email}
			must(t, b.CreateUser(t.Context(), u, directory.Grants{}, "", audit.Event{Kind: audit.UserCreated}))
		}
		for who, want := range map[string]int{
			"z@example.org": 1, "3D1A2B3C-0000-4000-8000-000000000004": 1, "USER4": 1, "both@example.org": 2, "nobody": 0, "": 0,
			"%": 0, "user_": 0, `x" or email<>"`: 0, "' OR 1=1 --": 0, "\x00": 0, "\xff": 0,
		} {
			found, err := b.FindUsers(t.Context(), "diku", who, 10)
			must(t, err)
			if len(found) != want {
				t.Errorf("%q: %d users, want %d", who, len(found), want)
			}
			found, err = b.FindUsers(t.Context(), "college", who, 10)
			must(t, err)
			wantEqual(t, len(found), 0)
		}
	},
	"the login log is a page of events about users": func(t *testing.T, b bench, _ engine) {
		kinds := []audit.Kind{audit.Login, audit.LoginFailed}
		event := func(kind audit.Kind, tenant, user string) audit.Event {
			return audit.Event{Kind: kind, Tenant: tenant, UserID: user, Reason: string(kind) + " " + user}
		}
		must(t, b.AppendEvents(t.Context(), event(audit.Login, "diku", alice), event(audit.LoginFailed, "diku", bob),
			event(audit.LoginFailed, "diku", ""), event(audit.Logout, "diku", alice), event(audit.Login, "college", alice),
			event(audit.LoginFailed, "diku", alice)))
		read := func(f session.LogFilter) (told []string, total int) {
			f.Tenant, f.Kinds = "diku", kinds
			events, total, err := b.LoginLog(t.Context(), f)
			must(t, err)
			for _, e := range events {
				told = append(told, e.Reason)
			}
			return told, total
		}
		all := []string{"login_failed " + alice, "login_failed " + bob, "login " + alice}
		told, total := read(session.LogFilter{})
		wantEqual(t, told, all)
		wantEqual(t, total, 3)
		told, total = read(session.LogFilter{Offset: 1, Limit: 1})
		wantEqual(t, told, all[1:2])
		wantEqual(t, total, 3)
		told, _ = read(session.LogFilter{UserID: alice})
		wantEqual(t, told, []string{all[0], all[2]})
		must(t, b.AppendEvents(t.Context(), event(audit.LoginLogCleared, "college", alice)))
		told, _ = read(session.LogFilter{UserID: alice})
		wantEqual(t, len(told), 2)
		must(t, b.AppendEvents(t.Context(), event(audit.LoginLogCleared, "diku", alice), event(audit.Login, "diku", alice)))
		told, total = read(session.LogFilter{})
		wantEqual(t, told, []string{"login " + alice, all[1]})
		wantEqual(t, total, 2)
	},
}
