package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultSize = 50_000
	defaultTTL  = time.Minute
	// expansionsKept bounds the lists of permissions whose meaning an Expander
	// told: one for each route that lends a module anything.
	expansionsKept = 10_000
	// definitionsKept bounds the tenants whose permission sets are in memory.
	definitionsKept = 1000
)

// Access is what one user may do. It is shared and must not be changed.
type Access struct {
	User User
	// Ordinary has effect in every token of the user: what was granted, with
	// all that it stands for, but without elevated-only permissions and what
	// only these stand for.
	Ordinary Set
	// Elevated has effect in a raised token, beside Ordinary: what was granted
	// as elevated, and what is elevated-only however it was granted, with all
	// that it stands for.
	Elevated Set
}

// Cache answers for a Source from memory. Fill in the fields and call Load
// before anything else; the methods are safe for concurrent use.
//
// A change is brought in by the Forget methods and ReloadTenants. When one of
// them has returned, no later call answers with what was true before, not even
// if the answer was on its way.
type Cache struct {
	Source Source
	// Builtin are permission sets that every tenant has: the program's own.
	Builtin []PermissionSet
	// Now tells how old answers are.
	Now func() time.Time
	// Size bounds the users kept; 0 is 50,000. The least recently used leave.
	Size int
	// TTL is how old an answer may be, for a source that tells no changes; 0
	// is a minute. Negative, answers do not age: every change must be told.
	TTL time.Duration
	// Stale is how much older an answer may be while the source fails. After
	// that the failure is the answer: never "nobody", never "nothing granted".
	Stale time.Duration
	// OnStale is told of every answer that outlived its TTL in this way, at
	// most once a second for each; nil is nobody.
	OnStale func()

	reload      sync.Mutex
	tenants     atomic.Pointer[map[string]Tenant]
	users       memory[userKey, *Access]
	definitions memory[string, *definitions]
	expansions  memory[expansionKey, Set]
}

// userKey keeps tenant and user apart, so that no id of one tenant can be
// written to mean a user of another.
type userKey struct{ tenant, id string }

// expansionKey names permissions by their names, with a byte between them that
// no name has. A comma would not do: FOLIO's SYS# names have some.
type expansionKey struct{ tenant, names string }

// Load reads all tenants. Users and permission sets are read when they are
// first asked for.
func (c *Cache) Load(ctx context.Context) error {
	size := c.Size
	if size == 0 {
		size = defaultSize
	}
	if err := c.users.init(size, c.Now, c.OnStale); err != nil {
		return fmt.Errorf("directory cache of %d users: %w", size, err)
	}
	if err := c.definitions.init(definitionsKept, c.Now, c.OnStale); err != nil {
		return err
	}
	if err := c.expansions.init(expansionsKept, c.Now, c.OnStale); err != nil {
		return err
	}
	return c.ReloadTenants(ctx)
}

// Tenant returns a tenant, without a lock. All tenants are in memory, so false
// means that there is none.
func (c *Cache) Tenant(id string) (Tenant, bool) {
	t, ok := (*c.tenants.Load())[id]
	return t, ok
}

// ReloadTenants reads the tenants again and forgets all of those that are
// gone. On error everything stays as it was.
func (c *Cache) ReloadTenants(ctx context.Context) error {
	// One at a time, so that what was read first cannot be set last.
	c.reload.Lock()
	defer c.reload.Unlock()
	list, err := c.Source.Tenants(ctx)
	if err != nil {
		return fmt.Errorf("read tenants: %w", err)
	}
	tenants := make(map[string]Tenant, len(list))
	for _, t := range list {
		tenants[t.ID] = t
	}
	before := c.tenants.Swap(&tenants)
	gone := func(id string) bool {
		t, exists := tenants[id]
		// Deleted and created again since, it is another tenant.
		return !exists || before != nil && !t.CreatedAt.Equal((*before)[id].CreatedAt)
	}
	c.definitions.forgetAll(gone)
	c.expansions.forgetAll(func(k expansionKey) bool { return gone(k.tenant) })
	c.users.forgetAll(func(k userKey) bool { return gone(k.tenant) })
	return nil
}

// Access tells what a user may do. It fails with ErrNotFound if there is no
// such user or tenant, which is not remembered, so that a new user can log in
// at once, or with the error of the source. Whether the user is active is for
// the caller to look at.
func (c *Cache) Access(ctx context.Context, tenant, userID string) (*Access, error) {
	if a, ok := c.Cached(tenant, userID); ok {
		return a, nil
	}
	key := userKey{tenant, userID}
	a, err := c.users.load(ctx, key, func(ctx context.Context) (answer[*Access], error) {
		return c.readAccess(ctx, key)
	})
	return a.value, err
}

// Cached is Access without waiting: false if the source would have to be
// asked. It does not allocate.
func (c *Cache) Cached(tenant, userID string) (*Access, bool) {
	a, ok := c.users.get(userKey{tenant, userID})
	return a.value, ok
}

