package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	expired = `{"message":"Access token has expired","code":"TOKEN_EXPIRED","type":"auth","refresh":"/okapi/authn/refresh"}`
	invalid = `{"message":"Invalid token","code":"TOKEN_INVALID","type":"auth"}`
)

func TestTokensAreTakenFromWhereOkapiTakesThem(t *testing.T) {
	w := echoing(t)
	a, b := w.access(), w.access()
	const differ = "Different tokens in Authentication and X-Okapi-Token. Use only one of them"
	for _, test := range []struct {
		name    string
		headers []string
		status  int
		body    string
	}{
		{"none, so the supertenant, which has no such route", nil, 404, "No suitable module found"},
		{"header", []string{"X-Okapi-Token", a, "X-Okapi-Tenant", "diku"}, 200, ""},
		{"bearer, tenant from the token", []string{"Authorization", "Bearer " + a}, 200, ""},
		{"authorization without scheme", []string{"Authorization", a}, 200, ""},
		{"cookie alone", []string{"Cookie", "folioAccessToken=" + a}, 200, ""},
		{"all three equal", []string{"X-Okapi-Token", a, "Authorization", "Bearer " + a, "Cookie", "folioAccessToken=" + a}, 200, ""},
		{"header and bearer differ", []string{"X-Okapi-Token", a, "Authorization", "Bearer " + b}, 400, differ},
		{"header and cookie differ", []string{"X-Okapi-Token", a, "Cookie", "folioAccessToken=" + b}, 400, differ},
		{"bearer and cookie differ", []string{"Authorization", "Bearer " + a, "Cookie", "folioAccessToken=" + b}, 400, differ},
		{"two cookies", []string{"Cookie", "folioAccessToken=" + a + "; folioAccessToken=" + a}, 400, differ},
		{"another cookie", []string{"Cookie", "other=1", "X-Okapi-Tenant", "diku"}, 401, "Token missing"},
		{"scheme in lower case is part of the token", []string{"Authorization", "bearer " + a, "X-Okapi-Tenant", "diku"}, 401, invalid},
		{"no token at all, tenant unknown from it", []string{"X-Okapi-Token", "xx", "Authorization", "Bearer xx"}, 400, "Invalid Token"},
		{"two tenants", []string{"X-Okapi-Tenant", "diku", "X-Okapi-Tenant", "other", "X-Okapi-Token", a}, 400, "Different tenants"},
		{"two request ids", []string{"X-Okapi-Tenant", "diku", "X-Okapi-Request-Id", "1/a", "X-Okapi-Request-Id", "2/b"}, 400, "Different values"},
		{"unknown tenant", []string{"X-Okapi-Tenant", "nobody", "X-Okapi-Token", a}, 400, "No such Tenant nobody"},
	} {
		t.Run(test.name, func(t *testing.T) {
			call(t, "GET", w.public+"/echo", "", test.headers...).want(t, test.status, test.body)
		})
	}
}

func TestT25ConflictingTokensReachNoModule(t *testing.T) {
	w := newWorld(t, nil)
	reached := false
	w.module(echoDescriptor, func(http.ResponseWriter, *http.Request) { reached = true })
	w.get("/open", "X-Okapi-Token", w.access(), "X-Okapi-Token", w.access()).want(t, 400, "Different tokens")
	if reached {
		t.Error("the module was asked with one of two tokens")
	}
}

