package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
)

// BenchmarkAuthorisedCall makes calls through two programs in turn, one with
// users of its own and one with those of FOLIO, who are remembered. "ratio" is
// the time of the second to that of the first.
func BenchmarkAuthorisedCall(b *testing.B) {
	module := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer module.Close()
	own, theirs := authorisedCall(b, "local", module.URL), authorisedCall(b, "folio", module.URL)
	var took [2]time.Duration
	for b.Loop() {
		for i, call := range []func(){own, theirs} {
			began := time.Now()
			call()
			took[i] += time.Since(began)
		}
	}
	b.ReportMetric(float64(took[0].Microseconds())/float64(b.N), "µs/local")
	b.ReportMetric(float64(took[1].Microseconds())/float64(b.N), "µs/folio")
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
}

// authorisedCall starts a program and returns a call to a module of it, for
// which a permission is needed that a set gives.
func authorisedCall(b *testing.B, source, url string) func() {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	config := &server.Config{
		Data: filepath.Join(b.TempDir(), "data"), Demo: true, LogTo: io.Discard,
		Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
	}
	config.Directory.Source = source
	config.SetDefaults()
	ctx, stop := context.WithCancel(audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "bench"}))
	s, err := server.Open(ctx, config)
	must(err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	b.Cleanup(func() {
		stop()
		must(errors.Join(<-served, s.Close(context.Background())))
	})
	must(s.Store().CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated}))
	modules := []foliotest.Module{{ID: "mod-orders-1.0.0", URL: url, Descriptor: []byte(`{"id":"mod-orders-1.0.0","provides":[
		{"id":"orders","version":"1.0","handlers":[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.get"]}]}]}`)}}
	if source == "folio" {
		folio := foliotest.Start(b, "diku")
		folio.AddUser("diku", foliotest.User{ID: readerID, Username: "reader", Active: foliotest.Active(true)})
		folio.Define("diku", "orders.all", "orders.get")
		folio.Grant("diku", readerID, "orders.all")
		modules = append(modules, folio.Module(foliotest.Users), folio.Module(foliotest.Permissions))
	} else {
		set := directory.PermissionSet{Name: "orders.all", Sub: []string{"orders.get"}}
		must(s.Store().SavePermissionSet(ctx, "diku", set, audit.Event{Kind: audit.PermissionChanged}))
		must(s.Sessions().CreateUser(ctx, directory.User{ID: readerID, Tenant: "diku", Username: "reader", Active: true},
			directory.Grants{Permissions: []string{"orders.all"}}, ""))
	}
	for _, m := range modules {
		d, err := gateway.ParseDescriptor(m.Descriptor)
		must(err)
		must(s.Gateway().Register(ctx, true, d))
		_, err = s.Gateway().Install(ctx, "diku", []gateway.InstallEntry{{ID: m.ID, Action: "enable"}}, &gateway.InstallOptions{})
		must(err)
		must(s.Store().SaveInstance(ctx, directory.Instance{ID: m.ID + "-1", Module: m.ID, URL: m.URL}, audit.Event{Kind: audit.ModuleChanged}))
	}
	tokens, err := s.Sessions().SignFor(ctx, "diku", readerID, "reader")
	must(err)
	r, err := http.NewRequest(http.MethodGet, s.URL(server.Public)+"/orders", nil)
	must(err)
	r.Header.Set("X-Okapi-Token", tokens.Access)
	return func() {
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			b.Fatalf("answered %d", answer.StatusCode)
		}
	}
}
