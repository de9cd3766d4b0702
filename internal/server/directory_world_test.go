package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// library is an office whose users and permissions are in FOLIO's modules,
// which stand behind its own gateway, and module mod-orders.
type library struct {
	*office
	folio *foliotest.Platform
}

func openLibrary(t *testing.T, adjust func(*server.Config)) *library {
	t.Helper()
	l := &library{folio: foliotest.Start(t, "diku")}
	l.folio.AddUser("diku", foliotest.User{
		ID: readerID, Username: "reader", Active: foliotest.Active(true), Personal: &foliotest.Personal{LastName: "Leser"},
	})
	l.folio.Define("diku", "orders.all", "orders.collection.get", "orders.sub")
	l.folio.Define("diku", "orders.sub", "orders.collection.delete")
	l.folio.Grant("diku", readerID, "orders.all")
	l.office = emptyOffice(t, func(c *server.Config) {
		c.Directory.Source = "folio"
		c.Directory.Timeout = session.Duration(time.Second)
		c.Directory.Stale = session.Duration(10 * time.Minute)
		if adjust != nil {
			adjust(c)
		}
	})
	ctx := l.operator()
	l.must(l.Store().CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated, Tenant: "diku"}))
	for _, m := range l.folio.Modules() {
		if m.ID != foliotest.UsersBL { // its paths are ours here
			l.install(m)
		}
	}
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"url": r.Header.Get("X-Okapi-Url"), "token": r.Header.Get("X-Okapi-Token"), "permissions": r.Header.Get("X-Okapi-Permissions"),
		})
	}))
	t.Cleanup(orders.Close)
	l.install(foliotest.Module{ID: "mod-orders-1.0.0", URL: orders.URL, Descriptor: []byte(`{"id":"mod-orders-1.0.0","provides":[
		{"id":"orders","version":"1.0","handlers":[
			{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"],"modulePermissions":["users.basic"]},
			{"methods":["DELETE"],"pathPattern":"/orders","permissionsRequired":["orders.collection.delete"]}]}]}`)})
	_, err := l.Sessions().SetPassword(ctx, "diku", readerID, readerPW, token.SessionID{})
	l.must(err)
	return l
}

func (o *office) operator() context.Context {
	return audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
}

// install makes a module known, lets diku use it and says where it answers.
func (o *office) install(m foliotest.Module) {
	o.t.Helper()
	ctx := o.operator()
	d, err := gateway.ParseDescriptor(m.Descriptor)
	o.must(err)
	o.must(o.Gateway().Register(ctx, true, d))
	_, err = o.Gateway().Install(ctx, "diku", []gateway.InstallEntry{{ID: m.ID, Action: "enable"}}, &gateway.InstallOptions{})
	o.must(err)
	o.must(o.Store().SaveInstance(ctx, directory.Instance{ID: m.ID + "-1", Module: m.ID, URL: m.URL}, audit.Event{Kind: audit.ModuleChanged}))
}

// login logs the reader in with a password.
func (l *library) login(header ...string) *reply {
	l.t.Helper()
	got := l.post("/authn/login", map[string]string{"username": "reader", "password": readerPW}, append(header, "X-Okapi-Tenant", "diku")...)
	if got.status != http.StatusCreated {
		l.t.Fatalf("login answered %d %s", got.status, got.body)
	}
	return got
}

// orders calls the module and returns the status.
func (l *library) orders(method, access string) int {
	l.t.Helper()
	got, err := l.send(method, l.URL(server.Public)+"/orders", nil, "X-Okapi-Token", access, "X-Okapi-Tenant", "diku")
	l.must(err)
	return got.status
}

// ask makes an operator's request.
func (o *office) ask(method, path string, body any) *reply {
	o.t.Helper()
	running, ok, err := server.FindRunning(o.config.Data)
	o.must(err)
	if !ok {
		o.t.Fatal("the program does not serve yet")
	}
	got, err := o.send(method, running.Admin+path, body, "Authorization", "Bearer "+running.Token)
	o.must(err)
	return got
}
