package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// tenantModule is a module with a _tenant interface that writes down its calls
// and answers each with the next of the answers.
type tenantModule struct {
	mu      sync.Mutex
	calls   []string
	headers []http.Header
	answers []func(http.ResponseWriter)
}

func (m *tenantModule) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	m.calls = append(m.calls, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)))
	m.headers = append(m.headers, r.Header)
	if len(m.answers) > 0 {
		m.answers[0](w)
		m.answers = m.answers[1:]
	}
}

func (m *tenantModule) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

func say(status int, location, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// v2 is a module whose _tenant interface is of version 2.0.
const v2 = `{"id":"mod-t-%s","provides":[{"id":"t","version":"1.0","handlers":[]},{"id":"_tenant","version":"2.0","interfaceType":"system","handlers":[
	{"methods":["POST"],"pathPattern":"/_/tenant","modulePermissions":["t.init"]},
	{"methods":["GET","DELETE"],"pathPattern":"/_/tenant/{id}"}]}]}`

// tenantWorld has a module registered, by the descriptors given, and not yet
// enabled.
func tenantWorld(t *testing.T, descriptors ...string) (*world, *tenantModule) {
	t.Helper()
	w, m := openWorld(t), &tenantModule{}
	url := w.listen(m)
	for n, text := range descriptors {
		d := parsed(t, text)
		w.must(w.gateway.Register(t.Context(), false, d))
		w.must(w.gateway.SaveInstance(t.Context(), directory.Instance{ID: fmt.Sprint(n), Module: d.ID, URL: url}))
	}
	return w, m
}

const install = "/_/proxy/tenants/diku/install"

func TestInstallTellsTheModule(t *testing.T) {
	w, m := tenantWorld(t, fmt.Sprintf(v2, "1.0.0"), fmt.Sprintf(v2, "1.1.0"))
	step := func(query, body, answer string, calls ...string) {
		t.Helper()
		a := w.manage("POST", install+query, body, "X-Okapi-Request-Id", "000001/op")
		a.want(t, 200, "")
		sameJSON(t, a.body, answer)
		if diff := cmp.Diff(calls, m.take()); diff != "" {
			t.Error(diff)
		}
	}
	step("?simulate=true", `[{"id":"mod-t-1.0.0","action":"enable"}]`, `[{"id":"mod-t-1.0.0","action":"enable"}]`)
	step("?tenantParameters=loadReference%3Dtrue%2CloadSample", `[{"id":"mod-t-1.0.0","action":"enable"}]`,
		`[{"id":"mod-t-1.0.0","action":"enable"}]`,
		`POST /_/tenant {"module_to":"mod-t-1.0.0","purge":false,"parameters":[{"key":"loadReference","value":"true"},{"key":"loadSample"}]}`)
	step("", `[{"id":"mod-t-1.0.0","action":"enable"}]`, `[{"id":"mod-t-1.0.0","action":"uptodate"}]`)
	step("?reinstall=true", `[{"id":"mod-t-1.0.0","action":"enable"}]`, `[{"id":"mod-t-1.0.0","from":"mod-t-1.0.0","action":"enable"}]`,
		`POST /_/tenant {"module_to":"mod-t-1.0.0","module_from":"mod-t-1.0.0","purge":false}`)
	step("", `[{"id":"mod-t","action":"enable"}]`, `[{"id":"mod-t-1.1.0","from":"mod-t-1.0.0","action":"enable"}]`,
		`POST /_/tenant {"module_to":"mod-t-1.1.0","module_from":"mod-t-1.0.0","purge":false}`)
	step("", `[{"id":"mod-t","action":"disable"}]`, `[{"id":"mod-t-1.1.0","action":"disable"}]`,
		`POST /_/tenant {"module_from":"mod-t-1.1.0","purge":false}`)
	step("?invoke=false", `[{"id":"mod-t-1.0.0","action":"enable"}]`, `[{"id":"mod-t-1.0.0","action":"enable"}]`)
	step("?purge=true&invoke=mod-t.*", `[{"id":"mod-t-1.0.0","action":"disable"}]`, `[{"id":"mod-t-1.0.0","action":"disable"}]`,
		`POST /_/tenant {"module_from":"mod-t-1.0.0","purge":true}`)
	step("?purge=true", `[{"id":"mod-t-1.0.0","action":"enable"}]`, `[{"id":"mod-t-1.0.0","action":"enable"}]`,
		`POST /_/tenant {"module_from":"mod-t-1.0.0","purge":true}`,
		`POST /_/tenant {"module_to":"mod-t-1.0.0","purge":false}`)
	step("?invoke=mod-x.*", `[{"id":"mod-t-1.0.0","action":"disable"}]`, `[{"id":"mod-t-1.0.0","action":"disable"}]`)
}

// The call is made in nobody's name: what the administrator may do is none of
// the module's business.
func TestTheModulePreparesWithPermissionsOfItsOwn(t *testing.T) {
	w, m := tenantWorld(t, fmt.Sprintf(v2, "1.0.0"))
	w.manage("POST", install, `[{"id":"mod-t-1.0.0","action":"enable"}]`, "X-Okapi-Request-Id", "000001/op", "X-Okapi-Token", w.operator("okapi.all")).want(t, 200, "")
	h := m.headers[0]
	c, err := w.ring.Verify(h.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.Subject, "UNDEFINED_USER__") || c.UserID != "" || c.Tenant != "diku" || c.Module != "mod-t-1.0.0" || strings.Join(c.Permissions, "") != "t.init" {
		t.Errorf("claims %+v", c)
	}
	id := h.Get("X-Okapi-Request-Id")
	if !strings.HasPrefix(id, "000001/op;") || !strings.HasSuffix(id, "/tenant") || c.RequestID != id {
		t.Errorf("request id %q", id)
	}
	for name, want := range map[string]string{
		"X-Okapi-Tenant": "diku", "X-Okapi-Url": w.internal, "X-Okapi-Permissions": "[]", "Content-Type": "application/json", "X-Okapi-User-Id": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(h.Get("X-Okapi-Url-To"), "http://127.0.0.1:") {
		t.Errorf("X-Okapi-Url-To: %q", h.Get("X-Okapi-Url-To"))
	}
}

func TestAModuleThatPreparesInTheBackgroundIsWaitedFor(t *testing.T) {
	const job = `{"id":"job-1","complete":false}`
	for _, test := range []struct {
		name    string
		answers []func(http.ResponseWriter)
		status  int
		body    string
		calls   int
	}{
		{"success", []func(http.ResponseWriter){
			say(201, "/_/tenant/job-1", job), say(200, "", job), say(200, "", `{"id":"job-1","complete":true}`), say(204, "", ""),
		}, 200, "", 4},
		{"failure", []func(http.ResponseWriter){
			say(201, "/_/tenant/job-1", job), say(200, "", `{"id":"job-1","complete":true,"error":"no database","messages":["one","two"]}`), say(204, "", ""),
		}, 400, "Tenant operation failed for module mod-t-1.0.0: no database\none\ntwo", 3},
		{"no id", []func(http.ResponseWriter){say(201, "/x", "{}")}, 400, "Missing id property in JSON response for module mod-t-1.0.0: POST /_/tenant", 1},
		{"id that is a path", []func(http.ResponseWriter){say(201, "/x", `{"id":"../../users"}`)}, 400, "Missing id property", 1},
		{"refused", []func(http.ResponseWriter){say(500, "", "no way")}, 400, "POST request for mod-t-1.0.0 /_/tenant failed with 500: no way", 1},
		{"redirected", []func(http.ResponseWriter){say(302, "http://127.0.0.1:1/", "")}, 400, "POST request for mod-t-1.0.0 /_/tenant failed with 302", 1},
		{"no JSON", []func(http.ResponseWriter){say(201, "/x", job), say(200, "", "<html>")}, 400, "Tenant operation failed for module mod-t-1.0.0", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, m := tenantWorld(t, fmt.Sprintf(v2, "1.0.0"))
			m.answers = test.answers
			w.manage("POST", install, `[{"id":"mod-t-1.0.0","action":"enable"}]`).want(t, test.status, test.body)
			if calls := m.take(); len(calls) != test.calls {
				t.Errorf("calls %q", calls)
			}
			enabled := w.manage("GET", "/_/proxy/tenants/diku/modules", "").body
			if strings.Contains(enabled, "mod-t") != (test.status == 200) {
				t.Errorf("enabled: %s", enabled)
			}
		})
	}
}

func TestOlderTenantInterfacesAreCalledAsTheyExpect(t *testing.T) {
	handlers := `"interfaceType":"system","handlers":[
		{"methods":["POST"],"pathPattern":"/_/tenant"},
		{"methods":["POST"],"pathPattern":"/_/tenant/disable"},
		{"methods":["DELETE"],"pathPattern":"/_/tenant"}]`
	for _, test := range []struct {
		version, handlers      string
		enable, disable, purge string
	}{
		{"1.0", `"interfaceType":"system"`, `POST /_/tenant {"module_to":"mod-t-1.0.0"}`, "", ""},
		{"1.0", handlers, `POST /_/tenant {"module_to":"mod-t-1.0.0"}`, "", "DELETE /_/tenant"},
		{"1.1", handlers, `POST /_/tenant {"module_to":"mod-t-1.0.0"}`, `POST /_/tenant/disable {"module_from":"mod-t-1.0.0"}`, "DELETE /_/tenant"},
		{
			"1.2", handlers, `POST /_/tenant {"module_to":"mod-t-1.0.0","parameters":[{"key":"a","value":"b"}]}`,
			`POST /_/tenant/disable {"module_from":"mod-t-1.0.0","parameters":[{"key":"a","value":"b"}]}`, "DELETE /_/tenant",
		},
	} {
		t.Run(test.version, func(t *testing.T) {
			w, m := tenantWorld(t, fmt.Sprintf(`{"id":"mod-t-1.0.0","provides":[{"id":"_tenant","version":%q,%s}]}`, test.version, test.handlers))
			for _, action := range []struct{ name, query, call string }{
				{"enable", "", test.enable}, {"disable", "", test.disable}, {"enable", "&invoke=false", ""}, {"disable", "&purge=true", test.purge},
			} {
				w.manage("POST", install+"?tenantParameters=a%3Db"+action.query, `[{"id":"mod-t-1.0.0","action":"`+action.name+`"}]`).want(t, 200, "")
				if got := strings.Join(m.take(), "|"); got != action.call {
					t.Errorf("%s%s: %q, want %q", action.name, action.query, got, action.call)
				}
			}
		})
	}
}

func TestTenantInterfacesThatCannotBeCalled(t *testing.T) {
	for descriptor, want := range map[string]string{
		`{"id":"mod-t-1.0.0","provides":[{"id":"_tenant","version":"3.0","interfaceType":"system"}]}`: "Unsupported interface _tenant: 3.0",
		`{"id":"mod-t-1.0.0","provides":[{"id":"_tenant","version":"2.0","interfaceType":"system","handlers":[
			{"methods":["POST"],"pathPattern":"/_/tenant"},{"methods":["GET"],"pathPattern":"/_/tenant/{id}"}]}]}`: "Missing DELETE method for tenant interface version 2 for module mod-t-1.0.0",
	} {
		w, _ := tenantWorld(t, descriptor)
		w.manage("POST", install, `[{"id":"mod-t","action":"enable"}]`).want(t, 400, want)
	}
	w, _ := tenantWorld(t, fmt.Sprintf(v2, "1.0.0"))
	w.manage("DELETE", "/_/discovery/modules", "").want(t, 204, "")
	w.manage("POST", install, `[{"id":"mod-t","action":"enable"}]`).want(t, 400, "No running instances for module mod-t-1.0.0. Can not invoke /_/tenant")
}

func TestInstallStopsAtAnErrorOrGoesOn(t *testing.T) {
	descriptors := []string{minimal, fmt.Sprintf(v2, "1.0.0"), needy}
	body := `[{"id":"mod-min","action":"enable"},{"id":"mod-t","action":"enable"},{"id":"mod-needy","action":"enable"}]`
	w, m := tenantWorld(t, descriptors...)
	m.answers = []func(http.ResponseWriter){say(500, "", "no")}
	w.manage("POST", install, body).want(t, 400, "POST request for mod-t-1.0.0 /_/tenant failed with 500: no")
	sameJSON(t, w.manage("GET", "/_/proxy/tenants/diku/modules", "").body, `[{"id":"mod-min-1.0.0"}]`)

	w, m = tenantWorld(t, descriptors...)
	m.answers = []func(http.ResponseWriter){say(500, "", "no")}
	a := w.manage("POST", install+"?ignoreErrors=true", body)
	sameJSON(t, a.body, `[{"id":"mod-min-1.0.0","action":"enable"},
		{"id":"mod-t-1.0.0","action":"enable","message":"POST request for mod-t-1.0.0 /_/tenant failed with 500: no"},
		{"id":"mod-needy-1.0.0","action":"enable"}]`)
	sameJSON(t, w.manage("GET", "/_/proxy/tenants/diku/modules", "").body, `[{"id":"mod-min-1.0.0"},{"id":"mod-needy-1.0.0"}]`)
}

func TestInstallAddsWhatIsNeeded(t *testing.T) {
	w, _ := tenantWorld(t, minimal, newer, needy)
	sameJSON(t, w.manage("POST", install+"?preRelease=false", `[{"id":"mod-needy","action":"enable"}]`).body,
		`[{"id":"mod-min-1.1.0","action":"enable"},{"id":"mod-needy-1.0.0","action":"enable"}]`)
	sameJSON(t, w.manage("POST", install, `[{"id":"mod-min","action":"disable"}]`).body,
		`[{"id":"mod-needy-1.0.0","action":"disable"},{"id":"mod-min-1.1.0","action":"disable"}]`)
	sameJSON(t, w.manage("POST", install+"?depCheck=false", `[{"id":"mod-needy","action":"enable"}]`).body,
		`[{"id":"mod-needy-1.0.0","action":"enable"}]`)
}

func TestInstallOptionsThatAreRefused(t *testing.T) {
	w := openWorld(t)
	for query, want := range map[string]string{
		"deploy=true":               "deploy is not supported",
		"async=true":                "async is not supported",
		"parallel=2&depCheck=false": "Install Option parallel can not be greater than 1",
		"parallel=x":                "Bad integer for parameter 'parallel'",
		"simulate=1":                "Bad boolean for parameter simulate: 1",
		"invoke=(":                  "invoke must be true, false or a regular expression",
		"npmSnapshot=x":             "preRelease and npmSnapshot must be",
	} {
		status := 400
		if strings.HasSuffix(want, "is not supported") {
			status = 501
		}
		w.manage("POST", install+"?"+query, "[]").want(t, status, want)
	}
	w.manage("POST", install, `{"id":"mod-x-1"}`).want(t, 400, "Invalid JSON")
	w.manage("POST", "/_/proxy/tenants/nobody/install", "[]").want(t, 404, "nobody")
	w.manage("POST", install+"?parallel=4", "[]").want(t, 200, "[]")
}

// A module that was just started may not listen yet when it is enabled.
func TestAModuleThatIsStartingIsWaitedFor(t *testing.T) {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.Transport.StartPause = 20 * time.Millisecond })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	address := listener.Addr().String()
	w.must(listener.Close())
	enable := func() error {
		_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-t-1.0.0", Action: "enable"}}, &gateway.InstallOptions{})
		return err
	}
	w.must(w.gateway.Register(t.Context(), false, parsed(t, fmt.Sprintf(v2, "1.0.0"))))
	w.must(w.gateway.SaveInstance(t.Context(), directory.Instance{ID: "t", Module: "mod-t-1.0.0", URL: "http://" + address}))
	if err := enable(); err == nil || !strings.Contains(err.Error(), "POST request for mod-t-1.0.0 /_/tenant failed with") {
		t.Errorf("one that never comes: %v", err)
	}
	done := make(chan error)
	go func() { done <- enable() }()
	listener, err = net.Listen("tcp", address)
	w.must(err)
	m := &tenantModule{}
	server := &http.Server{Handler: m}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	w.must(<-done)
	if calls := m.take(); len(calls) != 1 {
		t.Errorf("called %q", calls)
	}
}
