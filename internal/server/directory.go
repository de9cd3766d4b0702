package server

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/folioclient"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

// folioSource is the directory setting under which users are FOLIO's.
const folioSource = "folio"

// checkDirectory reports what cannot work with users elsewhere.
func (c *Config) checkDirectory() []error {
	d := &c.Directory
	var faults []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	bad(d.Source != "local" && d.Source != folioSource, "directory.source: %q is not local or folio", d.Source)
	bad(d.URL != "" && d.Source == "local", "directory.url: means nothing with directory.source local")
	bad(d.Source == folioSource && c.behindOkapi() && c.directoryURL() == "", "okapi.url: must be set, since users are asked for there")
	bad(d.URL != "" && (!validURL(d.URL) || linkLocal(d.URL)), "directory.url: %q is not an http or https URL without query", d.URL)
	for _, one := range []struct {
		key               string
		value             time.Duration
		shortest, longest time.Duration
	}{
		{"timeout", d.Timeout.Std(), 100 * time.Millisecond, 30 * time.Second},
		{"ttl", d.TTL.Std(), time.Second, time.Hour},
		{"stale", d.Stale.Std(), time.Second, 24 * time.Hour},
	} {
		bad(one.value < one.shortest || one.value > one.longest, "directory.%s: %s is not between %s and %s", one.key, one.value, one.shortest, one.longest)
	}
	bad(d.Users < 1 || d.Users > 10_000_000, "directory.users: %d is not between 1 and 10000000", d.Users)
	bad(d.Consortium && d.Source == "local", "directory.consortium: means nothing with directory.source local")
	bad(d.Source == folioSource && c.Login.DeactivateAfter > 0, "login.deactivate_after: not with directory.source folio, whose users are not changed from here")
	return faults
}

// directoryURL is where FOLIO's modules are asked; empty is through our own
// internal listener.
func (c *Config) directoryURL() string {
	if c.Directory.URL == "" && c.behindOkapi() {
		return c.Okapi.URL
	}
	return c.Directory.URL
}

func linkLocal(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap().IsLinkLocalUnicast()
}

// openDirectory brings tenants into memory, and opens the way to users.
func (s *Server) openDirectory(ctx context.Context) error {
	s.people = &directory.Cache{Source: s.db, Builtin: append(folio.PermissionSets(), admin.Permissions, console.Permissions), Now: s.db.Now, TTL: -1}
	s.users = s.db
	if s.config.Directory.Source == folioSource {
		d := &s.config.Directory
		source := &borrowed{DB: s.db, folio: &folioclient.Client{
			URL: s.config.directoryURL(), Timeout: d.Timeout.Std(), Now: s.db.Now, Log: s.log, Token: s.ownToken, Asked: s.metrics.asked,
		}}
		s.users, s.borrowed, s.people.Source = source, source, source
		s.people.Size, s.people.TTL, s.people.Stale, s.people.OnStale = d.Users, d.TTL.Std(), d.Stale.Std(), s.metrics.stale.Inc
	}
	return s.people.Load(ctx)
}

// ownToken is for one question of our own to a module of FOLIO. It names no
// user, as mod-authtoken's does not, so that answering needs no user looked up.
func (s *Server) ownToken(tenant, requestID string, permissions []string) (string, error) {
	now := s.db.Now()
	if requestID == "" {
		requestID = "directory"
	}
	return s.ring.Mint(token.Claims{
		Kind: token.KindModule, Tenant: tenant, Subject: gateway.OwnSubject, Module: gateway.OwnModule,
		Permissions: permissions, RequestID: requestID, IssuedAt: now, Expires: now.Add(time.Minute),
	})
}

// borrowed is a directory whose users are FOLIO's. Tenants and the permissions
// that modules bring are our own, and so is the supertenant with everybody in
// it: whoever mends the gateway must get in while FOLIO is down.
type borrowed struct {
	store.DB
	folio *folioclient.Client
}

var _ directory.Expander = (*borrowed)(nil)

func (b *borrowed) elsewhere(tenant string) bool { return tenant != directory.SuperTenant }

// homeTenant is where a user of a consortium logs in.
func (b *borrowed) homeTenant(ctx context.Context, tenant, username, userID, wanted string) (string, error) {
	if !b.elsewhere(tenant) {
		return tenant, nil
	}
	return b.folio.HomeTenant(ctx, tenant, username, userID, wanted)
}

// User finds by id.
func (b *borrowed) User(ctx context.Context, tenant, id string) (directory.User, error) {
	if !b.elsewhere(tenant) {
		return b.DB.User(ctx, tenant, id)
	}
	return b.folio.User(ctx, tenant, id)
}

// UserByName finds by name.
func (b *borrowed) UserByName(ctx context.Context, tenant, username string) (directory.User, error) {
	if !b.elsewhere(tenant) {
		return b.DB.UserByName(ctx, tenant, username)
	}
	return b.folio.UserByName(ctx, tenant, username)
}

// Grants is what was given to a user.
func (b *borrowed) Grants(ctx context.Context, tenant, userID string) (directory.Grants, error) {
	if !b.elsewhere(tenant) {
		return b.DB.Grants(ctx, tenant, userID)
	}
	return b.folio.Grants(ctx, tenant, userID)
}

// Expanded is Grants with what it stands for in FOLIO.
func (b *borrowed) Expanded(ctx context.Context, tenant, userID string) (directory.Grants, error) {
	if !b.elsewhere(tenant) {
		return b.DB.Grants(ctx, tenant, userID)
	}
	return b.folio.Expanded(ctx, tenant, userID)
}

// Expand is what names stand for in FOLIO.
func (b *borrowed) Expand(ctx context.Context, tenant string, names []string) ([]string, error) {
	if !b.elsewhere(tenant) || len(names) == 0 {
		return names, nil
	}
	return b.folio.Expand(ctx, tenant, names)
}
