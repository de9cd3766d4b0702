package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/directory"
)

func TestModulesAreRegisteredAsInOkapi(t *testing.T) {
	w := openWorld(t)
	a := w.manage("POST", "/_/proxy/modules", minimal)
	a.want(t, 201, "")
	if a.header.Get("Location") != "/_/proxy/modules/mod-min-1.0.0" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	sameJSON(t, a.body, minimal)
	w.manage("POST", "/_/proxy/modules", minimal).want(t, 201, "") // again, the same
	w.manage("POST", "/_/proxy/modules", strings.Replace(minimal, `"min"`, `"max"`, 1)).want(t, 400, "create: module mod-min-1.0.0 already exists")
	w.manage("POST", "/_/proxy/modules", `{"id":"mod-x-1.0.0","nonsense":1}`).want(t, 400, "Invalid JSON")
	w.manage("POST", "/_/proxy/modules", `{"id":"mod-x"}`).want(t, 400, "Missing semantic version for: mod-x")
	w.manage("POST", "/_/proxy/modules?check=maybe", newer).want(t, 400, "Bad boolean for parameter check: maybe")
	w.manage("POST", "/_/proxy/modules", strings.Repeat(" ", 1<<20)+minimal).want(t, 413, "")
	w.manage("POST", "/_/proxy/modules", `{"id":"mod-star-1.0.0","permissionSets":[{"permissionName":"a.*"}]}`).want(t, 400, `module mod-star-1.0.0: permission "a.*"`)
	lonely := strings.Replace(needy, `"min"`, `"nothing"`, 1)
	w.manage("POST", "/_/proxy/modules", lonely).want(t, 400, "Missing dependency: mod-needy-1.0.0 requires nothing: 1.0")
	w.manage("POST", "/_/proxy/modules?check=false", lonely).want(t, 201, "")
	// The fault of that one is not held against the next.
	w.manage("POST", "/_/proxy/modules", newer).want(t, 201, "")
	w.manage("DELETE", "/_/proxy/modules/mod-needy-1.0.0", "").want(t, 204, "")
	w.manage("DELETE", "/_/proxy/modules/mod-needy-1.0.0", "").want(t, 404, "delete: module mod-needy-1.0.0 does not exist")
	w.manage("GET", "/_/proxy/modules/mod-needy-1.0.0", "").want(t, 404, "mod-needy-1.0.0")
	w.manage("POST", "/_/proxy/import/modules", "["+needy+`,{"id":"mod-a-1.0.0","requires":[{"id":"needy","version":"1.0"}]}]`).want(t, 204, "")
	w.manage("POST", "/_/proxy/import/modules", `[{"id":"mod-b-1.0.0"},{"id":"mod-c"}]`).want(t, 400, "Missing semantic version")
	w.manage("GET", "/_/proxy/modules/mod-b-1.0.0", "").want(t, 404, "")
	w.manage("PUT", "/_/proxy/modules/mod-a-1.0.0", "").want(t, 405, "")
	w.manage("GET", "/_/proxy/modules/", "").want(t, 404, "")
}

