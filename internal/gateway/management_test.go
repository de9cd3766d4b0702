package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

// openWorld is one whose management needs no token.
func openWorld(t testing.TB) *world {
	return newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.OpenManagement = true })
}

// manage calls the admin listener.
func (w *world) manage(method, path, body string, headers ...string) answer {
	w.t.Helper()
	return call(w.t, method, w.admin+path, body, headers...)
}

// sameJSON compares a body with JSON, whatever the white space.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(got), &x); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &y); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(y, x); diff != "" {
		t.Error(diff)
	}
}

const (
	minimal = `{"id":"mod-min-1.0.0","name":"min","provides":[{"id":"min","version":"1.0","handlers":[]}]}`
	newer   = `{"id":"mod-min-1.1.0","provides":[{"id":"min","version":"1.1","handlers":[]}]}`
	needy   = `{"id":"mod-needy-1.0.0","requires":[{"id":"min","version":"1.0"}],"provides":[{"id":"needy","version":"1.0","handlers":[]}]}`
)

// Each endpoint with Okapi's permission, what it answers to whoever has it,
// and whether callers of the tenant itself need none.
var endpoints = []struct {
	method, path, body string
	permission, set    string
	status             int
	own, public        bool
}{
	{"GET", "/_/version", "", "okapi.version.get", "okapi.readonly", 200, true, true},
	{"GET", "/_/proxy/modules", "", "okapi.proxy.modules.list", "okapi.modules", 200, false, false},
	{"POST", "/_/proxy/modules", minimal, "okapi.proxy.modules.post", "okapi.modules", 201, false, false},
	{"POST", "/_/proxy/import/modules", "[" + needy + "]", "okapi.proxy.modules.post", "okapi.modules", 204, false, false},
	{"GET", "/_/proxy/modules/mod-min-1.0.0", "", "okapi.proxy.modules.get", "okapi.readonly", 200, false, false},
	{"POST", "/_/proxy/tenants", `{"id":"testlib"}`, "okapi.proxy.tenants.post", "okapi.tenants", 201, false, false},
	{"GET", "/_/proxy/tenants", "", "okapi.proxy.tenants.list", "okapi.tenants", 200, false, false},
	{"GET", "/_/proxy/tenants/diku", "", "okapi.proxy.tenants.get", "okapi.readonly", 200, false, false},
	{"PUT", "/_/proxy/tenants/diku", `{"id":"diku","name":"D"}`, "okapi.proxy.tenants.put", "okapi.tenants", 200, false, false},
	{"POST", "/_/proxy/tenants/diku/modules", `{"id":"mod-min"}`, "okapi.proxy.tenants.modules.post", "okapi.tenantmodules", 201, false, false},
	{"GET", "/_/proxy/tenants/diku/modules", "", "okapi.proxy.tenants.modules.list", "okapi.readonly", 200, true, true},
	{"GET", "/_/proxy/tenants/diku/modules/mod-min-1.0.0", "", "okapi.proxy.tenants.modules.enabled.get", "okapi.tenantmodules", 200, true, true},
	{"GET", "/_/proxy/tenants/diku/interfaces", "", "okapi.proxy.tenants.interfaces.list", "okapi.interfaces", 200, true, true},
	{"GET", "/_/proxy/tenants/diku/interfaces/min", "", "okapi.proxy.tenants.interfaces.get", "okapi.readonly", 200, true, true},
	{"POST", "/_/proxy/tenants/diku/modules/mod-min-1.0.0", `{"id":"mod-min-1.0.0"}`, "okapi.proxy.tenants.modules.enabled.post", "okapi.tenantmodules", 201, false, false},
	{"DELETE", "/_/proxy/tenants/diku/modules/mod-min-1.0.0", "", "okapi.proxy.tenants.modules.enabled.delete", "okapi.tenantmodules", 204, false, false},
	{"POST", "/_/proxy/tenants/diku/upgrade", "", "okapi.proxy.tenants.upgrade.post", "okapi.tenantmodules", 200, false, false},
	{"GET", "/_/proxy/tenants/diku/timers", "", "okapi.proxy.tenants.timers.list", "okapi.timers", 200, true, true},
	{"PATCH", "/_/proxy/tenants/diku/timers", `{"id":"none"}`, "okapi.proxy.tenants.timers.patch", "okapi.timers", 404, false, false},
	{"GET", "/_/proxy/tenants/diku/install", "", "okapi.proxy.tenants.install.list", "okapi.readonly", 501, false, false},
	{"DELETE", "/_/proxy/tenants/diku/install", "", "okapi.proxy.tenants.install.delete", "okapi.tenantmodules", 501, false, false},
	{"POST", "/_/proxy/pull/modules", "", "okapi.proxy.pull.modules.post", "okapi.modules", 501, false, false},
	{"POST", "/_/proxy/cleanup/modules", "", "okapi.proxy.cleanup.modules", "okapi.modules", 501, false, false},
	{"POST", "/_/deployment/modules", "", "okapi.deployment.post", "okapi.deploy", 501, false, false},
	{"GET", "/_/discovery/nodes", "", "okapi.discovery.nodes.get", "okapi.deploy", 501, false, false},
	{"GET", "/_/env", "", "okapi.env.list", "okapi.env", 501, false, false},
	{"POST", "/_/proxy/tenants/diku/install", `[{"id":"mod-min","action":"enable"}]`, "okapi.proxy.tenants.install.post", "okapi.tenantmodules", 200, false, false},
	{"DELETE", "/_/proxy/tenants/diku/modules", "", "okapi.proxy.tenants.modules.delete", "okapi.tenantmodules", 204, false, false},
	{"POST", "/_/discovery/modules", `{"srvcId":"mod-min-1.0.0","instId":"i","url":"http://127.0.0.1:1"}`, "okapi.discovery.post", "okapi.deploy", 201, false, false},
	{"GET", "/_/discovery/modules", "", "okapi.discovery.get", "okapi.deploy", 200, false, false},
	{"GET", "/_/discovery/modules/mod-min-1.0.0", "", "okapi.discovery.get", "okapi.deploy", 200, false, false},
	{"GET", "/_/discovery/modules/mod-min-1.0.0/i", "", "okapi.discovery.get", "okapi.deploy", 200, false, false},
	{"GET", "/_/discovery/health", "", "okapi.discovery.health.get", "okapi.deploy", 200, false, false},
	{"GET", "/_/discovery/health/mod-min-1.0.0", "", "okapi.discovery.health.get", "okapi.deploy", 200, false, false},
	{"GET", "/_/discovery/health/mod-min-1.0.0/i", "", "okapi.discovery.health.get", "okapi.deploy", 200, false, false},
	{"DELETE", "/_/discovery/modules/mod-min-1.0.0/i", "", "okapi.discovery.delete", "okapi.deploy", 204, false, false},
	{"DELETE", "/_/discovery/modules", "", "okapi.discovery.delete", "okapi.deploy", 204, false, false},
	{"DELETE", "/_/proxy/modules/mod-needy-1.0.0", "", "okapi.proxy.modules.delete", "okapi.modules", 204, false, false},
	{"DELETE", "/_/proxy/tenants/testlib", "", "okapi.proxy.tenants.delete", "okapi.tenants", 204, false, false},
}

