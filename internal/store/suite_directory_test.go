package store

import (
	"errors"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var directoryTests = map[string]func(*testing.T, bench, engine){
	"the supertenant always exists": func(t *testing.T, b bench, _ engine) {
		wantError(t, b.DeleteTenant(t.Context(), directory.SuperTenant, audit.Event{}), directory.ErrInvalid)
		wantEqual(t, tenants(t, b), []string{"diku", directory.SuperTenant})
	},
	"tenants are created, changed and listed": func(t *testing.T, b bench, _ engine) {
		one := directory.Tenant{ID: "diku2", Name: "n", Description: "d"}
		must(t, b.CreateTenant(t.Context(), one, audit.Event{Kind: audit.TenantCreated, Tenant: "diku2"}))
		wantError(t, b.CreateTenant(t.Context(), one, audit.Event{}), directory.ErrExists)
		must(t, b.CreateTenant(t.Context(), directory.Tenant{ID: "DIKU"}, audit.Event{})) // case counts
		one.Name = "other"
		must(t, b.UpdateTenant(t.Context(), one, audit.Event{Kind: audit.TenantChanged, Tenant: "diku2"}))
		wantError(t, b.UpdateTenant(t.Context(), directory.Tenant{ID: "none"}, audit.Event{}), directory.ErrNotFound)
		list, err := b.Tenants(t.Context())
		must(t, err)
		one.CreatedAt = kept(b.Now())
		wantEqual(t, list[2], one)
		wantEqual(t, tenants(t, b), []string{"DIKU", "diku", "diku2", directory.SuperTenant})
	},
	"a deleted tenant takes all along, and its sessions": func(t *testing.T, b bench, _ engine) {
		ctx, e, idle := t.Context(), audit.Event{Kind: audit.TenantDeleted, Tenant: "diku"}, session.Duration(time.Hour)
		s := b.login(t, alice)
		must(t, ignore(b.SetCredential(ctx, "diku", alice, "", "hash")))
		must(t, b.SetGrants(ctx, "diku", alice, directory.Grants{Permissions: []string{"p"}}, e))
		must(t, b.SaveModules(ctx, e, directory.Module{ID: "mod-a-1.0.0"}))
		must(t, b.Enable(ctx, "diku", "mod-a-1.0.0", "", []directory.PermissionSet{{Name: "a.get"}}, e))
		must(t, b.SavePolicy(ctx, session.PolicyOverride{Tenant: "diku", Scope: "tenant", Patch: session.PolicyPatch{Idle: &idle}}, e))
		must(t, b.SaveTimer(ctx, directory.Timer{Tenant: "diku", ID: "mod-a_0", Unit: "day", Delay: 1}, e))
		must(t, b.DeleteTenant(ctx, "diku", e))
		wantError(t, b.DeleteTenant(ctx, "diku", e), directory.ErrNotFound)

		// One that comes back under the same id finds nothing of the old.
		must(t, b.CreateTenant(ctx, directory.Tenant{ID: "diku"}, e))
		wantError(t, ignore(b.User(ctx, "diku", alice)), directory.ErrNotFound)
		wantError(t, ignore(b.Credential(ctx, "diku", alice)), session.ErrNotFound)
		must(t, b.CreateUser(ctx, directory.User{ID: alice, Tenant: "diku", Username: "alice"}, directory.Grants{}, "", e))
		grants, err := b.Grants(ctx, "diku", alice)
		must(t, err)
		wantEqual(t, len(grants.Permissions), 0)
		for what, count := range map[string]func() (int, error){
			"permission sets": func() (int, error) { l, err := b.PermissionSets(ctx, "diku"); return len(l), err },
			"enabled modules": func() (int, error) { l, err := b.Enabled(ctx); return len(l), err },
			"timers":          func() (int, error) { l, err := b.Timers(ctx); return len(l), err },
			"policies":        func() (int, error) { l, err := b.Policies(ctx); return len(l), err },
			"live sessions": func() (int, error) {
				p, err := b.ListSessions(ctx, session.Filter{Tenant: "diku", Live: true})
				return len(p.Sessions), err
			},
		} {
			if n, err := count(); n != 0 || err != nil {
				t.Errorf("%d %s left, %v", n, what, err)
			}
		}
		modules, err := b.Modules(ctx)
		must(t, err)
		wantEqual(t, len(modules), 1)
		if b.login(t, alice).TenantEpoch <= s.TenantEpoch {
			t.Error("the epoch did not move, so the old sessions live again")
		}
	},
	"permission sets of operators and modules stand side by side": func(t *testing.T, b bench, _ engine) {
		ctx, e := t.Context(), audit.Event{Kind: audit.PermissionChanged, Tenant: "diku"}
		own := directory.PermissionSet{Name: "orders.all", DisplayName: "d", Description: "e", Sub: []string{"z", "a"}, ElevatedOnly: true}
		must(t, b.SavePermissionSet(ctx, "diku", directory.PermissionSet{Name: "orders.all", Module: "not from here"}, e))
		must(t, b.SavePermissionSet(ctx, "diku", own, e))
		must(t, b.SaveModules(ctx, e, directory.Module{ID: "mod-a-1.0.0"}, directory.Module{ID: "mod-a-2.0.0"}))
		sets := []directory.PermissionSet{{Name: "orders.all"}, {Name: "a.get"}}
		must(t, b.Enable(ctx, "diku", "mod-a-1.0.0", "", sets, e))
		wantEqual(t, permissionSets(t, b), []string{"mod-a-1.0.0 a.get", " orders.all", "mod-a-1.0.0 orders.all"})
		list, err := b.PermissionSets(ctx, "diku")
		must(t, err)
		wantEqual(t, list[1], own)

		must(t, b.Enable(ctx, "diku", "mod-a-2.0.0", "mod-a-1.0.0", sets[1:], e))
		wantEqual(t, permissionSets(t, b), []string{"mod-a-2.0.0 a.get", " orders.all"})
		must(t, b.Enable(ctx, "diku", "mod-a-2.0.0", "mod-a-2.0.0", sets[:1], e)) // announced again
		wantEqual(t, permissionSets(t, b), []string{" orders.all", "mod-a-2.0.0 orders.all"})
		must(t, b.Disable(ctx, "diku", "mod-a-2.0.0", e))
		must(t, b.DeletePermissionSet(ctx, "diku", "orders.all", e))
		wantEqual(t, permissionSets(t, b), nil)
		wantError(t, b.DeletePermissionSet(ctx, "diku", "orders.all", e), directory.ErrNotFound)
		wantError(t, b.SavePermissionSet(ctx, "unknown", own, e), directory.ErrNotFound)
	},
	"modules are registered, used and deleted": func(t *testing.T, b bench, _ engine) {
		ctx, e := t.Context(), audit.Event{Kind: audit.ModuleChanged, Tenant: "diku"}
		must(t, b.SaveModules(ctx, e, directory.Module{ID: "mod-b-1.0.0", Descriptor: []byte("{}")}, directory.Module{ID: "mod-a-1.0.0", Descriptor: []byte{}}))
		must(t, b.SaveModules(ctx, e, directory.Module{ID: "mod-b-1.0.0", Descriptor: []byte(`{"id":1}`)}))
		modules, err := b.Modules(ctx)
		must(t, err)
		wantEqual(t, modules, []directory.Module{{ID: "mod-a-1.0.0", Descriptor: []byte{}}, {ID: "mod-b-1.0.0", Descriptor: []byte(`{"id":1}`)}})
		must(t, b.Enable(ctx, "diku", "mod-b-1.0.0", "", nil, e))
		must(t, b.Enable(ctx, "diku", "mod-b-1.0.0", "", nil, e))
		enabled, err := b.Enabled(ctx)
		must(t, err)
		wantEqual(t, enabled, []directory.Enabled{{Tenant: "diku", Module: "mod-b-1.0.0"}})
		wantError(t, b.DeleteModule(ctx, "mod-b-1.0.0", e), directory.ErrInvalid)
		wantError(t, b.DeleteModule(ctx, "mod-none-1.0.0", e), directory.ErrNotFound)
		wantError(t, b.Enable(ctx, "diku", "mod-none-1.0.0", "", nil, e), directory.ErrNotFound)
		wantError(t, b.Enable(ctx, "unknown", "mod-b-1.0.0", "", nil, e), directory.ErrNotFound)
		wantError(t, b.Enable(ctx, "diku", "mod-a-1.0.0", "mod-none-1.0.0", nil, e), directory.ErrNotFound)
		wantError(t, b.Disable(ctx, "diku", "mod-a-1.0.0", e), directory.ErrNotFound)
		must(t, b.Disable(ctx, "diku", "mod-b-1.0.0", e))
		must(t, b.DeleteModule(ctx, "mod-b-1.0.0", e))
	},
	"timers are changed and reset": func(t *testing.T, b bench, _ engine) {
		ctx, e := t.Context(), audit.Event{Kind: audit.ModuleChanged, Tenant: "diku"}
		one := directory.Timer{Tenant: "diku", ID: "mod-a_0", Unit: "minute", Delay: 5}
		two := directory.Timer{Tenant: "diku", ID: "mod-a_1", Unit: "second"}
		must(t, b.SaveTimer(ctx, two, e))
		must(t, b.SaveTimer(ctx, directory.Timer{Tenant: "diku", ID: "mod-a_0", Unit: "day", Delay: 1}, e))
		must(t, b.SaveTimer(ctx, one, e))
		list, err := b.Timers(ctx)
		must(t, err)
		wantEqual(t, list, []directory.Timer{one, two})
		must(t, b.ResetTimer(ctx, "diku", "mod-a_0", e))
		must(t, b.ResetTimer(ctx, "diku", "mod-none_0", e))
		wantError(t, b.SaveTimer(ctx, directory.Timer{Tenant: "unknown", ID: "mod-a_0", Unit: "day"}, e), directory.ErrNotFound)
		list, err = b.Timers(ctx)
		must(t, err)
		wantEqual(t, list, []directory.Timer{two})
	},
	"instances have ids of their own": func(t *testing.T, b bench, _ engine) {
		ctx, e := t.Context(), audit.Event{Kind: audit.ModuleChanged}
		one := directory.Instance{ID: "i1", Module: "mod-a-1.0.0", URL: "http://localhost:1"}
		two := directory.Instance{ID: "i2", Module: "mod-a-1.0.0", URL: "http://localhost:2"}
		three := directory.Instance{ID: "i3", Module: "mod-b-1.0.0", URL: "http://localhost:3"}
		for _, i := range []directory.Instance{three, one, two} {
			must(t, b.SaveInstance(ctx, i, e))
		}
		wantError(t, b.SaveInstance(ctx, directory.Instance{ID: "i1", Module: "mod-b-1.0.0"}, e), directory.ErrExists)
		list, err := b.Instances(ctx)
		must(t, err)
		wantEqual(t, list, []directory.Instance{one, two, three})
		wantError(t, ignore(b.DeleteInstances(ctx, "mod-a-1.0.0", "i3", e)), directory.ErrNotFound)
		for _, c := range []struct {
			module, id string
			want       int
		}{{"mod-b-1.0.0", "i3", 1}, {"mod-a-1.0.0", "", 2}} {
			n, err := b.DeleteInstances(ctx, c.module, c.id, e)
			must(t, err)
			wantEqual(t, n, c.want)
		}
	},
}

var recordTests = map[string]func(*testing.T, bench, engine){
	"policies are replaced by scope and name, an empty one deletes": func(t *testing.T, b bench, _ engine) {
		ctx, e := t.Context(), audit.Event{Kind: audit.PolicyChanged, Tenant: "diku"}
		idle, zero, no := session.Duration(90*time.Minute), 0, false
		one := session.PolicyOverride{Tenant: "diku", Scope: "tenant", Patch: session.PolicyPatch{Idle: &idle}}
		two := session.PolicyOverride{Tenant: "diku", Scope: "user", Name: alice, Patch: session.PolicyPatch{LateBudget: &zero, Strict: &no}}
		must(t, b.SavePolicy(ctx, one, e))
		must(t, b.SavePolicy(ctx, two, e))
		idle = session.Duration(time.Second)
		must(t, b.SavePolicy(ctx, one, e))
		got, err := b.Policies(ctx)
		must(t, err)
		wantEqual(t, got, []session.PolicyOverride{one, two})
		must(t, b.SavePolicy(ctx, session.PolicyOverride{Tenant: "diku", Scope: "tenant"}, e))
		got, err = b.Policies(ctx)
		must(t, err)
		wantEqual(t, got, []session.PolicyOverride{two})
		wantEqual(t, len(b.events(t, audit.PolicyChanged)), 4)
		one.Tenant = "unknown"
		wantError(t, b.SavePolicy(ctx, one, e), session.ErrNotFound)
	},
	"keys are replaced by purpose and id, with an event each": func(t *testing.T, b bench, _ engine) {
		keys := someKeys()
		must(t, b.SaveKeys(as(t.Context()), keys))
		keys[1].State, keys[1].Wrapped, keys[1].RemovedAt = token.StateRemoved, nil, kept(b.Now())
		must(t, b.SaveKeys(t.Context(), keys[1:2]))
		got, err := b.Keys(t.Context())
		must(t, err)
		wantEqual(t, got, keys)
		events, err := b.Events(t.Context(), session.EventFilter{Kind: audit.KeyChanged})
		must(t, err)
		wantEqual(t, len(events), 4)
		wantEqual(t, events[0].Detail, map[string]string{"purpose": "access", "key": "k2", "state": token.StateRemoved})
		wantEqual(t, events[3].Actor, actorAlice)
	},
	"a key goes forward only, and no other takes its place": func(t *testing.T, b bench, _ engine) {
		stale := someKeys()
		must(t, b.SaveKeys(t.Context(), stale))
		removed := someKeys()[1]
		removed.State, removed.Wrapped, removed.RemovedAt = token.StateRemoved, nil, kept(b.Now())
		must(t, b.SaveKeys(t.Context(), []token.StoredKey{removed}))
		must(t, b.SaveKeys(t.Context(), []token.StoredKey{removed})) // two nodes that do the same
		back, other := stale[0], stale[2]
		back.State, back.ActivatedAt = token.StatePending, time.Time{}
		other.Wrapped = []byte("of another key that got the same id")
		fresh := token.StoredKey{Purpose: "access", ID: "k3", State: token.StatePending, Algorithm: "EdDSA", Wrapped: []byte("w"), CreatedAt: kept(b.Now())}
		for what, keys := range map[string][]token.StoredKey{
			"a node that has not heard of the removal": {fresh, stale[1]},
			"an active key that is pending again":      {fresh, back},
			"another key of the same id":               {fresh, other},
		} {
			if err := b.SaveKeys(t.Context(), keys); !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
		got, err := b.Keys(t.Context())
		must(t, err)
		wantEqual(t, got, []token.StoredKey{stale[0], removed, stale[2]})
		// The number of a key that was removed is free for another.
		again := removed
		again.State, again.Wrapped, again.CreatedAt, again.RemovedAt = token.StateActive, []byte("new"), removed.CreatedAt.Add(time.Hour), time.Time{}
		must(t, b.SaveKeys(t.Context(), []token.StoredKey{again}))
	},
	"what was acknowledged is there after a restart": func(t *testing.T, b bench, e engine) {
		one, two := b.login(t, alice), b.login(t, alice)
		must(t, b.UpdateSession(t.Context(), one.ID, rotate))
		must(t, b.UpdateSession(t.Context(), two.ID, revoke))
		want := []*session.Session{b.session(t, one.ID), b.session(t, two.ID)}
		events := b.events(t, "")
		b.DB = e.reopen(t, b.DB, b.Now)
		wantEqual(t, []*session.Session{b.session(t, one.ID), b.session(t, two.ID)}, want)
		wantEqual(t, b.events(t, ""), events)
		wantEqual(t, tenants(t, b), []string{"diku", directory.SuperTenant})
	},
}

func someKeys() []token.StoredKey {
	at := time.Date(2026, 11, 1, 0, 0, 0, int(time.Millisecond), time.UTC)
	return []token.StoredKey{
		{Purpose: "access", ID: "k1", State: token.StateActive, Algorithm: "EdDSA", Public: []byte("public"), Wrapped: []byte("wrapped one"), CreatedAt: at, ActivatedAt: at},
		{Purpose: "access", ID: "k2", State: token.StateRetired, Algorithm: "EdDSA", Public: []byte("public"), Wrapped: []byte("wrapped two"), CreatedAt: at, ActivatedAt: at, RetiredAt: at},
		{Purpose: "module", ID: "k1", State: token.StateActive, Algorithm: "HS256", Wrapped: []byte("wrapped three"), CreatedAt: at.Add(time.Hour), ActivatedAt: at},
	}
}

func tenants(t *testing.T, b bench) (ids []string) {
	t.Helper()
	list, err := b.Tenants(t.Context())
	must(t, err)
	for _, one := range list {
		ids = append(ids, one.ID)
	}
	return ids
}

func permissionSets(t *testing.T, b bench) (names []string) {
	t.Helper()
	list, err := b.PermissionSets(t.Context(), "diku")
	must(t, err)
	for _, one := range list {
		names = append(names, one.Module+" "+one.Name)
	}
	return names
}