// Each request has this fault and all later ones of the list.
func TestRefusalsComeInOrder(t *testing.T) {
	w := echoing(t)
	old := w.claims()
	old.IssuedAt, old.Expires = old.IssuedAt.Add(-time.Hour), old.IssuedAt.Add(-time.Minute)
	foreign := w.claims()
	foreign.Tenant = "other"
	w.user("other", alice, "alice", directory.Grants{})
	w.grant()
	tenant := []string{"X-Okapi-Tenant", "diku"}
	for _, test := range []struct {
		name, path string
		headers    []string
		status     int
		body       string
	}{
		{"malformed path", "/x/..%2f", []string{"X-Okapi-Request-Id", "a b", "X-Okapi-Tenant", "nobody", "X-Okapi-Token", "x"}, 400, "Invalid path"},
		{"malformed header", "/x", []string{"X-Okapi-Request-Id", "a b", "X-Okapi-Tenant", "nobody", "X-Okapi-Token", "x"}, 400, "Invalid X-Okapi-Request-Id"},
		{"unknown tenant", "/x", []string{"X-Okapi-Tenant", "nobody", "X-Okapi-Token", "x"}, 400, "No such Tenant"},
		{"no route", "/x", append(tenant, "X-Okapi-Token", "x"), 404, "No suitable module found for path and tenant"},
		{"no route, expired token", "/x", append(tenant, "X-Okapi-Token", w.mint(old)), 404, "No suitable module found for path and tenant"},
		{"no route, no token", "/x", tenant, 404, "No suitable module found for path and tenant"},
		{"missing token", "/echo", tenant, 401, "Token missing, access requires permission: echo.get"},
		{"garbage", "/echo", append(tenant, "X-Okapi-Token", "x"), 401, invalid},
		{"expired token", "/echo", append(tenant, "X-Okapi-Token", w.mint(old)), 401, expired},
		{"expired token where none is needed", "/open", append(tenant, "X-Okapi-Token", w.mint(old)), 401, expired},
		{"module's token from outside", "/echo", append(tenant, "X-Okapi-Token", w.moduleToken("echo.get")), 401, invalid},
		{"token of another tenant", "/echo", append(tenant, "X-Okapi-Token", w.mint(foreign)), 403, "Invalid token"},
		{"permission", "/echo", append(tenant, "X-Okapi-Token", w.access()), 403, "Access for user 'alice' (" + alice + ") requires permission: echo.get"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := call(t, "GET", w.public+test.path, "", test.headers...)
			a.want(t, test.status, test.body)
			if got := a.header.Get("Www-Authenticate") != ""; got != (test.status == 401) {
				t.Errorf("WWW-Authenticate %q", a.header.Get("Www-Authenticate"))
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("the refusal may be cached")
			}
		})
	}
}

func TestExpiryIsToldWithWhereToRefresh(t *testing.T) {
	w := echoing(t)
	at := w.access()
	w.get("/echo", "X-Okapi-Token", at).want(t, 200, "")
	w.advance(10*time.Minute + time.Second)
	a := w.get("/echo", "X-Okapi-Token", at)
	if a.status != 401 || a.body != expired || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
}

func TestModulesOfOneInterfaceAreChosenByID(t *testing.T) {
	w := echoing(t)
	for _, id := range []string{"mod-a-1.0.0", "mod-b-1.0.0"} {
		w.module(`{"id":"`+id+`","provides":[{"id":"codex","version":"1.0","interfaceType":"multiple","handlers":[
			{"methods":["GET"],"pathPattern":"/codex","permissionsRequired":[]}]}]}`, func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Okapi-Module-Id") != "" {
				t.Error("X-Okapi-Module-Id went to the module")
			}
			_, _ = rw.Write([]byte(id))
		})
	}
	w.get("/codex").want(t, 404, "No suitable module")
	w.get("/codex", "X-Okapi-Module-Id", "mod-a-1.0.0").want(t, 200, "mod-a-1.0.0")
	w.get("/codex", "X-Okapi-Module-Id", "mod-b-1.0.0").want(t, 200, "mod-b-1.0.0")
	w.get("/codex", "X-Okapi-Module-Id", "mod-c-1.0.0").want(t, 404, "No suitable module")
	w.get("/open", "X-Okapi-Module-Id", "mod-a-1.0.0").want(t, 404, "No suitable module")
}

func TestRequestsAreSpreadOverTheInstances(t *testing.T) {
	w := echoing(t)
	second := w.listen(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { _, _ = rw.Write([]byte("second")) }))
	w.must(w.gateway.SaveInstance(t.Context(), directory.Instance{ID: "2", Module: "mod-echo-1.0.0", URL: second}))
	hits := 0
	for range 100 {
		if w.get("/open").body == "second" {
			hits++
		}
	}
	if hits < 20 || hits > 80 {
		t.Errorf("one of two instances got %d of 100 requests", hits)
	}
}