func TestEveryEndpointNeedsItsPermission(t *testing.T) {
	w := newWorld(t, nil)
	own := w.access()
	w.grant("okapi.all") // in a tenant, where it means nothing
	for _, e := range endpoints {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			missing := "Token missing, access requires permission: " + e.permission
			w.manage(e.method, e.path, e.body).want(t, 401, missing)
			denied := "Access for user 'operator' (" + operator + ") requires permission: " + e.permission
			if !strings.Contains(e.path, "/tenants") && e.own {
				denied = "" // any token will do
			} else {
				w.manage(e.method, e.path, e.body, "X-Okapi-Token", w.operator("okapi.other", "users.all")).want(t, 403, denied)
			}
			if !e.own {
				w.manage(e.method, e.path, e.body, "X-Okapi-Token", own).want(t, 403, "Access to this endpoint requires a token of tenant supertenant")
			}
			if e.method == "GET" {
				for _, name := range []string{e.permission, e.set, "okapi.all"} {
					w.manage(e.method, e.path, e.body, "X-Okapi-Token", w.operator(name)).want(t, e.status, "")
				}
			} else {
				w.manage(e.method, e.path, e.body, "X-Okapi-Token", w.operator(e.set)).want(t, e.status, "")
			}
			if e.own {
				w.manage(e.method, e.path, e.body, "X-Okapi-Token", own).want(t, e.status, "")
				other := strings.Replace(e.path, "diku", "other", 1)
				if other != e.path {
					w.manage(e.method, other, e.body, "X-Okapi-Token", own).want(t, 403, "Access to this endpoint requires")
				}
			}
		})
	}
}

