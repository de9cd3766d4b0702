package directory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// library is a Source in memory that behaves: it answers with what is true
// when it is asked. A test may hold answers back after they were read.
type library struct {
	mu      sync.Mutex
	tenants []Tenant
	users   map[userKey]User
	grants  map[userKey]Grants
	sets    map[string][]PermissionSet
	asked   map[string]int
	failing error
	// hold runs between reading an answer and giving it.
	hold func(ctx context.Context, what string)
}

func newLibrary(tenants ...string) *library {
	l := &library{
		users: make(map[userKey]User), grants: make(map[userKey]Grants),
		sets: make(map[string][]PermissionSet), asked: make(map[string]int),
	}
	for _, id := range tenants {
		l.tenants = append(l.tenants, Tenant{ID: id, Name: "library " + id})
	}
	return l
}

// change does what a writer does, and tells nobody.
func (l *library) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
}

// user adds an active user with grants.
func (l *library) user(tenant, id string, permissions ...string) {
	l.change(func() {
		key := userKey{tenant, id}
		l.users[key] = User{ID: id, Tenant: tenant, Username: "name of " + id, Active: true}
		l.grants[key] = Grants{Permissions: permissions}
	})
}

func (l *library) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[what]
}

func ask[V any](ctx context.Context, l *library, what string, read func() (V, error)) (V, error) {
	l.mu.Lock()
	l.asked[what]++
	v, err := read()
	if l.failing != nil {
		err = l.failing
	}
	hold := l.hold
	l.mu.Unlock()
	if hold != nil {
		hold(ctx, what)
	}
	return v, errors.Join(err, ctx.Err())
}

func (l *library) Tenants(ctx context.Context) ([]Tenant, error) {
	return ask(ctx, l, "tenants", func() ([]Tenant, error) { return slices.Clone(l.tenants), nil })
}

func (l *library) User(ctx context.Context, tenant, id string) (User, error) {
	return ask(ctx, l, "user", func() (User, error) {
		if u, ok := l.users[userKey{tenant, id}]; ok {
			return u, nil
		}
		return User{}, ErrNotFound
	})
}

func (l *library) UserByName(context.Context, string, string) (User, error) {
	return User{}, errors.New("the cache must not look for names")
}

func (l *library) Grants(ctx context.Context, tenant, userID string) (Grants, error) {
	return ask(ctx, l, "grants", func() (Grants, error) {
		if g, ok := l.grants[userKey{tenant, userID}]; ok {
			return g, nil
		}
		return Grants{}, ErrNotFound
	})
}

func (l *library) PermissionSets(ctx context.Context, tenant string) ([]PermissionSet, error) {
	return ask(ctx, l, "sets", func() ([]PermissionSet, error) { return slices.Clone(l.sets[tenant]), nil })
}

// holdOnce makes the next answer to what wait. The channels tell that it was
// read and let it go.
func (l *library) holdOnce(what string) (read <-chan struct{}, release func()) {
	held, free := make(chan struct{}), make(chan struct{})
	var done atomic.Bool // not a sync.Once, which makes the second wait for the first
	l.change(func() {
		l.hold = func(_ context.Context, asked string) {
			if asked == what && done.CompareAndSwap(false, true) {
				close(held)
				<-free
			}
		}
	})
	return held, func() { close(free) }
}

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newCache(tb testing.TB, c *Cache) (*Cache, *clock) {
	tb.Helper()
	clk := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c.Now = clk.Now
	if err := c.Load(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return c, clk
}

func access(tb testing.TB, c *Cache, tenant, id string) *Access {
	tb.Helper()
	a, err := c.Access(tb.Context(), tenant, id)
	if err != nil {
		tb.Fatalf("Access(%q, %q): %v", tenant, id, err)
	}
	return a
}