func TestAModuleWithoutInstanceIs404(t *testing.T) {
	w := echoing(t)
	call(t, "DELETE", w.admin+"/_/discovery/modules/mod-echo-1.0.0", "", "X-Okapi-Token", w.operator("okapi.all")).want(t, 204, "")
	w.get("/open").want(t, 404, "No running module instance found for mod-echo-1.0.0")
	w.get("/echo").want(t, 401, "Token missing") // whoever may not call it does not learn that it is down
}

func TestAnotherTenantsModulesAreNotThere(t *testing.T) {
	w := echoing(t)
	call(t, "GET", w.public+"/open", "", "X-Okapi-Tenant", "other").want(t, 404, "No suitable module")
}

func TestInvokeNamesTheTenantInThePath(t *testing.T) {
	w := echoing(t)
	s := call(t, "POST", w.public+"/_/invoke/tenant/diku/open/a%2Fb?x=1;y", "body").seen(t)
	if s.URI != "/open/a%2Fb?x=1;y" || s.Body != "body" || s.Header.Get("X-Okapi-Tenant") != "diku" {
		t.Errorf("the module saw %+v", s)
	}
	for path, want := range map[string]string{
		"/_/invoke/tenant/nobody/open":    "No such Tenant nobody",
		"/_/invoke/tenant/$%7Bx%7D/open":  "tenantId must not contain ${",
		"/_/invoke/tenant/diku/..%2fopen": "Invalid path",
	} {
		call(t, "GET", w.public+path, "").want(t, 400, want)
	}
	call(t, "GET", w.public+"/_/invoke/tenant/diku/open", "", "X-Okapi-Tenant", "other").want(t, 400, "Different tenants")
	call(t, "GET", w.public+"/_/invoke/tenant/diku/self", "", "X-Okapi-Token", w.access()).want(t, 200, "alice")
	call(t, "GET", w.public+"/_/invoke/tenant/diku", "").want(t, 404, "")
}

func TestRefusalsAndRequestsAreCountedWithoutRawPaths(t *testing.T) {
	w := echoing(t)
	w.get("/items/secret-path")
	w.get("/secret-path")
	w.get("/open").want(t, 200, "")
	families, err := w.counted.Gather()
	w.must(err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
				if strings.Contains(l.GetValue(), "secret") {
					t.Errorf("label %s has a raw path", l)
				}
			}
			if m.GetCounter() != nil {
				got[name] = m.GetCounter().GetValue()
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{
		"counterfoil_gateway_requests_total GET mod-echo 2xx": 1,
		"counterfoil_gateway_refusals_total token_missing":    1,
		"counterfoil_gateway_refusals_total not_found":        1,
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.Transport.DialTimeout = time.Second })
	w.moduleAt(echoDescriptor, "http://127.0.0.1:1")
	at := w.access()
	w.get("/echo?token="+at, "X-Okapi-Token", at).want(t, 503, "")
	if log := w.log.String(); !strings.Contains(log, "mod-echo-1.0.0") || strings.Contains(log, at) {
		t.Errorf("log is %q", log)
	}
}

func TestAStoreThatIsAwayIsNoRefusalOfTheToken(t *testing.T) {
	w := echoing(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.gateway.Directory.Source = unavailable{w.db}
	w.gateway.Directory.ForgetUser("diku", alice)
	a := w.get("/echo", "X-Okapi-Token", w.access())
	a.want(t, 503, "Not available at the moment")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if err := w.gateway.Reload(ctx); err == nil {
		t.Error("Reload said nothing of a store that did not answer")
	}
	w.gateway.Directory.Source = w.db
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 200, "")
}

type unavailable struct{ directory.Source }

func (unavailable) User(context.Context, string, string) (directory.User, error) {
	return directory.User{}, session.ErrUnavailable
}
