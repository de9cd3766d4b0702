package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// breaking is a directory that can be away, and counts what it is asked.
type breaking struct {
	directory.Source
	away  atomic.Bool
	asked atomic.Int64
}

func (b *breaking) fault() error {
	b.asked.Add(1)
	if b.away.Load() {
		return errors.New("Got malformed/empty permissions object")
	}
	return nil
}

func (b *breaking) Grants(ctx context.Context, tenant, id string) (directory.Grants, error) {
	if err := b.fault(); err != nil {
		return directory.Grants{}, err
	}
	return b.Source.Grants(ctx, tenant, id)
}

func (b *breaking) PermissionSets(ctx context.Context, tenant string) ([]directory.PermissionSet, error) {
	if err := b.fault(); err != nil {
		return nil, err
	}
	return b.Source.PermissionSets(ctx, tenant)
}

// What mod-authtoken's tests assert of lookups: faults are 400 in its words,
// answers come from memory while they are young, and age.
func TestFilterWhileTheDirectoryIsAway(t *testing.T) {
	source := &breaking{}
	var people *directory.Cache
	w := newWorld(t, func(g *gateway.Gateway, s *session.Service) {
		source.Source = s.Users
		people = &directory.Cache{Source: source, Now: g.Now, TTL: time.Minute}
		if err := people.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.Directory, s.Directory = people, people
	})
	w.must(people.ReloadTenants(t.Context()))
	filter := &gateway.Filter{Gateway: w.gateway, Own: http.NotFoundHandler()}
	base := w.listen(observed(filter.Handler()))
	ask := func(raw string, header ...string) answer {
		return call(t, "GET", base+"/x", "", append([]string{
			"X-Okapi-Filter", "auth /*", "X-Okapi-Tenant", "diku", "X-Okapi-Url", "http://okapi", "X-Okapi-Token", raw,
		}, header...)...)
	}
	required := []string{"X-Okapi-Permissions-Required", "echo.get"}
	const away = "Unable to retrieve permissions for user with id '"
	c := w.claims()
	c.Expires = c.IssuedAt.Add(time.Hour)
	at := w.mint(c)
	c.Kind, c.ClientID, c.Module, c.RequestID, c.Permissions = token.KindModule, "", "mod-x-1.0.0", "1/x", []string{"SYS#mod-x#/x#[GET]"}

	source.away.Store(true)
	ask(at, required...).want(t, 400, away+alice+"'")
	ask(w.mint(c), required...).want(t, 400, away)
	c.UserID, c.Session = "", token.SessionID{}
	system := w.mint(c)
	if got := ask(system, required...); got.status != 400 || got.header.Get("X-Okapi-Module-Tokens") == "" {
		t.Errorf("a set that cannot be looked up: %d %s", got.status, got.body)
	}
	source.away.Store(false)
	ask(at, required...).want(t, 202, "")
	source.away.Store(true)
	before := source.asked.Load()
	ask(at, required...).want(t, 202, "") // from memory
	if n := source.asked.Load() - before; n != 0 {
		t.Errorf("asked %d times", n)
	}
	w.advance(61 * time.Second)
	ask(at, required...).want(t, 400, away)
	source.away.Store(false)
	ask(at, required...).want(t, 202, "")
	// SYS# names are looked up once for all.
	before = source.asked.Load()
	for range 3 {
		ask(system, required...).want(t, 403, "Access for user 'alice' () requires permission: echo.get")
	}
	if n := source.asked.Load() - before; n != 0 {
		t.Errorf("asked %d times for what is in memory", n)
	}
	// Whoever may have it forgotten hears at once that the directory is away.
	w.grant("echo.get", gateway.RefreshCache)
	people.ForgetUser("diku", alice)
	ask(at, required...).want(t, 202, "")
	source.away.Store(true)
	ask(at, required...).want(t, 202, "")
	got := ask(at, append(required, "Authtoken-Refresh-Cache", "true")...)
	got.want(t, 400, away+alice+"'")
	if strings.Contains(got.body, "malformed") {
		t.Errorf("the client sees %s", got.body)
	}
}