func TestModulesAreListedAsInOkapi(t *testing.T) {
	w := openWorld(t)
	for _, d := range []string{
		minimal, newer, needy, `{"id":"mod-min-1.10.0-SNAPSHOT.2"}`, `{"id":"folio_ui-1.0.10000"}`, `{"id":"mod-minimal-1.0.0"}`,
	} {
		w.manage("POST", "/_/proxy/modules", d).want(t, 201, "")
	}
	for _, test := range []struct{ query, want string }{
		{"", "folio_ui-1.0.10000 mod-min-1.0.0 mod-min-1.1.0 mod-min-1.10.0-SNAPSHOT.2 mod-minimal-1.0.0 mod-needy-1.0.0"},
		{"filter=mod-min", "mod-min-1.0.0 mod-min-1.1.0 mod-min-1.10.0-SNAPSHOT.2"},
		{"filter=mod-min-1.1", "mod-min-1.1.0"},
		{"filter=mod-min-1.10.0", "mod-min-1.10.0-SNAPSHOT.2"},
		{"preRelease=false&npmSnapshot=false", "mod-min-1.0.0 mod-min-1.1.0 mod-minimal-1.0.0 mod-needy-1.0.0"},
		{"preRelease=only", "folio_ui-1.0.10000 mod-min-1.10.0-SNAPSHOT.2"},
		{"preRelease=only&npmSnapshot=false", "mod-min-1.10.0-SNAPSHOT.2"},
		{"latest=1&filter=mod-min", "mod-min-1.10.0-SNAPSHOT.2"},
		{"latest=1&filter=mod-min&preRelease=false", "mod-min-1.1.0"},
		{"provide=min", "mod-min-1.0.0 mod-min-1.1.0"},
		{"provide=min=1.1,needy", "mod-min-1.1.0 mod-needy-1.0.0"},
		{"require=min", "mod-needy-1.0.0"},
		{"orderBy=id&filter=mod-min", "mod-min-1.10.0-SNAPSHOT.2 mod-min-1.1.0 mod-min-1.0.0"},
		{"orderBy=id&order=asc&provide=min", "mod-min-1.0.0 mod-min-1.1.0"},
	} {
		a := w.manage("GET", "/_/proxy/modules?"+test.query, "")
		var list []struct{ ID string }
		if err := json.Unmarshal([]byte(a.body), &list); err != nil {
			t.Fatalf("%s: %d %s", test.query, a.status, a.body)
		}
		var ids []string
		for _, m := range list {
			ids = append(ids, m.ID)
		}
		if got := strings.Join(ids, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.query, got, test.want)
		}
	}
	sameJSON(t, w.manage("GET", "/_/proxy/modules?filter=mod-min-1.0", "").body, `[{"id":"mod-min-1.0.0","name":"min"}]`)
	sameJSON(t, w.manage("GET", "/_/proxy/modules?filter=mod-min-1.0&full=true", "").body, "["+minimal+"]")
	for query, want := range map[string]string{
		"full=1": "Bad boolean for parameter full", "latest=x": "Bad format for parameter latest", "orderBy=name": "unknown orderBy field: name",
		"orderBy=id&order=up": "invalid order value: up", "preRelease=no": "preRelease and npmSnapshot must be", "dot=true": "Parameter dot is not supported",
	} {
		w.manage("GET", "/_/proxy/modules?"+query, "").want(t, 400, want)
	}
}

