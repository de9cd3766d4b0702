package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
)

const tenant = "diku"

// seedUsers are known to everybody who reads this.
var seedUsers = []struct {
	user     directory.User
	password string
	grants   directory.Grants
}{
	{
		user: directory.User{
			ID: "9eb67301-6f6e-468f-9b1a-6134dc39a684", Tenant: tenant, Username: "diku_admin", Active: true,
			FirstName: "Diku", LastName: "Admin",
		},
		password: "admin",
		grants: directory.Grants{
			Permissions: []string{"orders.all", "chain.get", "counterfoil.all", "okapi.all"},
			Elevated:    []string{"orders.collection.delete"},
		},
	},
	{
		user: directory.User{
			ID: "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3", Tenant: tenant, Username: "reader", Active: true,
			FirstName: "Rea", LastName: "Der",
		},
		password: "reader",
		grants:   directory.Grants{Permissions: []string{"orders.collection.get", "chain.get"}},
	},
	{
		user: directory.User{
			ID: "0d8c5a52-6c1c-4b5f-9a37-2f3f3c6f2b01", Tenant: directory.SuperTenant, Username: "operator", Active: true,
		},
		password: "operator",
		grants:   directory.Grants{Permissions: []string{"counterfoil.console.all"}},
	},
}

// seed stores tenant, users and modules. It runs at every start: what is there
// already stays as it is, but for the addresses of the sample modules.
func seed(ctx context.Context, s *server.Server, modules map[string]string) error {
	ctx = audit.WithActor(ctx, &audit.Actor{Kind: "operator", Name: "demo"})
	actor, db := *audit.ActorFrom(ctx), s.Store()
	err := db.CreateTenant(ctx, directory.Tenant{ID: tenant, Name: "Datalogisk Institut"}, audit.Event{Kind: audit.TenantCreated, Tenant: tenant, Actor: actor})
	if err != nil && !errors.Is(err, directory.ErrExists) {
		return err
	}
	if err := enable(ctx, s, modules); err != nil {
		return fmt.Errorf("sample modules: %w", err)
	}
	for _, one := range seedUsers {
		// The seed's passwords are far too short for the rules of new
		// passwords, so they are hashed here and not by the use case.
		encoded, err := s.Sessions().Passwords.Hash(ctx, one.password)
		if err != nil {
			return err
		}
		err = db.CreateUser(ctx, one.user, one.grants, encoded, audit.Event{Kind: audit.UserCreated, Tenant: one.user.Tenant, UserID: one.user.ID, Actor: actor})
		if err != nil && !errors.Is(err, directory.ErrExists) {
			return err
		}
	}
	return nil
}

// enable makes the sample modules known and used, and says where they answer
// this time.
func enable(ctx context.Context, s *server.Server, urls map[string]string) error {
	var descriptors []*gateway.ModuleDescriptor
	var wanted []gateway.InstallEntry
	for _, text := range []string{ordersDescriptor, chainDescriptor} {
		d, err := gateway.ParseDescriptor([]byte(text))
		if err != nil {
			return err
		}
		descriptors = append(descriptors, d)
		wanted = append(wanted, gateway.InstallEntry{ID: d.ID, Action: "enable"})
	}
	if err := s.Gateway().Register(ctx, true, descriptors...); err != nil {
		return err
	}
	if _, err := s.Gateway().Install(ctx, tenant, wanted, &gateway.InstallOptions{}); err != nil {
		return err
	}
	event := audit.Event{Kind: audit.ModuleChanged, Actor: *audit.ActorFrom(ctx)}
	for id, url := range urls {
		if _, err := s.Store().DeleteInstances(ctx, id, id+"-demo", event); err != nil && !errors.Is(err, directory.ErrNotFound) {
			return err
		}
		if err := s.Store().SaveInstance(ctx, directory.Instance{ID: id + "-demo", Module: id, URL: url}, event); err != nil {
			return err
		}
	}
	return nil
}