func TestOnlyReadsStandOutside(t *testing.T) {
	w := newWorld(t, nil)
	w.must(w.gateway.Register(t.Context(), false, parsed(t, minimal)))
	_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-min", Action: "enable"}}, &gateway.InstallOptions{})
	w.must(err)
	at, boss := w.access(), w.operator("okapi.all")
	for _, e := range endpoints {
		a := call(t, e.method, w.public+e.path, e.body, "X-Okapi-Token", boss)
		if !e.public {
			if a.status != 404 && a.status != 405 {
				t.Errorf("%s %s got %d %s outside", e.method, e.path, a.status, a.body)
			}
			continue
		}
		a.want(t, e.status, "")
		call(t, e.method, w.public+e.path, e.body).want(t, 401, "Token missing")
		call(t, e.method, w.public+e.path, e.body, "X-Okapi-Tenant", "diku", "X-Okapi-Token", at).want(t, e.status, "")
		call(t, e.method, w.internal+e.path, e.body, "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.moduleToken()).want(t, e.status, "")
	}
}

func parsed(t testing.TB, descriptor string) *gateway.ModuleDescriptor {
	t.Helper()
	d, err := gateway.ParseDescriptor([]byte(descriptor))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestVersionAndHealth(t *testing.T) {
	w := newWorld(t, nil)
	a := w.get("/_/version", "X-Okapi-Token", w.access())
	if a.body != "1.2.3" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("version %q as %s", a.body, a.header.Get("Content-Type"))
	}
	a = call(t, "GET", w.public+"/_/proxy/health", "", "X-Okapi-Token", "garbage")
	if a.status != 200 || strings.TrimSpace(a.body) != "[]" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("health %d %q", a.status, a.body)
	}
}

// Open management is for this machine. A web page that is open on it must not
// get in, whether by a request across origins or under a name of its own that
// it made to point here.
func TestOpenManagementIsClosedToWebPages(t *testing.T) {
	w := openWorld(t)
	port := w.admin[strings.LastIndex(w.admin, ":"):]
	for _, test := range []struct {
		name, host string
		headers    string
		status     int
	}{
		{"curl", "127.0.0.1" + port, "", 201},
		{"by name", "localhost" + port, "", 201},
		{"IPv6", "[::1]" + port, "", 201},
		{"rebound name", "evil.test" + port, "", 403},
		{"address of the network", "192.168.1.1" + port, "", 403},
		{"another site", "127.0.0.1" + port, "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.test\r\n", 403},
		{"another port", "localhost" + port, "Sec-Fetch-Site: same-site\r\nOrigin: http://localhost:1\r\n", 403},
		{"old browser", "127.0.0.1" + port, "Origin: https://evil.test\r\n", 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			res := raw(t, w.admin, fmt.Sprintf("POST /_/proxy/modules HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s",
				test.host, test.headers, len(minimal), minimal))
			if res.StatusCode != test.status {
				t.Errorf("got %d, want %d", res.StatusCode, test.status)
			}
		})
	}
	events, err := w.db.Events(t.Context(), session.EventFilter{Kind: audit.ModuleChanged})
	w.must(err)
	if len(events) != 1 || events[0].Actor.Kind != "operator" || events[0].Actor.RequestID == "" || events[0].Detail["module"] != "mod-min-1.0.0" {
		t.Errorf("events %+v", events)
	}
}