func TestModulesAreEnabledAsInOkapi(t *testing.T) {
	w := openWorld(t)
	needy2 := strings.ReplaceAll(needy, "needy", "needy2")
	for _, d := range []string{minimal, newer, needy, needy2} {
		w.manage("POST", "/_/proxy/modules", d).want(t, 201, "")
	}
	const modules = "/_/proxy/tenants/diku/modules"
	w.manage("POST", modules, `{"id":"mod-needy"}`).want(t, 400, "interface min required by module mod-needy-1.0.0 not found")
	w.manage("POST", modules, `{"id":"mod-nothing"}`).want(t, 404, "Module mod-nothing not found")
	w.manage("POST", modules, `{"id":"mod-min-1.0.0"}`).want(t, 201, "")
	w.manage("POST", modules, `{"id":"mod-min-1.0.0"}`).want(t, 400, "Module mod-min-1.0.0 already provided")
	w.manage("POST", modules, `{"id":"mod-min"}`).want(t, 400, "Multiple modules mod-min-1.0.0, mod-min-1.1.0 provide interface min")
	a := w.manage("POST", modules, `{"id":"mod-needy"}`)
	a.want(t, 201, "")
	sameJSON(t, a.body, `{"id":"mod-needy-1.0.0"}`)
	if got := a.header.Get("Location"); got != modules+"/mod-needy-1.0.0" {
		t.Errorf("Location %q", got)
	}
	a = w.manage("POST", modules+"/mod-min-1.0.0", `{"id":"mod-min"}`)
	a.want(t, 201, "")
	if got := a.header.Get("Location"); got != modules+"/mod-min-1.1.0" {
		t.Errorf("Location %q", got)
	}
	sameJSON(t, w.manage("GET", modules, "").body, `[{"id":"mod-min-1.1.0"},{"id":"mod-needy-1.0.0"}]`)
	sameJSON(t, w.manage("GET", modules+"?provide=needy&full=true", "").body, "["+needy+"]")
	sameJSON(t, w.manage("GET", modules+"/mod-min-1.1.0", "").body, `{"id":"mod-min-1.1.0"}`)
	w.manage("GET", modules+"/mod-min-1.0.0", "").want(t, 404, "mod-min-1.0.0")
	w.manage("POST", modules+"/mod-min-1.0.0", `{"id":"mod-min"}`).want(t, 404, "mod-min-1.0.0")
	w.manage("DELETE", "/_/proxy/modules/mod-min-1.1.0", "").want(t, 400, "delete: module mod-min-1.1.0 is used by tenant diku")
	w.manage("DELETE", modules+"/mod-min-1.1.0", "").want(t, 400, "interface min required by module mod-needy-1.0.0 not found")
	w.manage("POST", modules, `{"id":"mod-needy2"}`).want(t, 201, "")
	w.manage("DELETE", modules+"/mod-min-1.1.0?depCheck=false", "").want(t, 204, "")
	w.manage("DELETE", modules+"/mod-needy-1.0.0", "").want(t, 204, "") // what was broken before keeps nobody from it
	w.manage("DELETE", modules+"/mod-needy-1.0.0", "").want(t, 404, "mod-needy-1.0.0")
	w.manage("DELETE", modules, "").want(t, 204, "")
	sameJSON(t, w.manage("GET", modules, "").body, `[]`)
}

