package directory

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTenantsAreInMemoryAndReloaded(t *testing.T) {
	lib := newLibrary("diku", "other")
	c, _ := newCache(t, &Cache{Source: lib})
	if got, ok := c.Tenant("diku"); !ok || got.Name != "library diku" {
		t.Fatalf("Tenant = %+v, %v", got, ok)
	}
	if _, ok := c.Tenant("Diku"); ok {
		t.Error("a tenant that is not there")
	}
	lib.change(func() { lib.tenants = []Tenant{{ID: "diku", Name: "renamed"}, {ID: "new"}} })
	if err := c.ReloadTenants(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _ := c.Tenant("diku")
	_, added := c.Tenant("new")
	_, gone := c.Tenant("other")
	if got.Name != "renamed" || !added || gone {
		t.Errorf("renamed %q, added %v, gone still there %v", got.Name, added, gone)
	}
	lib.change(func() { lib.failing = errors.New("away") })
	if err := c.ReloadTenants(t.Context()); !errors.Is(err, lib.failing) {
		t.Errorf("ReloadTenants = %v", err)
	}
	if _, ok := c.Tenant("new"); !ok {
		t.Error("a failed reload lost the tenants")
	}
	if n := lib.count("sets"); n != 0 {
		t.Errorf("permission sets were read %d times before anybody asked", n)
	}
}

func TestLoadFailsWithTheSource(t *testing.T) {
	lib := newLibrary()
	lib.failing = errors.New("away")
	if err := (&Cache{Source: lib}).Load(t.Context()); !errors.Is(err, lib.failing) {
		t.Errorf("Load = %v", err)
	}
	if err := (&Cache{Source: newLibrary(), Size: -1}).Load(t.Context()); err == nil {
		t.Error("a negative size passed")
	}
}

func TestElevatedOnlyHasNoEffectInOrdinaryTokens(t *testing.T) {
	lib := newLibrary("diku")
	lib.sets["diku"] = []PermissionSet{
		{Name: "staff", Sub: []string{"read", "admin", "shared"}},
		{Name: "admin", Sub: []string{"purge", "shared", "admin.deep"}, ElevatedOnly: true},
		{Name: "admin.deep", Sub: []string{"purge.all"}, ElevatedOnly: true},
		{Name: "wipe", ElevatedOnly: true},
		{Name: "read"},
		{Name: "undo", Sub: []string{"undo.item"}},
	}
	for name, c := range map[string]struct {
		grants             Grants
		ordinary, elevated string
	}{
		"nothing":                {},
		"plain":                  {Grants{Permissions: []string{"read", "undefined"}}, "read undefined", ""},
		"elevated-only directly": {Grants{Permissions: []string{"wipe"}}, "", "wipe"},
		"elevated-only in a set": {
			Grants{Permissions: []string{"staff"}},
			"read shared staff", "admin admin.deep purge purge.all shared",
		},
		"granted as elevated": {
			Grants{Permissions: []string{"read"}, Elevated: []string{"undo", "undefined"}},
			"read", "undefined undo undo.item",
		},
		"granted both ways":    {Grants{Permissions: []string{"undo"}, Elevated: []string{"undo"}}, "undo undo.item", "undo undo.item"},
		"reached both ways":    {Grants{Permissions: []string{"admin", "purge"}}, "purge", "admin admin.deep purge purge.all shared"},
		"elevated-only raised": {Grants{Elevated: []string{"staff"}}, "", "admin admin.deep purge purge.all read shared staff"},
	} {
		lib.user("diku", name)
		lib.change(func() { lib.grants[userKey{"diku", name}] = c.grants })
		cache, _ := newCache(t, &Cache{Source: lib})
		a := access(t, cache, "diku", name)
		if diff := cmp.Diff(c.ordinary, strings.Join(a.Ordinary.Names(), " ")); diff != "" {
			t.Errorf("%s, ordinary: %s", name, diff)
		}
		if diff := cmp.Diff(c.elevated, strings.Join(a.Elevated.Names(), " ")); diff != "" {
			t.Errorf("%s, elevated: %s", name, diff)
		}
	}
}

// TestOrdinaryIsTheClosureWithoutElevatedOnly compares with the definition:
// the elevated-only sets are cut out before anything is followed.
func TestOrdinaryIsTheClosureWithoutElevatedOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		defs := graph(t, "defs")
		granted := rapid.SliceOf(rapid.SampledFrom(strings.Fields("a c e g x"))).Draw(t, "granted")
		var list []PermissionSet
		barred := make(map[string]bool)
		for name, set := range defs {
			set.ElevatedOnly = rapid.Bool().Draw(t, "barred "+name)
			barred[name] = set.ElevatedOnly
			list = append(list, set)
		}
		allowed := func(names []string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return barred[n] })
		}
		cut := make(map[string]PermissionSet)
		for _, set := range list {
			cut[set.Name] = PermissionSet{Sub: allowed(set.Sub)}
		}
		ordinary, elevatedOnly := define(list).ordinary(granted)
		want := naive(cut, allowed(granted))
		if diff := cmp.Diff(append([]string{}, want...), append([]string{}, ordinary.Names()...)); diff != "" {
			t.Fatal(diff)
		}
		// Nothing is lost: what is not ordinary is reached through what was
		// met on the way.
		all := naive(defs, granted)
		for _, name := range all {
			if !ordinary.Has(name) && !slices.Contains(naive(defs, elevatedOnly), name) {
				t.Fatalf("%q is neither ordinary nor elevated", name)
			}
		}
		for _, name := range elevatedOnly {
			if !barred[name] || !slices.Contains(all, name) {
				t.Fatalf("%q was not granted as elevated-only", name)
			}
		}
	})
}

