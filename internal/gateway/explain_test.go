package gateway_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// What is explained is what the gateway does: same status, for whoever and
// whatever is asked about.
func TestExplainSaysWhatTheGatewayDoes(t *testing.T) {
	w := newWorld(t, nil)
	w.module(echoDescriptor, echo)
	w.module(`{"id":"mod-away-1.0.0","provides":[{"id":"away","version":"1.0","handlers":[
		{"methods":["GET"],"pathPattern":"/away","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/raised","permissionsRequired":["raised.get"]}]}]}`, echo)
	_, err := w.db.DeleteInstances(context.Background(), "mod-away-1.0.0", "", audit.Event{Kind: audit.ModuleChanged, Tenant: "diku"})
	w.must(err)
	fresh := func() token.Claims { c := w.claims(); c.AuthTime = w.Now(); return c }
	for name, grant := range map[string]func(){
		"nothing":  func() { w.grant() },
		"echo.get": func() { w.grant("echo.get") },
		"step-up": func() {
			w.must(w.sessions.SetGrants(t.Context(), "diku", alice, directory.Grants{Permissions: []string{"echo.get"}, Elevated: []string{"raised.get"}}))
			raised := session.StepUps{"echo.get": {ACR: session.ACRElevated}, "raised.get": {MaxAge: session.Duration(time.Minute)}}
			w.must(w.db.SavePolicy(t.Context(), session.PolicyOverride{Tenant: "diku", Scope: "tenant", Patch: session.PolicyPatch{StepUp: &raised}}, audit.Event{Kind: audit.PolicyChanged, Tenant: "diku"}))
			w.must(w.sessions.Policies.Load(t.Context(), w.db))
		},
		"raised": func() {
			w.must(w.sessions.SetGrants(t.Context(), "diku", alice, directory.Grants{Permissions: []string{"echo.get"}, Elevated: []string{"raised.get"}}))
		},
	} {
		grant()
		for _, path := range []string{
			"/echo", "/open", "/items/1", "/wish", "/lent", "/own/diku", "/own/other", "/nothing", "/away", "/raised", "/open/../echo", "//echo", "/a%2Fb",
		} {
			for _, method := range []string{"GET", "POST", "DELETE", "TRACE"} {
				for user, headers := range map[string][]string{"": nil, alice: {"X-Okapi-Token", w.mint(fresh())}} {
					q := gateway.Question{Tenant: "diku", Method: method, Path: path, UserID: user}
					x, err := w.gateway.Explain(t.Context(), q)
					w.must(err)
					real := call(t, method, w.public+path, "", append([]string{"X-Okapi-Tenant", "diku"}, headers...)...)
					if x.Status != real.status {
						t.Errorf("with %s, %s %s of %q: explained as %d, answered %d %s\n%+v", name, method, path, user, x.Status, real.status, real.body, x.Steps)
					}
					for i, step := range x.Steps {
						if last := i == len(x.Steps)-1; step.Passes != (!last || x.Status == 200) || step.Text == "" || !strings.HasSuffix(step.Text, ".") {
							t.Errorf("%s %s: step %d of %d, status %d: %+v", method, path, i+1, len(x.Steps), x.Status, step)
						}
					}
				}
			}
		}
	}
}

func TestExplainInWords(t *testing.T) {
	w := newWorld(t, nil)
	w.module(echoDescriptor, echo)
	w.must(w.db.SavePermissionSet(t.Context(), "diku", directory.PermissionSet{Name: "echo.all", Sub: []string{"echo.get"}}, audit.Event{Kind: audit.ModuleChanged, Tenant: "diku"}))
	explained := func(q gateway.Question) string {
		x, err := w.gateway.Explain(t.Context(), q)
		w.must(err)
		var text strings.Builder
		for _, step := range x.Steps {
			text.WriteString(step.Text + "\n")
		}
		return text.String()
	}
	w.grant("echo.all")
	for _, c := range []struct {
		q    gateway.Question
		want []string
	}{
		{gateway.Question{Tenant: "diku", Method: "GET", Path: "/echo", UserID: alice}, []string{
			"GET /echo is the route /echo of module mod-echo-1.0.0.", "User alice is active", "echo.get is required, and there as a part of echo.all, which was granted.", "The module gets a token of its own",
		}},
		{gateway.Question{Tenant: "diku", Method: "GET", Path: "/echo"}, []string{"Nobody is logged in.", "echo.get is required, and missing."}},
		{gateway.Question{Tenant: "nowhere", Method: "GET", Path: "/echo"}, []string{"There is no tenant nowhere."}},
		{gateway.Question{Tenant: "diku", Method: "GET", Path: "/echo", UserID: operator}, []string{"There is no such user in this tenant"}},
		{gateway.Question{Tenant: "diku", Method: "GET", Path: "/nothing"}, []string{"No route: "}},
	} {
		got := explained(c.q)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: %q has no %q", c.q, got, want)
			}
		}
	}
	_, err := w.sessions.UpdateUser(t.Context(), directory.User{ID: alice, Tenant: "diku", Username: "alice"})
	w.must(err)
	if got := explained(gateway.Question{Tenant: "diku", Method: "GET", Path: "/open", UserID: alice}); !strings.Contains(got, "User alice is inactive") {
		t.Error(got)
	}
}