// Expand returns names with all that they stand for in a tenant. It is for
// tokens of modules, in which elevated-only permissions have effect like any
// other.
func (c *Cache) Expand(ctx context.Context, tenant string, names []string) (Set, error) {
	d, err := c.define(ctx, tenant)
	if err != nil {
		return Set{}, err
	}
	source, ok := c.Source.(Expander)
	if !ok {
		return d.value.expand(names), nil
	}
	key := expansionKey{tenant, strings.Join(names, "\x00")}
	if kept, ok := c.expansions.get(key); ok {
		return kept.value, nil
	}
	s, err := c.expansions.load(ctx, key, func(ctx context.Context) (answer[Set], error) {
		until := earlier(c.until(), d.until)
		all, err := source.Expand(ctx, tenant, names)
		if err != nil {
			return answer[Set]{}, fmt.Errorf("expand permissions: %w", err)
		}
		return aged(c, d.value.expand(all), until).noOlder(d.stale), nil
	})
	return s.value, err
}

// ForgetUser is for a user who was created, changed or deleted, or whose
// grants changed.
func (c *Cache) ForgetUser(tenant, id string) {
	c.users.forget(userKey{tenant, id})
}

// ForgetPermissions is for permission sets that changed.
func (c *Cache) ForgetPermissions(tenant string) {
	// In this order: whoever is read in between is read with the new sets.
	c.definitions.forget(tenant)
	c.expansions.forgetAll(func(k expansionKey) bool { return k.tenant == tenant })
	c.users.forgetAll(func(k userKey) bool { return k.tenant == tenant })
}

// ForgetAll is for changes of which nobody can say any more what they were.
func (c *Cache) ForgetAll() {
	c.definitions.forgetAll(func(string) bool { return true })
	c.expansions.forgetAll(func(expansionKey) bool { return true })
	c.users.forgetAll(func(userKey) bool { return true })
}

func (c *Cache) readAccess(ctx context.Context, key userKey) (answer[*Access], error) {
	// First, since there is nothing to ask about a tenant that is not there.
	d, err := c.define(ctx, key.tenant)
	if err != nil {
		return answer[*Access]{}, err
	}
	until := c.until()
	user, err := c.Source.User(ctx, key.tenant, key.id)
	if err != nil {
		return answer[*Access]{}, fmt.Errorf("read user: %w", err)
	}
	if user.Tenant != key.tenant || user.ID != key.id {
		return answer[*Access]{}, fmt.Errorf("read user: the source answered with another user, of tenant %q", user.Tenant)
	}
	read := c.Source.Grants
	if e, ok := c.Source.(Expander); ok {
		read = e.Expanded
	}
	grants, err := read(ctx, key.tenant, key.id)
	if err != nil && !errors.Is(err, ErrNotFound) { // nothing granted yet is no fault
		return answer[*Access]{}, fmt.Errorf("read grants: %w", err)
	}
	a := &Access{User: user}
	var elevated []string
	a.Ordinary, elevated = d.value.ordinary(grants.Permissions)
	a.Elevated = d.value.expand(append(elevated, grants.Elevated...))
	// The answer is as old as the oldest of what it was made from.
	return aged(c, a, earlier(until, d.until)).noOlder(d.stale), nil
}

func (c *Cache) define(ctx context.Context, tenant string) (answer[*definitions], error) {
	if d, ok := c.definitions.get(tenant); ok {
		return d, nil
	}
	return c.definitions.load(ctx, tenant, func(ctx context.Context) (answer[*definitions], error) {
		until := c.until()
		// Looked at inside the load: a tenant that goes later takes it along.
		if _, ok := c.Tenant(tenant); !ok {
			return answer[*definitions]{}, fmt.Errorf("tenant: %w", ErrNotFound)
		}
		sets, err := c.Source.PermissionSets(ctx, tenant)
		if err != nil {
			return answer[*definitions]{}, fmt.Errorf("read permission sets: %w", err)
		}
		return aged(c, define(append(sets, c.Builtin...)), until), nil
	})
}

// until is when something that is read now becomes too old.
func (c *Cache) until() time.Time {
	switch {
	case c.TTL < 0:
		return time.Time{}
	case c.TTL == 0:
		return c.Now().Add(defaultTTL)
	}
	return c.Now().Add(c.TTL)
}

// aged is an answer that is too old at until.
func aged[V any](c *Cache, value V, until time.Time) answer[V] {
	a := answer[V]{value: value, until: until}
	if !until.IsZero() && c.Stale > 0 {
		a.stale = until.Add(c.Stale)
	}
	return a
}

// noOlder bounds an answer by how old one that it was made from may get.
func (a answer[V]) noOlder(stale time.Time) answer[V] {
	a.stale = earlier(a.stale, stale)
	return a
}

// earlier is the earlier time; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