func TestT8UsersOfOneTenantNeverAppearInAnother(t *testing.T) {
	const id = "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a9d10"
	lib := newLibrary("diku", "dik", "other")
	lib.sets["other"] = []PermissionSet{{Name: "staff", Sub: []string{"purge"}}}
	lib.user("diku", id, "staff")
	lib.user("other", id, "staff", "loans")
	lib.user("dik", "u"+id, "dik.only")
	c, _ := newCache(t, &Cache{Source: lib})
	for range 2 { // once from the source and once from memory
		mine, theirs := access(t, c, "diku", id), access(t, c, "other", id)
		if mine.User.Tenant != "diku" || mine.Ordinary.Has("loans") || mine.Ordinary.Has("purge") {
			t.Errorf("diku's user has %v of %q", mine.Ordinary.Names(), mine.User.Tenant)
		}
		if theirs.User.Tenant != "other" || !theirs.Ordinary.Has("purge") {
			t.Errorf("other's user has %v of %q", theirs.Ordinary.Names(), theirs.User.Tenant)
		}
		if a := access(t, c, "dik", "u"+id); !a.Ordinary.Has("dik.only") {
			t.Errorf("dik's user has %v", a.Ordinary.Names())
		}
		for _, tenant := range []string{"dik", "", "diku\x00", "nowhere"} {
			if a, err := c.Access(t.Context(), tenant, id); !errors.Is(err, ErrNotFound) {
				t.Errorf("in tenant %q: %+v, %v", tenant, a, err)
			}
		}
	}
	c.ForgetUser("other", id)
	if _, ok := c.Cached("diku", id); !ok {
		t.Error("forgetting other's user forgot diku's")
	}
	c.ForgetPermissions("other")
	if _, ok := c.Cached("diku", id); !ok {
		t.Error("forgetting other's permissions forgot diku's user")
	}
}

func TestT8AnswerAboutAnotherUserIsRefused(t *testing.T) {
	lib := newLibrary("diku", "other")
	for _, wrong := range []User{
		{ID: "u1", Tenant: "other", Active: true},
		{ID: "u2", Tenant: "diku", Active: true},
		{ID: "u1", Active: true},
	} {
		lib.change(func() { lib.users[userKey{"diku", "u1"}] = wrong })
		c, _ := newCache(t, &Cache{Source: lib})
		if a, err := c.Access(t.Context(), "diku", "u1"); err == nil || a != nil {
			t.Errorf("the answer %+v was taken: %+v, %v", wrong, a, err)
		}
	}
}

