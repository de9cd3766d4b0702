package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	tenant = "diku"
	module = "mod-bench-1.0.0"
)

const descriptor = `{"id": "` + module + `", "provides": [{"id": "bench", "version": "1.0", "handlers": [
  {"methods": ["GET"], "pathPattern": "/orders", "permissionsRequired": ["orders.collection.get"], "modulePermissions": ["users.item.get"]}
]}], "permissionSets": [{"permissionName": "orders.collection.get"}]}`

// shelf is a home filled with what a measurement needs.
type shelf struct {
	server *server.Server
	users  []string
}

// openShelf opens what Counterfoil keeps while nothing runs on it, with a tenant
// and users.
func openShelf(ctx context.Context, h home, users int) (*shelf, error) {
	config := &server.Config{Data: h.data, Store: h.store, Demo: true, LogTo: io.Discard}
	config.SetDefaults()
	s, err := server.OpenOffline(ctx, config)
	if err != nil {
		return nil, err
	}
	sh := &shelf{server: s}
	event := audit.Event{Kind: audit.TenantCreated, Tenant: tenant, Actor: audit.System}
	if err := s.Store().CreateTenant(ctx, directory.Tenant{ID: tenant}, event); err != nil && !errors.Is(err, directory.ErrExists) {
		return nil, errors.Join(err, s.Close(ctx))
	}
	for i := range users {
		user := directory.User{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Tenant: tenant, Username: fmt.Sprintf("user%d", i), Active: true}
		grants := directory.Grants{Permissions: []string{"orders.collection.get"}}
		event := audit.Event{Kind: audit.UserCreated, Tenant: tenant, UserID: user.ID, Actor: audit.System}
		if err := s.Store().CreateUser(ctx, user, grants, "", event); err != nil && !errors.Is(err, directory.ErrExists) {
			return nil, errors.Join(err, s.Close(ctx))
		}
		sh.users = append(sh.users, user.ID)
	}
	return sh, nil
}

// route enables the bench's module behind an upstream.
func (sh *shelf) route(ctx context.Context, upstream string) error {
	db, event := sh.server.Store(), audit.Event{Kind: audit.ModuleChanged, Tenant: tenant, Actor: audit.System}
	if err := db.SaveModules(ctx, event, directory.Module{ID: module, Descriptor: []byte(descriptor)}); err != nil {
		return err
	}
	sets := []directory.PermissionSet{{Name: "orders.collection.get", Module: module}}
	if err := db.Enable(ctx, tenant, module, "", sets, event); err != nil {
		return err
	}
	return db.SaveInstance(ctx, directory.Instance{ID: "bench-1", Module: module, URL: "http://" + upstream}, event)
}

// sessions stores n sessions, spread over the users, and returns them.
func (sh *shelf) sessions(ctx context.Context, n int) ([]session.Session, error) {
	rows := make([]session.Session, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(256)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range rows {
		group.Go(func() error {
			row := &rows[i]
			*row = session.Session{
				ID: token.NewSessionID(), Tenant: tenant, UserID: sh.users[i%len(sh.users)], Username: "user", Client: session.ClientAPI,
				Family:    session.Family{Gen: 1, RotatedAt: now},
				CreatedAt: now, LastActivity: now, AbsoluteExpiry: now.Add(24 * 24 * time.Hour).Truncate(time.Second),
				LoginAddress: "127.0.0.1", LastAddress: "127.0.0.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
			}
			_, _ = rand.Read(row.Secret[:])
			return sh.server.Store().CreateSession(ctx, row, 1<<30)
		})
	}
	return rows, group.Wait()
}

// refreshToken mints a session's refresh token of a generation.
func (sh *shelf) refreshToken(row *session.Session, gen uint64) string {
	return sh.server.Tokens().MintRefresh(row.Binding(), gen)
}

// accessToken mints an access token of a session.
func (sh *shelf) accessToken(row *session.Session, ttl time.Duration) (string, error) {
	now := time.Now()
	return sh.server.Tokens().Mint(token.Claims{
		Kind: token.KindAccess, Tenant: tenant, Subject: row.Username, UserID: row.UserID, ClientID: row.Client,
		Session: row.ID, Gen: row.Gen, IssuedAt: now, Expires: now.Add(ttl), AuthTime: now,
	})
}

func (sh *shelf) close(ctx context.Context) error { return sh.server.Close(ctx) }
