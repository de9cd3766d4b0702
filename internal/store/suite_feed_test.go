package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

var feedTests = map[string]func(*testing.T, bench, engine){
	"changes are numbered in the order of their commits, across restarts": func(t *testing.T, b bench, e engine) {
		var group sync.WaitGroup
		for range 20 {
			s := b.login(t, alice)
			group.Go(func() { _ = b.UpdateSession(context.Background(), s.ID, revoke) })
		}
		group.Wait()
		heard := b.heard.take()
		wantEqual(t, len(heard), 20)
		for i, c := range heard {
			wantEqual(t, c.Seq, heard[0].Seq+uint64(i))
			if c.At.IsZero() {
				t.Error("a change without a time")
			}
		}
		again := bench{DB: e.reopen(t, b.DB, b.Now), clock: b.clock, heard: &recorder{}}
		again.OnChange(again.heard.listen)
		must(t, again.UpdateSession(t.Context(), again.login(t, alice).ID, revoke))
		wantEqual(t, again.heard.take()[0].Seq, heard[19].Seq+1)
	},
	"listeners run after the commit and before the acknowledgement": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		acknowledged := make(chan struct{})
		heard := make(chan bool, 2)
		b.OnChange(func(changes []session.Change) {
			if !slices.ContainsFunc(changes, func(c session.Change) bool { return c.Session == s.ID }) {
				return // what came before, told to whoever registers late
			}
			row, err := b.Session(context.Background(), s.ID)
			select {
			case <-acknowledged:
				heard <- false
			default:
				heard <- err == nil && !row.RevokedAt.IsZero()
			}
		})
		must(t, b.UpdateSession(t.Context(), s.ID, revoke))
		close(acknowledged)
		if !<-heard {
			t.Fatal("the listener ran too early or too late")
		}
	},
	"nothing is heard of what was refused": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		err := b.UpdateSession(t.Context(), s.ID, func(now time.Time, row *session.Session) session.Effects {
			row.Secret[0]++
			return revoke(now, row)
		})
		if err == nil {
			t.Fatal("the secret was changed")
		}
		wantEqual(t, len(b.heard.take()), 0)
	},
	"epochs of tenants are told whenever they moved, those of users if lately": func(t *testing.T, b bench, e engine) {
		end := func(who session.Scope) {
			_, err := b.EndSessions(t.Context(), who, session.RevokedByAdmin, audit.Event{Kind: audit.SessionRevoked})
			must(t, err)
		}
		end(session.Scope{Tenant: "diku"})
		end(session.Scope{Tenant: "diku", UserID: alice})
		first := kept(b.Now())
		b.advance(time.Hour)
		second := kept(b.Now())
		end(session.Scope{Tenant: "diku", UserID: bob})
		end(session.Scope{Tenant: "diku", UserID: bob})
		epochs, err := e.reopen(t, b.DB, b.Now).Epochs(t.Context(), second)
		must(t, err)
		wantEqual(t, epochs, []session.Change{
			{Kind: session.EpochMoved, Tenant: "diku", Epoch: 1, At: first},
			{Kind: session.EpochMoved, Tenant: "diku", UserID: bob, Epoch: 2, At: second},
		})
	},
	"every change has its kind": func(t *testing.T, b bench, _ engine) {
		ctx, e := t.Context(), audit.Event{Kind: audit.TenantChanged}
		set := directory.PermissionSet{Name: "orders.all"}
		timeout := session.Duration(time.Minute)
		for _, step := range []struct {
			do   func() error
			want []session.ChangeKind
		}{
			{func() error { return b.CreateTenant(ctx, directory.Tenant{ID: "t2"}, e) }, []session.ChangeKind{session.TenantsChanged}},
			{func() error { return b.UpdateTenant(ctx, directory.Tenant{ID: "t2", Name: "x"}, e) }, []session.ChangeKind{session.TenantsChanged}},
			{func() error { return b.DeleteTenant(ctx, "t2", e) }, []session.ChangeKind{
				session.EpochMoved, session.TenantsChanged, session.PermissionsChanged, session.PoliciesChanged, session.ModulesChanged,
			}},
			{func() error { return b.SetGrants(ctx, "diku", alice, directory.Grants{}, e) }, []session.ChangeKind{session.UserChanged}},
			{func() error { return b.SavePermissionSet(ctx, "diku", set, e) }, []session.ChangeKind{session.PermissionsChanged}},
			{func() error { return b.DeletePermissionSet(ctx, "diku", set.Name, e) }, []session.ChangeKind{session.PermissionsChanged}},
			{func() error {
				return b.SavePolicy(ctx, session.PolicyOverride{Tenant: "diku", Scope: "tenant", Patch: session.PolicyPatch{Idle: &timeout}}, e)
			}, []session.ChangeKind{session.PoliciesChanged}},
			{func() error { return b.SaveKeys(ctx, someKeys()) }, []session.ChangeKind{session.KeysChanged}},
			{func() error { return b.SaveModules(ctx, e, directory.Module{ID: "mod-a-1.0.0"}) }, []session.ChangeKind{session.ModulesChanged}},
			{func() error { return b.Enable(ctx, "diku", "mod-a-1.0.0", "", nil, e) }, []session.ChangeKind{session.PermissionsChanged, session.ModulesChanged}},
			{func() error {
				return b.SaveTimer(ctx, directory.Timer{Tenant: "diku", ID: "mod-a_0", Unit: "day", Delay: 1}, e)
			}, []session.ChangeKind{session.ModulesChanged}},
			{func() error { return b.ResetTimer(ctx, "diku", "mod-a_0", e) }, []session.ChangeKind{session.ModulesChanged}},
			{func() error { return b.Disable(ctx, "diku", "mod-a-1.0.0", e) }, []session.ChangeKind{session.PermissionsChanged, session.ModulesChanged}},
			{func() error { return b.DeleteModule(ctx, "mod-a-1.0.0", e) }, []session.ChangeKind{session.ModulesChanged}},
			{func() error { return b.SaveInstance(ctx, directory.Instance{ID: "i", Module: "m"}, e) }, []session.ChangeKind{session.ModulesChanged}},
			{func() error { _, err := b.DeleteInstances(ctx, "m", "", e); return err }, []session.ChangeKind{session.ModulesChanged}},
			{func() error { _, err := b.DeleteUser(ctx, "diku", bob, e); return err }, []session.ChangeKind{session.UserChanged, session.EpochMoved}},
			{func() error { return b.Forget(ctx, "diku", alice, e) }, []session.ChangeKind{session.UserChanged}},
			{func() error { return b.Forget(ctx, "diku", "", e) }, []session.ChangeKind{session.PermissionsChanged}},
			{func() error { return b.AppendEvents(ctx, e) }, nil},
		} {
			must(t, step.do())
			wantEqual(t, b.heard.kinds(), step.want)
		}
	},
}

