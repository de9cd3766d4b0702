package gateway_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// TestT47StepUp asks the gateway and the filter behind an Okapi the same.
func TestT47StepUp(t *testing.T) {
	fresh := session.StepUps{"echo.get": {MaxAge: session.Duration(2 * time.Minute)}}
	raised := session.StepUps{"echo.get": {ACR: session.ACRElevated}}
	both := session.StepUps{"echo.get": {ACR: session.ACRElevated, MaxAge: session.Duration(2 * time.Minute)}}
	const start = `Bearer error="insufficient_user_authentication", error_description="This needs a fresh proof of who you are"`
	const acr, age, scope = `, acr_values="urn:counterfoil:acr:elevated"`, `, max_age="120"`, `, scope="echo.get"`
	for _, test := range []struct {
		name   string
		steps  session.StepUps
		kind   token.Kind
		proved time.Duration // ago; below 0 is never
		names  []string
		want   string // in WWW-Authenticate; "" is let through
	}{
		{"nothing asked", nil, token.KindAccess, time.Hour, nil, ""},
		{"another permission", session.StepUps{"other": {ACR: session.ACRElevated}}, token.KindAccess, time.Hour, nil, ""},
		{"a fresh login", fresh, token.KindAccess, 2 * time.Minute, nil, ""},
		{"an old login", fresh, token.KindAccess, 2*time.Minute + time.Second, nil, start + age + scope},
		{"nobody knows when", fresh, token.KindAccess, -1, nil, start + age + scope},
		{"raised scope and fresh", fresh, token.KindElevated, time.Minute, []string{"echo.get"}, ""},
		{"raised scope by a set", fresh, token.KindElevated, time.Minute, []string{"echo.all"}, ""},
		{"raised scope, not fresh", fresh, token.KindElevated, 3 * time.Minute, []string{"echo.get"}, start + age + scope},
		{"raised scope for something else", fresh, token.KindElevated, 0, []string{"other"}, start + age + scope},
		{"a login, raised scope wanted", raised, token.KindAccess, 0, nil, start + acr + scope},
		{"raised scope wanted", raised, token.KindElevated, 4 * time.Minute, []string{"echo.get"}, ""},
		{"both wanted, too old", both, token.KindElevated, 3 * time.Minute, []string{"echo.get"}, start + acr + age + scope},
		{"both wanted", both, token.KindElevated, time.Minute, []string{"echo.get"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(_ *gateway.Gateway, s *session.Service) { s.Policies.Default.StepUp = test.steps })
			w.module(echoDescriptor, echo)
			w.grant("echo.get", "echo.all", "other")
			c := w.claims()
			c.Kind, c.Permissions = test.kind, test.names
			if test.proved >= 0 {
				c.AuthTime = w.Now().Add(-test.proved)
			}
			filter := gateway.Filter{Gateway: w.gateway}
			asked := httptest.NewRequest("GET", "/echo", nil)
			for name, value := range map[string]string{
				"X-Okapi-Filter": "auth", "X-Okapi-Tenant": "diku", "X-Okapi-Url": "http://okapi:9130",
				"X-Okapi-Token": w.mint(c), "X-Okapi-Permissions-Required": "echo.get",
			} {
				asked.Header.Set(name, value)
			}
			told := httptest.NewRecorder()
			observed(filter.Handler()).ServeHTTP(told, asked)
			got := w.get("/echo", "X-Okapi-Token", w.mint(c))
			if test.want == "" {
				got.want(t, 200, "")
				if told.Code != 202 {
					t.Errorf("the filter answers %d %s", told.Code, told.Body)
				}
				return
			}
			got.want(t, 401, `{"message":"This needs a fresh proof of who you are","code":"ELEVATION_REQUIRED","type":"auth","elevate":"/okapi/authn/elevate","permissions":["echo.get"]`)
			if header := got.header.Get("WWW-Authenticate"); header != test.want {
				t.Errorf("asked for %s", header)
			}
			if header := told.Header().Get("WWW-Authenticate"); told.Code != 401 || header != test.want || told.Body.String() != got.body {
				t.Errorf("the filter answers %d %s %s", told.Code, header, told.Body)
			}
		})
	}
}

// TestT47RaisedScopeOpensWhatPolicyGuards goes the whole way of a client.
func TestT47RaisedScopeOpensWhatPolicyGuards(t *testing.T) {
	w := newWorld(t, func(_ *gateway.Gateway, s *session.Service) {
		s.Policies.Default.StepUp = session.StepUps{"echo.get": {ACR: session.ACRElevated}}
	})
	w.module(echoDescriptor, echo)
	w.must(w.sessions.SetGrants(t.Context(), "diku", alice, directory.Grants{Elevated: []string{"echo.get"}, Permissions: []string{"other"}}))
	tokens, err := w.sessions.Login(t.Context(), session.LoginRequest{Tenant: "diku", Username: "alice", Password: password, Client: session.ClientAPI})
	w.must(err)
	w.get("/echo", "X-Okapi-Token", tokens.Access).want(t, 401, `{"message":"This needs a fresh proof of who you are","code":"ELEVATION_REQUIRED"`)
	why, err := w.gateway.Explain(t.Context(), gateway.Question{Tenant: "diku", Method: "GET", Path: "/echo", UserID: alice})
	w.must(err)
	if last := why.Steps[len(why.Steps)-1]; why.Status != 401 || last.Passes || !strings.Contains(last.Text, "anew, for echo.get") {
		t.Errorf("explained as %+v", why)
	}
	caller, err := w.sessions.Check(t.Context(), tokens.Access, token.KindAccess)
	w.must(err)
	raised, err := w.sessions.Elevate(t.Context(), &caller, password, []string{"echo.get"})
	w.must(err)
	if raised.Refresh != "" || raised.AccessExpires.After(w.Now().Add(5*time.Minute)) {
		t.Errorf("raised scope can be refreshed, or ends at %s", raised.AccessExpires)
	}
	seen := w.get("/echo", "X-Okapi-Token", raised.Access).seen(t)
	// What the module does for the caller is not asked for a password.
	w.grant("echo.get")
	call(t, "GET", w.internal+"/echo", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", seen.Header.Get("X-Okapi-Token")).want(t, 200, "")

	if _, err := w.sessions.Refresh(t.Context(), session.RefreshRequest{Tenant: "diku", Token: raised.Access}); err == nil {
		t.Error("raised scope was refreshed")
	}
	w.get("/echo", "X-Okapi-Token", raised.Access).want(t, 200, "") // and nothing ended by that
	w.advance(5*time.Minute + time.Second)
	w.get("/echo", "X-Okapi-Token", raised.Access).want(t, 401, expired)

	raised, err = w.sessions.Elevate(t.Context(), &caller, password, []string{"echo.get"})
	w.must(err)
	w.get("/echo", "X-Okapi-Token", raised.Access).want(t, 200, "")
	w.must(w.sessions.Logout(t.Context(), tokens.Refresh))
	w.get("/echo", "X-Okapi-Token", raised.Access).want(t, 401, invalid)
	told, err := w.db.Events(t.Context(), session.EventFilter{Session: tokens.Session.String(), Limit: 10})
	w.must(err)
	for _, e := range told {
		if e.Kind == "elevated" && e.Reason == "for echo.get" {
			return
		}
	}
	t.Errorf("the timeline does not tell of raised scope: %+v", told)
}
