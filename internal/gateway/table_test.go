package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// descriptorOf is a descriptor with one interface of the given type.
func descriptorOf(t testing.TB, id, interfaceType string, handlers ...string) *ModuleDescriptor {
	t.Helper()
	return mustParse(t, fmt.Sprintf(`{"id":%q,"provides":[{"id":"i-%s","version":"1.0","interfaceType":%q,"handlers":[%s]}]}`,
		id, id, interfaceType, strings.Join(handlers, ",")))
}

func get(pattern string) string { return handler("GET", pattern) }

func handler(method, pattern string) string {
	return fmt.Sprintf(`{"methods":[%q],"pathPattern":%q,"permissionsRequired":[%q]}`, method, pattern, method+" "+pattern)
}

func table(t testing.TB, mods ...*ModuleDescriptor) *Table {
	t.Helper()
	tab, err := NewTable("diku", mods)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestRoutesAreFoundAsInOkapi(t *testing.T) {
	tab := table(t,
		// Not in the order of ids, to show that the table makes it.
		descriptorOf(t, "mod-b-1.0.0", "proxy", get("/same/{id}"), get("/b")),
		descriptorOf(t, "mod-a-1.0.0", "",
			get("/same/{x}"), get("/testb"), get("/testb/{id}"), get("/testb/client_id"),
			get("/p/*/y"), get("/perms/users*"), handler("POST", "/testb"), handler("*", "/any"),
			get("/deep/*"), get("/deep/er/{id}"), get("/first/{a}"), handler("GET", "/first/{b}"),
			`{"methods":["GET"],"path":"/old/type","permissionsRequired":[]}`,
			`{"methods":["GET"],"pathPattern":"/moved","type":"redirect","redirectPath":"/b","permissionsRequired":[]}`,
			`{"methods":["GET"],"pathPattern":"/inside","type":"internal","permissionsRequired":[]}`,
			`{"pathPattern":"/silent","permissionsRequired":[]}`,
			handler("TRACE", "/trace"),
			get("no/slash"), get("*"),
		),
		descriptorOf(t, "mod-s-1.0.0", "system", get("/_/tenant"), get("/system")),
		mustParse(t, `{"id":"mod-u-1.0.0","provides":[{"id":"_tenant","version":"1.0","handlers":[{"methods":["GET"],"pathPattern":"/underscore"}]}]}`),
		descriptorOf(t, "mod-m-1.0.0", "multiple", get("/codex"), get("/testb")),
		descriptorOf(t, "mod-n-1.0.0", "multiple", get("/codex")),
	)
	for _, test := range []struct{ method, path, moduleID, want string }{
		{"GET", "/testb", "", "mod-a-1.0.0 /testb"},
		{"POST", "/testb", "", "mod-a-1.0.0 /testb"},
		{"PUT", "/testb", "", "404"},
		{"HEAD", "/testb", "", "404"},
		{"GET", "/testbZZZ", "", "404"},
		{"GET", "/TESTB", "", "404"},
		{"GET", "/testb/", "", "404"},
		{"GET", "/testb/7", "", "mod-a-1.0.0 /testb/{id}"},
		{"GET", "/testb/client_id", "", "mod-a-1.0.0 /testb/client_id"}, // literal beats braces
		{"GET", "/testb/client_id%2Fx", "", "mod-a-1.0.0 /testb/{id}"},
		{"GET", "/testb/client_id/x", "", "404"},
		{"GET", "/same/1", "", "mod-a-1.0.0 /same/{x}"}, // module id order
		{"GET", "/first/1", "", "mod-a-1.0.0 /first/{a}"},
		{"GET", "/b", "", "mod-b-1.0.0 /b"},
		{"GET", "/deep/er/1", "", "mod-a-1.0.0 /deep/er/{id}"}, // longest prefix
		{"GET", "/deep/er/1/2", "", "mod-a-1.0.0 /deep/*"},
		{"GET", "/deep/", "", "mod-a-1.0.0 /deep/*"},
		{"GET", "/deep", "", "404"},
		{"GET", "/p/id/y", "", "mod-a-1.0.0 /p/*/y"},
		{"GET", "/p/id", "", "404"},
		{"GET", "/perms/users1", "", "mod-a-1.0.0 /perms/users*"},
		{"GET", "/perms/users/y", "", "mod-a-1.0.0 /perms/users*"},
		{"GET", "/old/type", "", "mod-a-1.0.0 "},
		{"GET", "/old/type/more", "", "mod-a-1.0.0 "},
		{"GET", "/old/foo", "", "404"},
		{"DELETE", "/any", "", "mod-a-1.0.0 /any"},
		{"GET", "/", "", "404"},
		{"GET", "/unknown", "", "404"},
		{"GET", "no/slash", "", "mod-a-1.0.0 no/slash"}, // CheckPath lets no such path come so far
		{"GET", "/moved", "", "mod-a-1.0.0 /moved"},     // a redirect, which the gateway answers with 501
		{"GET", "/inside", "", "404"},
		{"GET", "/silent", "", "404"},
		// System interfaces are for nobody outside.
		{"GET", "/_/tenant", "", "404"},
		{"GET", "/system", "", "404"},
		{"GET", "/underscore", "", "404"},
		{"GET", "/system", "mod-s-1.0.0", "404"},
		// Multiple interfaces need the header and the header needs them.
		{"GET", "/codex", "", "404"},
		{"GET", "/codex", "mod-m-1.0.0", "mod-m-1.0.0 /codex"},
		{"GET", "/codex", "mod-n-1.0.0", "mod-n-1.0.0 /codex"},
		{"GET", "/codex", "mod-a-1.0.0", "404"},
		{"GET", "/codex", "mod-n", "404"},
		{"GET", "/testb", "mod-m-1.0.0", "mod-m-1.0.0 /testb"},
		{"GET", "/testb", "mod-a-1.0.0", "404"},
	} {
		t.Run(test.method+" "+test.path+" "+test.moduleID, func(t *testing.T) {
			r, result := tab.Match(test.method, test.path, test.moduleID)
			got := "404"
			if result == Matched {
				got = r.ModuleID + " " + r.Pattern
			} else if result != NoRoute || r != nil {
				t.Fatalf("result %v with route %v", result, r)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestT28OddMethodsReachNoModule(t *testing.T) {
	tab := table(t, descriptorOf(t, "mod-a-1.0.0", "", handler("*", "/*"), handler("TRACE", "/t"), handler("CONNECT", "/t")))
	for _, method := range []string{"TRACE", "CONNECT", "FOO", "get", "", "*", "PROPFIND", "GET "} {
		if r, result := tab.Match(method, "/t", ""); result != MethodRefused || r != nil {
			t.Errorf("%q: result %v, want MethodRefused", method, result)
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if _, result := tab.Match(method, "/t", ""); result != Matched {
			t.Errorf("%s: result %v, want Matched", method, result)
		}
	}
}

func TestATenantsOwnPeopleMayNeedOtherPermissions(t *testing.T) {
	tab := table(t, descriptorOf(t, "okapi-1.0.0", "",
		`{"methods":["GET"],"pathPattern":"/t/{tenantId}/modules","permissionsRequired":["list"],"permissionsRequiredTenant":[]}`,
		`{"methods":["GET"],"pathPattern":"/version","permissionsRequired":["version"],"permissionsRequiredTenant":["own"]}`,
		`{"methods":["GET"],"pathPattern":"/plain/{tenantId}","permissionsRequired":["plain"]}`,
		`{"methods":["GET"],"path":"/legacy","permissionsRequired":["legacy"],"permissionsRequiredTenant":[]}`,
	))
	for _, test := range []struct {
		path     string
		hasToken bool
		want     []string
	}{
		{"/t/diku/modules", true, []string{}},
		{"/t/diku/modules", false, []string{"list"}},
		{"/t/other/modules", true, []string{"list"}},
		{"/t/dik%75/modules", true, []string{"list"}},
		{"/version", true, []string{"own"}},
		{"/version", false, []string{"version"}},
		{"/plain/diku", true, []string{"plain"}},
		{"/legacy", true, []string{"legacy"}},
	} {
		r, result := tab.Match(http.MethodGet, test.path, "")
		if result != Matched {
			t.Fatalf("%s: result %v", test.path, result)
		}
		if diff := cmp.Diff(test.want, r.Required(test.path, test.hasToken)); diff != "" {
			t.Errorf("%s, token %v (-want +got):\n%s", test.path, test.hasToken, diff)
		}
	}
}

func TestAuthFiltersAreRecordedAndNotRouted(t *testing.T) {
	d := mustParse(t, `{"id":"mod-f-1.0.0","filters":[{"methods":["*"],"pathPattern":"/*","phase":"auth","type":"headers"}]}`)
	if len(d.Filters) != 1 {
		t.Error("the filter is lost")
	}
	tab := table(t, d)
	if _, result := tab.Match(http.MethodGet, "/a", ""); result != NoRoute {
		t.Errorf("result %v, want NoRoute", result)
	}
	if filters := tab.Filters(http.MethodGet, "/a"); len(filters) > 0 {
		t.Errorf("the gateway asks %s, and is the auth filter itself", filters[0].ModuleID)
	}
}

func TestFiltersComeInTheOrderOfTheirLevels(t *testing.T) {
	d := mustParse(t, `{"id":"mod-f-1.0.0","filters":[
		{"methods":["*"],"pathPattern":"/*","phase":"post"},{"methods":["*"],"pathPattern":"/a","phase":"pre"},
		{"methods":["GET"],"pathPattern":"/a","level":"100"},{"methods":["GET"],"pathPattern":"/*","level":"20"},
		{"methods":["POST"],"pathPattern":"/a","phase":"pre"},{"methods":["*"],"pathPattern":"/b","phase":"pre"}]}`)
	var levels []string
	for _, f := range table(t, d).Filters(http.MethodGet, "/a") {
		levels = append(levels, f.Handler.level())
	}
	if got := strings.Join(levels, " "); got != "100 20 40 60" { // as text
		t.Errorf("levels %s", got)
	}
}

func TestNewTableRefusesAModuleTwiceAndBadPatterns(t *testing.T) {
	a := descriptorOf(t, "mod-a-1.0.0", "", get("/a"))
	if _, err := NewTable("diku", []*ModuleDescriptor{a, a}); err == nil {
		t.Error("a module enabled twice was accepted")
	}
	bad := descriptorOf(t, "mod-b-1.0.0", "", get("/b"))
	bad.Provides[0].Handlers[0].PathPattern = "/{"
	if _, err := NewTable("diku", []*ModuleDescriptor{bad}); err == nil || !strings.Contains(err.Error(), "mod-b-1.0.0") {
		t.Errorf("a bad pattern gave %v", err)
	}
}

func TestAnEmptyTableMatchesNothing(t *testing.T) {
	if _, result := table(t).Match(http.MethodGet, "/a", ""); result != NoRoute {
		t.Errorf("result %v, want NoRoute", result)
	}
}

// folioSized is a table like that of a whole FOLIO: 664 literal routes, 726
// with braces and 15 with stars, in 58 modules.
func folioSized(tb testing.TB) *Table {
	tb.Helper()
	handlers := make([][]string, 58)
	for i := range 664 + 726 + 15 {
		m := i % len(handlers)
		pattern := fmt.Sprintf("/module-%d/records/%d", m, i)
		switch {
		case i >= 664+726:
			pattern += "/*"
		case i >= 664:
			// Half a dozen routes differ only behind the first wildcard.
			pattern = fmt.Sprintf("/module-%d/collection-%d/{id}/part-%d", m, i/348, i)
		}
		handlers[m] = append(handlers[m], get(pattern))
	}
	mods := make([]*ModuleDescriptor, len(handlers))
	for m := range mods {
		mods[m] = descriptorOf(tb, fmt.Sprintf("mod-%d-1.0.0", m), "", handlers[m]...)
	}
	return table(tb, mods...)
}

var matchTargets = []struct {
	name, path string
	want       MatchResult
}{
	{"literal", "/module-20/records/600", Matched},
	{"braces", "/module-55/collection-3/5c2e2f9b-2f4c-4c1c-9f0e-8f0d3a1b2c3d/part-1389", Matched},
	{"star", "/module-57/records/1391/a/b/c/d", Matched},
	{"none", "/no/such/path/in/this/tenant", NoRoute},
	{"slashes", "/module-1/" + strings.Repeat("a/", 4000), NoRoute},
}

func TestMatchAllocatesNothing(t *testing.T) {
	tab := folioSized(t)
	for _, target := range matchTargets {
		if n := testing.AllocsPerRun(100, func() { tab.Match(http.MethodGet, target.path, "") }); n != 0 {
			t.Errorf("%s: %v allocations", target.name, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	tab := folioSized(b)
	for _, target := range matchTargets {
		b.Run(target.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, result := tab.Match(http.MethodGet, target.path, ""); result != target.want {
					b.Fatalf("result %v", result)
				}
			}
		})
	}
}
