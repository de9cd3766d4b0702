package store

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

var accountTests = map[string]func(*testing.T, bench, engine){
	"a credential is replaced only where it is what the caller knows": func(t *testing.T, b bench, _ engine) {
		_, err := b.Credential(t.Context(), "diku", alice)
		wantError(t, err, session.ErrNotFound)
		e := audit.Event{Kind: audit.PasswordUpgraded, Tenant: "diku"}
		for _, step := range []struct {
			old, encoded string
			want         bool
			then         string
		}{
			{"other", "h1", false, ""},
			{"", "h1", true, "h1"},
			{"", "h2", false, "h1"},
			{"H1", "h2", false, "h1"},
			{"h1", "h2", true, "h2"},
		} {
			set, err := b.SetCredential(t.Context(), "diku", alice, step.old, step.encoded, e)
			must(t, err)
			wantEqual(t, set, step.want)
			if step.then != "" {
				got, err := b.Credential(t.Context(), "diku", alice)
				must(t, err)
				wantEqual(t, got, step.then)
			}
		}
		wantEqual(t, len(b.events(t, audit.PasswordUpgraded)), 2)
		_, err = b.SetCredential(t.Context(), "unknown", alice, "", "h", e)
		wantError(t, err, session.ErrNotFound)
	},
	"of many who replace a credential one wins": func(t *testing.T, b bench, _ engine) {
		must(t, ignore(b.SetCredential(t.Context(), "diku", alice, "", "old")))
		var won atomic.Int32
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				set, err := b.SetCredential(context.Background(), "diku", alice, "old", "new")
				if err != nil {
					t.Error(err)
				}
				if set {
					won.Add(1)
				}
			})
		}
		group.Wait()
		wantEqual(t, won.Load(), 1)
	},
	"a new password ends the other sessions": func(t *testing.T, b bench, _ engine) {
		mine, other := b.login(t, alice), b.login(t, alice)
		who := session.Scope{Tenant: "diku", UserID: alice, Except: mine.ID}
		e := audit.Event{Kind: audit.PasswordChanged, Tenant: "diku", UserID: alice}
		n, err := b.ChangePassword(as(t.Context()), who, "hash", e)
		must(t, err)
		wantEqual(t, n, 1)
		wantEqual(t, b.session(t, mine.ID), mine)
		wantEqual(t, b.session(t, other.ID).RevokedWhy, session.PasswordChanged)
		changed, revoked := b.events(t, audit.PasswordChanged), b.events(t, audit.SessionRevoked)
		if len(changed) != 1 || changed[0].Session != "" || len(revoked) != 1 || revoked[0].Session != other.ID.String() || revoked[0].Actor != actorAlice {
			t.Errorf("events: %+v and %+v", changed, revoked)
		}
		who.Except = [16]byte{}
		n, err = b.ChangePassword(t.Context(), who, "hash2", e)
		must(t, err)
		wantEqual(t, n, 1)
		wantEqual(t, b.login(t, alice).UserEpoch, 1)
		got, err := b.Credential(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, got, "hash2")
		_, err = b.ChangePassword(t.Context(), session.Scope{Tenant: "unknown", UserID: alice}, "hash", e)
		wantError(t, err, session.ErrNotFound)
	},
	"a user is kept with grants and credential": func(t *testing.T, b bench, _ engine) {
		u := directory.User{
			ID: "3d1a2b3c-0000-4000-8000-000000000001", Tenant: "diku", Username: "Zoë", Active: true,
			FirstName: "Zoë", LastName: "Müller", Email: "z@example.org", CreatedAt: kept(b.Now().AddDate(-1, 0, 0)),
		}
		g := directory.Grants{Permissions: []string{"b", "a", "b"}, Elevated: []string{"c", "a"}}
		must(t, b.CreateUser(t.Context(), u, g, "hash", audit.Event{Kind: audit.UserCreated, Tenant: "diku"}))
		got, err := b.User(t.Context(), "diku", u.ID)
		must(t, err)
		wantEqual(t, got, u)
		grants, err := b.Grants(t.Context(), "diku", u.ID)
		must(t, err)
		wantEqual(t, grants, directory.Grants{Permissions: []string{"a", "b"}, Elevated: []string{"a", "c"}})
		credential, err := b.Credential(t.Context(), "diku", u.ID)
		must(t, err)
		wantEqual(t, credential, "hash")
		wantEqual(t, b.heard.kinds(), []session.ChangeKind{session.UserChanged})
	},
	"a user without a time of creation gets the store's": func(t *testing.T, b bench, _ engine) {
		got, err := b.User(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, got.CreatedAt, kept(b.Now()))
	},
	"names that a person cannot tell apart are one": func(t *testing.T, b bench, _ engine) {
		for _, name := range []string{"ALICE", "ａｌｉｃｅ", "Alice"} {
			u := directory.User{ID: "3d1a2b3c-0000-4000-8000-000000000001", Tenant: "diku", Username: name}
			err := b.CreateUser(t.Context(), u, directory.Grants{Permissions: []string{"p"}}, "hash", audit.Event{Kind: audit.UserCreated})
			if name == "ａｌｉｃｅ" { // another name: compatibility forms are not folded
				must(t, err)
				must(t, ignore(b.DeleteUser(t.Context(), "diku", u.ID, audit.Event{})))
				continue
			}
			wantError(t, err, directory.ErrExists)
			_, err = b.Credential(t.Context(), "diku", u.ID)
			wantError(t, err, session.ErrNotFound)
		}
		got, err := b.UserByName(t.Context(), "diku", "aLiCe")
		must(t, err)
		wantEqual(t, got.ID, alice)
		_, err = b.UserByName(t.Context(), "diku", "ali\u200bce")
		wantError(t, err, directory.ErrInvalid)
		_, err = b.UserByName(t.Context(), "supertenant", "alice")
		wantError(t, err, directory.ErrNotFound)
		// The same name and id in another tenant are another user.
		must(t, b.CreateUser(t.Context(), directory.User{ID: alice, Tenant: "supertenant", Username: "alice"}, directory.Grants{}, "", audit.Event{}))
		err = b.CreateUser(t.Context(), directory.User{ID: alice, Tenant: "nobody", Username: "alice"}, directory.Grants{}, "", audit.Event{})
		wantError(t, err, directory.ErrNotFound)
	},
	"an update replaces the record and keeps the rest": func(t *testing.T, b bench, _ engine) {
		before, err := b.User(t.Context(), "diku", alice)
		must(t, err)
		s := b.login(t, alice)
		must(t, b.SetGrants(t.Context(), "diku", alice, directory.Grants{Permissions: []string{"p"}}, audit.Event{}))
		b.heard.take()
		u := directory.User{ID: alice, Tenant: "diku", Username: "Alicia", Active: true, Email: "a@example.org"}
		n, err := b.UpdateUser(t.Context(), u, audit.Event{Kind: audit.UserChanged, Tenant: "diku"})
		must(t, err)
		wantEqual(t, n, 0)
		u.CreatedAt = before.CreatedAt
		got, err := b.UserByName(t.Context(), "diku", "alicia")
		must(t, err)
		wantEqual(t, got, u)
		_, err = b.UserByName(t.Context(), "diku", "alice")
		wantError(t, err, directory.ErrNotFound)
		wantEqual(t, b.session(t, s.ID), s)
		grants, err := b.Grants(t.Context(), "diku", alice)
		must(t, err)
		wantEqual(t, grants.Permissions, []string{"p"})
		wantEqual(t, b.heard.kinds(), []session.ChangeKind{session.UserChanged})
		u.Username = "BOB"
		_, err = b.UpdateUser(t.Context(), u, audit.Event{})
		wantError(t, err, directory.ErrExists)
		u.ID = "3d1a2b3c-0000-4000-8000-000000000001"
		_, err = b.UpdateUser(t.Context(), u, audit.Event{})
		wantError(t, err, directory.ErrNotFound, session.ErrNotFound)
	},
	"a user who is deactivated or deleted loses all sessions": func(t *testing.T, b bench, _ engine) {
		must(t, ignore(b.SetCredential(t.Context(), "diku", alice, "", "hash")))
		one, two := b.login(t, alice), b.login(t, alice)
		u := directory.User{ID: alice, Tenant: "diku", Username: "alice"}
		n, err := b.UpdateUser(as(t.Context()), u, audit.Event{Kind: audit.UserDeactivated, Tenant: "diku", UserID: alice})
		must(t, err)
		wantEqual(t, n, 2)
		wantEqual(t, b.session(t, one.ID).RevokedWhy, session.UserDeactivated)
		wantEqual(t, b.session(t, two.ID).RevokedBy, "alice")
		wantEqual(t, len(b.events(t, audit.UserDeactivated)), 1)
		wantEqual(t, len(b.events(t, audit.SessionRevoked)), 2)
		third := b.login(t, alice)
		wantEqual(t, third.UserEpoch, 1)
		n, err = b.DeleteUser(t.Context(), "diku", alice, audit.Event{Kind: audit.UserDeleted, Tenant: "diku", UserID: alice})
		must(t, err)
		wantEqual(t, n, 1)
		wantEqual(t, b.session(t, third.ID).RevokedWhy, session.UserDeleted)
		for _, gone := range []func() error{
			func() error { return ignore(b.User(t.Context(), "diku", alice)) },
			func() error { return ignore(b.Grants(t.Context(), "diku", alice)) },
			func() error { return ignore(b.Credential(t.Context(), "diku", alice)) },
			func() error { return ignore(b.DeleteUser(t.Context(), "diku", alice, audit.Event{})) },
			func() error { return b.SetGrants(t.Context(), "diku", alice, directory.Grants{}, audit.Event{}) },
		} {
			wantError(t, gone(), session.ErrNotFound, directory.ErrNotFound)
		}
	},
	"grants are replaced as a whole": func(t *testing.T, b bench, _ engine) {
		for _, g := range []directory.Grants{
			{Permissions: []string{"a", "b"}, Elevated: []string{}},
			{Permissions: []string{}, Elevated: []string{"b"}},
			{Permissions: []string{}, Elevated: []string{}},
		} {
			must(t, b.SetGrants(t.Context(), "diku", alice, g, audit.Event{Kind: audit.PermissionChanged, Tenant: "diku"}))
			got, err := b.Grants(t.Context(), "diku", alice)
			must(t, err)
			wantEqual(t, got, g)
		}
		wantEqual(t, len(b.events(t, audit.PermissionChanged)), 3)
	},
	"users are listed by name": func(t *testing.T, b bench, _ engine) {
		var got []string
		for after := ""; ; {
			page, err := b.ListUsers(t.Context(), "diku", after, 1)
			must(t, err)
			if len(page) == 0 {
				break
			}
			after = page[0].Username
			got = append(got, after)
		}
		wantEqual(t, got, []string{"alice", "bob"})
	},
}

func ignore[T any](_ T, err error) error { return err }