func TestPermissionSetsComeAndGoWithTheModule(t *testing.T) {
	w := openWorld(t)
	w.module(echoDescriptor, echo)
	want := []directory.PermissionSet{{Name: "echo.all", Sub: []string{"echo.get"}, Module: "mod-echo-1.0.0"}}
	got, err := w.db.PermissionSets(t.Context(), "diku")
	w.must(err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.manage("DELETE", "/_/proxy/tenants/diku/modules/mod-echo-1.0.0", "").want(t, 204, "")
	if got, err = w.db.PermissionSets(t.Context(), "diku"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	w.get("/open").want(t, 404, "")
}

func TestInterfacesAreListedAsInOkapi(t *testing.T) {
	w := openWorld(t)
	w.module(`{"id":"mod-a-1.0.0","provides":[{"id":"one","version":"1.0"},{"id":"many","version":"1.0","interfaceType":"multiple"}]}`, echo)
	w.module(`{"id":"mod-b-1.0.0","provides":[{"id":"many","version":"1.0","interfaceType":"multiple"},{"id":"_timer","version":"1.0","interfaceType":"system"}]}`, echo)
	const interfaces = "/_/proxy/tenants/diku/interfaces"
	sameJSON(t, w.manage("GET", interfaces, "").body, `[{"id":"one","version":"1.0"},{"id":"many","version":"1.0"},{"id":"_timer","version":"1.0"}]`)
	sameJSON(t, w.manage("GET", interfaces+"?type=proxy", "").body, `[{"id":"one","version":"1.0"}]`)
	sameJSON(t, w.manage("GET", interfaces+"?type=multiple&full=true", "").body,
		`[{"id":"many","version":"1.0","interfaceType":"multiple"},{"id":"many","version":"1.0","interfaceType":"multiple"}]`)
	sameJSON(t, w.manage("GET", interfaces+"/many", "").body, `[{"id":"mod-a-1.0.0"},{"id":"mod-b-1.0.0"}]`)
	sameJSON(t, w.manage("GET", interfaces+"/many?type=system", "").body, `[]`)
	sameJSON(t, w.manage("GET", interfaces+"/none", "").body, `[]`)
}

func TestInstancesAreRegisteredAsInOkapi(t *testing.T) {
	w := openWorld(t)
	up := w.listen(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(404) }))
	one := fmt.Sprintf(`{"srvcId":"mod-a-1.0.0","instId":"one","url":%q}`, up)
	two := `{"srvcId":"mod-a-1.0.0","instId":"two","url":"http://127.0.0.1:1"}`
	const modules = "/_/discovery/modules"
	a := w.manage("POST", modules, one)
	a.want(t, 201, "")
	sameJSON(t, a.body, one)
	if a.header.Get("Location") != modules+"/mod-a-1.0.0/one" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	w.manage("POST", modules, strings.Replace(one, "mod-a", "mod-b", 1)).want(t, 400, "Duplicate instId one")
	w.manage("POST", modules, two).want(t, 201, "")
	for body, want := range map[string]string{
		`{"instId":"x","url":"http://a"}`:                             "Needs srvcId",
		`{"srvcId":"mod-a-1.0.0","url":"http://a"}`:                   "Needs instId",
		`{"srvcId":"mod-a-1.0.0","instId":"x","nodeId":"localhost"}`:  "The gateway starts no modules",
		`{"srvcId":"mod-a-1.0.0","instId":"x","descriptor":{}}`:       "The gateway starts no modules",
		`{"srvcId":"mod-a-1.0.0","instId":"x"}`:                       "Invalid url",
		`{"srvcId":"mod-a-1.0.0","instId":"x","url":"ftp://a"}`:       "Invalid url",
		`{"srvcId":"mod-a-1.0.0","instId":"x","url":"http://u:p@a"}`:  "Invalid url",
		`{"srvcId":"mod-a-1.0.0","instId":"x","url":"http://a/path"}`: "Invalid url",
		`{"srvcId":"mod-a-1.0.0","instId":"x","url":"http://a?q"}`:    "Invalid url",
		`{"srvcId":"mod a","instId":"x","url":"http://a"}`:            "Invalid srvcId",
	} {
		w.manage("POST", modules, body).want(t, 400, want)
	}
	sameJSON(t, w.manage("GET", modules, "").body, "["+one+","+two+"]")
	sameJSON(t, w.manage("GET", modules+"/mod-a-1.0.0", "").body, "["+one+","+two+"]")
	sameJSON(t, w.manage("GET", modules+"/mod-a-1.0.0/two", "").body, two)
	w.manage("GET", modules+"/mod-a-1.0.0/three", "").want(t, 404, "three")
	w.manage("GET", modules+"/mod-b-1.0.0", "").want(t, 404, "mod-b-1.0.0")
	sameJSON(t, w.manage("GET", "/_/discovery/health/mod-a-1.0.0/one", "").body,
		`{"instId":"one","srvcId":"mod-a-1.0.0","healthMessage":"OK","healthStatus":true}`)
	if health := w.manage("GET", "/_/discovery/health", "").body; !strings.Contains(health, "Fail: ") || !strings.Contains(health, "OK") {
		t.Errorf("health %s", health)
	}
	w.manage("GET", "/_/discovery/health/mod-b-1.0.0", "").want(t, 404, "mod-b-1.0.0")
	w.manage("DELETE", modules+"/mod-a-1.0.0/two", "").want(t, 204, "")
	w.manage("DELETE", modules+"/mod-a-1.0.0/two", "").want(t, 404, "two")
	w.manage("DELETE", modules+"/mod-a-1.0.0", "").want(t, 204, "")
	sameJSON(t, w.manage("GET", modules, "").body, "[]")
}