func TestNewUserWorksAtOnceAndFaultsAreNotKept(t *testing.T) {
	lib := newLibrary("diku")
	c, _ := newCache(t, &Cache{Source: lib, TTL: -1})
	away := errors.New("away")
	lib.change(func() { lib.failing = away })
	if _, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, away) {
		t.Fatal(err)
	}
	if _, err := c.Expand(t.Context(), "diku", []string{"read"}); !errors.Is(err, away) {
		t.Fatal(err)
	}
	lib.change(func() { lib.failing = nil })
	if a, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, ErrNotFound) || a != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	lib.user("diku", "u1", "read")
	if a := access(t, c, "diku", "u1"); !a.Ordinary.Has("read") {
		t.Errorf("has %v", a.Ordinary.Names())
	}
}

func TestUserWithoutGrantsMayDoNothing(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1")
	lib.change(func() { delete(lib.grants, userKey{"diku", "u1"}) })
	c, _ := newCache(t, &Cache{Source: lib})
	a := access(t, c, "diku", "u1")
	if n := len(a.Ordinary.Names()) + len(a.Elevated.Names()); n != 0 || !a.User.Active {
		t.Errorf("%d permissions of %+v", n, a.User)
	}
}

func TestExpandFollowsTheTenantsSets(t *testing.T) {
	lib := newLibrary("diku", "other")
	lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{"purge"}}, {Name: "purge", ElevatedOnly: true}}
	c, _ := newCache(t, &Cache{Source: lib})
	for tenant, want := range map[string]string{"diku": "extra purge staff", "other": "extra staff"} {
		s, err := c.Expand(t.Context(), tenant, []string{"staff", "extra"})
		if err != nil || strings.Join(s.Names(), " ") != want {
			t.Errorf("in %s: %v, %v, want %s", tenant, s.Names(), err, want)
		}
	}
	if _, err := c.Expand(t.Context(), "nowhere", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("in no tenant: %v", err)
	}
	if n := lib.count("sets"); n != 2 {
		t.Errorf("sets were read %d times, want once for each tenant", n)
	}
}

func TestT45PermissionThatWasTakenHasNoEffectAfterForget(t *testing.T) {
	lib := newLibrary("diku")
	lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{"orders.get"}}}
	lib.user("diku", "u1", "staff", "loans.get")
	c, _ := newCache(t, &Cache{Source: lib, TTL: -1})
	if a := access(t, c, "diku", "u1"); a.Ordinary.All([]string{"orders.get", "loans.get"}) != "" {
		t.Fatalf("has %v", a.Ordinary.Names())
	}
	lib.user("diku", "u1", "staff")
	c.ForgetUser("diku", "u1")
	if access(t, c, "diku", "u1").Ordinary.Has("loans.get") {
		t.Error("the grant still has effect")
	}
	lib.change(func() { lib.sets["diku"] = []PermissionSet{{Name: "staff"}} })
	c.ForgetPermissions("diku")
	if access(t, c, "diku", "u1").Ordinary.Has("orders.get") {
		t.Error("the set still has its old meaning")
	}
	if s, err := c.Expand(t.Context(), "diku", []string{"staff"}); err != nil || s.Has("orders.get") {
		t.Errorf("the set still has its old meaning for modules: %v, %v", s.Names(), err)
	}
}

func TestT45UntoldChangeHasEffectWithinTTL(t *testing.T) {
	for _, c := range []struct{ ttl, actual time.Duration }{{0, time.Minute}, {10 * time.Second, 10 * time.Second}} {
		lib := newLibrary("diku")
		lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{"orders.get"}}}
		lib.user("diku", "u1", "staff")
		cache, clk := newCache(t, &Cache{Source: lib, TTL: c.ttl})
		if _, err := cache.Expand(t.Context(), "diku", nil); err != nil { // the sets are read now
			t.Fatal(err)
		}
		clk.advance(c.actual - time.Second)
		access(t, cache, "diku", "u1") // and the user later
		lib.change(func() { lib.sets["diku"] = nil })
		if !access(t, cache, "diku", "u1").Ordinary.Has("orders.get") {
			t.Errorf("TTL %v: asked again before it had to", c.ttl)
		}
		clk.advance(time.Second)
		if _, ok := cache.Cached("diku", "u1"); ok {
			t.Errorf("TTL %v: an answer made of older sets is kept longer than they", c.ttl)
		}
		if access(t, cache, "diku", "u1").Ordinary.Has("orders.get") {
			t.Errorf("TTL %v: the change has no effect", c.ttl)
		}
	}
}