var clusterTests = map[string]func(*testing.T, bench, engine){
	"one node is a cluster, and has heard itself": func(t *testing.T, b bench, _ engine) {
		must(t, b.UpdateSession(t.Context(), b.login(t, alice).ID, revoke))
		seq := b.heard.take()[0].Seq
		reach, err := b.Await(t.Context())
		must(t, err)
		wantEqual(t, []int{reach.Reached, reach.Live}, []int{1, 1})
		nodes, err := b.Nodes(t.Context())
		must(t, err)
		if len(nodes) != 1 || !nodes[0].Self || nodes[0].ID == "" || nodes[0].Applied != seq || nodes[0].Started.IsZero() {
			t.Errorf("%+v, the change has number %d", nodes, seq)
		}
		wantEqual(t, b.DB.Now().Truncate(time.Microsecond), kept(b.Now()))
		wantEqual(t, kept(b.HeardAt()), kept(b.Now()))
	},
	"what is stored until when is told, and never less": func(t *testing.T, b bench, _ engine) {
		at := kept(b.Now().Add(time.Minute))
		must(t, b.Flushed(t.Context(), at))
		must(t, b.Flushed(t.Context(), at.Add(-time.Hour)))
		wantEqual(t, b.FlushedAt(), at)
		nodes, err := b.Nodes(t.Context())
		must(t, err)
		wantEqual(t, nodes[0].FlushedAt, at)
	},
}