func TestTenantsAreAdministeredAsInOkapi(t *testing.T) {
	w := openWorld(t)
	a := w.manage("POST", "/_/proxy/tenants", `{"id":"testlib","name":"Test","description":"of tests"}`)
	a.want(t, 201, "")
	sameJSON(t, a.body, `{"id":"testlib","name":"Test","description":"of tests"}`)
	if a.header.Get("Location") != "/_/proxy/tenants/testlib" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	w.manage("POST", "/_/proxy/tenants", `{"id":"testlib"}`).want(t, 400, "Duplicate tenant id testlib")
	w.manage("POST", "/_/proxy/tenants", `{"id":"test_lib"}`).want(t, 400, "Tenant id must not contain underscore: test_lib")
	w.manage("POST", "/_/proxy/tenants", `{"id":"testlib","id":"b"}`).want(t, 400, "Invalid JSON")
	var drawn struct{ ID string }
	if err := json.Unmarshal([]byte(w.manage("POST", "/_/proxy/tenants", `{}`).body), &drawn); err != nil || len(drawn.ID) != 31 {
		t.Errorf("drew %q, %v", drawn.ID, err)
	}
	w.manage("DELETE", "/_/proxy/tenants/"+drawn.ID, "").want(t, 204, "")
	sameJSON(t, w.manage("PUT", "/_/proxy/tenants/testlib", `{"id":"testlib","name":"New"}`).body, `{"id":"testlib","name":"New"}`)
	sameJSON(t, w.manage("GET", "/_/proxy/tenants/testlib", "").body, `{"id":"testlib","name":"New"}`)
	w.manage("PUT", "/_/proxy/tenants/testlib", `{"id":"diku"}`).want(t, 400, "The tenant id must not be changed, old='testlib', new='diku'")
	w.manage("PUT", "/_/proxy/tenants/putlib", `{"id":"putlib"}`).want(t, 200, "")
	w.manage("PUT", "/_/proxy/tenants/9lib", `{"id":"9lib"}`).want(t, 400, "Tenant id must not start with a digit: 9lib")
	sameJSON(t, w.manage("GET", "/_/proxy/tenants", "").body,
		`[{"id":"diku"},{"id":"other"},{"id":"putlib"},{"id":"supertenant","name":"supertenant","description":"owns the gateway itself"},{"id":"testlib","name":"New"}]`)
	w.manage("DELETE", "/_/proxy/tenants/testlib", "").want(t, 204, "")
	w.manage("DELETE", "/_/proxy/tenants/testlib", "").want(t, 404, "testlib")
	w.manage("GET", "/_/proxy/tenants/testlib", "").want(t, 404, "testlib")
	w.manage("DELETE", "/_/proxy/tenants/supertenant", "").want(t, 400, "Can not delete the superTenant supertenant")
	for _, path := range []string{"/modules", "/interfaces", "/interfaces/x", "/modules/x"} {
		w.manage("GET", "/_/proxy/tenants/testlib"+path, "").want(t, 404, "testlib")
	}
}

func TestATenantThatIsDeletedTakesItsSessionsAlong(t *testing.T) {
	w := openWorld(t)
	w.module(echoDescriptor, echo)
	at := w.access()
	w.get("/echo", "X-Okapi-Token", at).want(t, 200, "")
	w.manage("DELETE", "/_/proxy/tenants/diku", "").want(t, 204, "")
	w.get("/echo", "X-Okapi-Token", at).want(t, 400, "No such Tenant diku")
	w.manage("POST", "/_/proxy/tenants", `{"id":"diku"}`).want(t, 201, "")
	w.get("/echo", "X-Okapi-Token", at).want(t, 404, "")
	w.get("/self", "X-Okapi-Token", at).want(t, 401, invalid)
}