func TestAnswersDoNotAgeWhereEveryChangeIsTold(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1")
	c, clk := newCache(t, &Cache{Source: lib, TTL: -1})
	access(t, c, "diku", "u1")
	clk.advance(10_000 * time.Hour)
	access(t, c, "diku", "u1")
	if n := lib.count("user"); n != 1 {
		t.Errorf("the user was read %d times", n)
	}
}

func TestT65UserOrTenantThatIsBlockedIsSeenAtOnce(t *testing.T) {
	lib := newLibrary("diku", "other")
	lib.user("diku", "u1")
	lib.user("other", "u1")
	c, _ := newCache(t, &Cache{Source: lib, TTL: -1})
	access(t, c, "diku", "u1")
	access(t, c, "other", "u1")
	lib.change(func() { lib.users[userKey{"diku", "u1"}] = User{ID: "u1", Tenant: "diku"} })
	c.ForgetUser("diku", "u1")
	if access(t, c, "diku", "u1").User.Active {
		t.Error("the user is still active")
	}
	lib.change(func() { delete(lib.users, userKey{"diku", "u1"}) })
	c.ForgetUser("diku", "u1")
	if _, err := c.Access(t.Context(), "diku", "u1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the deleted user: %v", err)
	}
	// The users of a tenant that is gone may still be there.
	lib.change(func() { lib.tenants = lib.tenants[:1] })
	if err := c.ReloadTenants(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Cached("other", "u1"); ok {
		t.Error("a user of the tenant that is gone is still in memory")
	}
	if _, err := c.Access(t.Context(), "other", "u1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("in the tenant that is gone: %v", err)
	}
}

func TestTenantCreatedAgainIsAnotherTenant(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1", "read")
	c, clk := newCache(t, &Cache{Source: lib, TTL: -1})
	access(t, c, "diku", "u1")
	if err := c.ReloadTenants(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Cached("diku", "u1"); !ok {
		t.Error("a reload without change forgot a user")
	}
	lib.change(func() { lib.tenants[0].CreatedAt = clk.Now() })
	if err := c.ReloadTenants(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Cached("diku", "u1"); ok {
		t.Error("a user of the old tenant is still in memory")
	}
}

func TestUsersInMemoryAreBounded(t *testing.T) {
	lib := newLibrary("diku")
	for _, id := range []string{"a", "b", "c"} {
		lib.user("diku", id)
	}
	c, _ := newCache(t, &Cache{Source: lib, Size: 2})
	for _, id := range []string{"a", "b", "a", "c"} {
		access(t, c, "diku", id)
	}
	for id, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, ok := c.Cached("diku", id); ok != want {
			t.Errorf("%s in memory: %v, want %v", id, ok, want)
		}
	}
}

func TestKnownUserIsFoundWithoutAllocation(t *testing.T) {
	for _, ttl := range []time.Duration{0, -1} {
		lib := newLibrary("diku")
		lib.user("diku", "u1", "read")
		c, _ := newCache(t, &Cache{Source: lib, TTL: ttl})
		access(t, c, "diku", "u1")
		ctx := context.Background()
		if n := testing.AllocsPerRun(100, func() {
			if a, err := c.Access(ctx, "diku", "u1"); err != nil || !a.Ordinary.Has("read") {
				t.Error("wrong answer")
			}
			if _, ok := c.Tenant("diku"); !ok {
				t.Error("no tenant")
			}
		}); n != 0 {
			t.Errorf("TTL %v: %v allocations", ttl, n)
		}
	}
}