var groupTests = map[string]func(*testing.T, bench, engine){
	"a caller who left before the decision leaves no trace": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		ctx, leave := context.WithCancel(t.Context())
		release := b.holdWriter(t)
		done := make(chan error)
		go func() {
			done <- b.UpdateSession(ctx, s.ID, func(now time.Time, row *session.Session) session.Effects {
				t.Error("decided for nobody")
				return rotate(now, row)
			})
		}()
		leave()
		wantError(t, <-done, context.Canceled)
		release()
		wantEqual(t, b.session(t, s.ID), s)
	},
	"a caller who had left already leaves no trace": func(t *testing.T, b bench, _ engine) {
		ctx, leave := context.WithCancel(t.Context())
		leave()
		s := newSession("diku", alice, b.Now())
		wantError(t, b.CreateSession(ctx, s, 0), context.Canceled)
		_, err := b.Session(ctx, s.ID)
		wantError(t, err, context.Canceled)
		_, err = b.Session(t.Context(), s.ID)
		wantError(t, err, session.ErrNotFound)
	},
	"a caller who leaves after the decision hears of the commit": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		ctx, leave := context.WithCancel(t.Context())
		must(t, b.UpdateSession(ctx, s.ID, func(now time.Time, row *session.Session) session.Effects {
			leave()
			return rotate(now, row)
		}))
		wantEqual(t, b.session(t, s.ID).Gen, 2)
	},
	"one operation's failure does not harm its neighbours": func(t *testing.T, b bench, _ engine) {
		e := audit.Event{Kind: "half-way", Tenant: "diku"}
		must(t, b.SaveModules(t.Context(), audit.Event{}, directory.Module{ID: "mod-a-1.0.0"}))
		must(t, b.Enable(t.Context(), "diku", "mod-a-1.0.0", "", nil, audit.Event{}))
		release := b.holdWriter(t)
		var group sync.WaitGroup
		var good []*session.Session
		for i := range 30 {
			s := newSession("diku", alice, b.Now())
			good = append(good, s)
			group.Go(func() {
				if err := b.CreateSession(context.Background(), s, 0, audit.Event{Kind: audit.Login, Tenant: "diku", Session: s.ID.String()}); err != nil {
					t.Errorf("neighbour: %v", err)
				}
			})
			group.Go(func() {
				u := directory.User{ID: alice, Tenant: "diku", Username: "someone else"}
				if err := b.CreateUser(context.Background(), u, directory.Grants{}, "", audit.Event{}); !errors.Is(err, directory.ErrExists) {
					t.Errorf("taken id: %v", err)
				}
			})
			if i == 15 {
				group.Go(func() {
					// The old module is out before it shows that there is no new one.
					err := b.Enable(context.Background(), "diku", "mod-none-1.0.0", "mod-a-1.0.0", nil, e)
					if !errors.Is(err, directory.ErrNotFound) {
						t.Errorf("failed half-way: %v", err)
					}
				})
			}
		}
		release()
		group.Wait()
		for _, s := range good {
			b.session(t, s.ID)
		}
		wantEqual(t, len(b.events(t, audit.Login)), 30)
		wantEqual(t, len(b.events(t, audit.UserCreated)), 2)
		wantEqual(t, len(b.events(t, "half-way")), 0)
		enabled, err := b.Enabled(t.Context())
		must(t, err)
		wantEqual(t, enabled, []directory.Enabled{{Tenant: "diku", Module: "mod-a-1.0.0"}})
	},
	"a panic in decide is its caller's alone": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		func() {
			defer func() { wantEqual(t, recover(), any("oh")) }()
			_ = b.UpdateSession(t.Context(), s.ID, func(time.Time, *session.Session) session.Effects { panic("oh") })
			t.Error("the panic was lost")
		}()
		must(t, b.UpdateSession(t.Context(), s.ID, rotate))
	},
	"Close finishes what waits and refuses what comes": func(t *testing.T, b bench, e engine) {
		s := b.login(t, alice)
		release := b.holdWriter(t)
		waiting := make(chan error)
		running := make(chan struct{})
		go func() {
			close(running)
			waiting <- b.UpdateSession(context.Background(), s.ID, rotate)
		}()
		<-running
		closed := make(chan error)
		go func() { closed <- b.Close() }()
		release()
		finished := <-waiting
		must(t, <-closed)
		must(t, b.Close())
		if finished != nil {
			wantError(t, finished, session.ErrUnavailable) // it came after Close
		}
		wantError(t, b.UpdateSession(t.Context(), s.ID, rotate), session.ErrUnavailable)
		_, err := b.Session(t.Context(), s.ID)
		wantError(t, err, session.ErrUnavailable)
		again, err := e.reopen(t, b.DB, b.Now).Session(t.Context(), s.ID)
		must(t, err)
		if (finished == nil) != (again.Gen == 2) {
			t.Errorf("acknowledged with %v, generation %d", finished, again.Gen)
		}
	},
}

// holdWriter keeps everybody waiting who wants to write, until release.
func (b bench) holdWriter(t *testing.T) (release func()) {
	t.Helper()
	s := b.login(t, bob)
	held, done := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(held); <-done })
	var group sync.WaitGroup
	group.Go(func() {
		err := b.UpdateSession(context.Background(), s.ID, func(time.Time, *session.Session) session.Effects {
			hold()
			return session.Effects{}
		})
		check(t, err)
	})
	<-held
	return func() {
		close(done)
		group.Wait()
	}
}
