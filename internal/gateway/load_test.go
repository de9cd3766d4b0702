package gateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/gateway"
)

func modulesDirectory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestADirectoryRegistersModulesAndInstances(t *testing.T) {
	w := openWorld(t)
	where := `[{"srvcId":"mod-min-1.0.0","instId":"a","url":"http://127.0.0.1:1"}]`
	files := map[string]string{"min.json": minimal, "where.json": where, "README.md": "not JSON"}
	for range 2 { // as at the next start
		w.must(w.gateway.LoadDirectory(t.Context(), modulesDirectory(t, files)))
		sameJSON(t, w.manage("GET", "/_/proxy/modules?full=true", "").body, "["+minimal+"]")
		sameJSON(t, w.manage("GET", "/_/discovery/modules", "").body, where)
	}
	files["where.json"] = strings.ReplaceAll(where, ":1", ":2")
	files["min.json"] = strings.Replace(minimal, "min", "small", 3)
	w.must(w.gateway.LoadDirectory(t.Context(), modulesDirectory(t, files)))
	sameJSON(t, w.manage("GET", "/_/discovery/modules", "").body, files["where.json"])
}

func TestADescriptorThatChangedIsInEffectForThoseWhoUseIt(t *testing.T) {
	w := openWorld(t)
	w.module(echoDescriptor, echo)
	w.grant("echo.more")
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 403, "")
	changed := strings.Replace(echoDescriptor, `"echo.all"`, `"echo.more"`, 1)
	w.must(w.gateway.LoadDirectory(t.Context(), modulesDirectory(t, map[string]string{"echo.json": changed})))
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 200, "")
	sets, err := w.db.PermissionSets(t.Context(), "diku")
	w.must(err)
	if len(sets) != 1 || sets[0].Name != "echo.more" {
		t.Errorf("permission sets %+v", sets)
	}
}

func TestOneFaultyFileRegistersNothingAndAllFaultsAreTold(t *testing.T) {
	w := openWorld(t)
	err := w.gateway.LoadDirectory(t.Context(), modulesDirectory(t, map[string]string{
		"a.json": minimal, "b.json": "{", "c.json": `[{"srvcId":"x"}]`, "d.json": `{"id":"mod-x"}`,
	}))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"b.json", "c.json", "d.json", "Needs instId", "Missing semantic version"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	sameJSON(t, w.manage("GET", "/_/proxy/modules", "").body, "[]")
	if err := w.gateway.LoadDirectory(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there is no error")
	}
}

// A module whose descriptor cannot be used any more must not take the others
// with it.
func TestAModuleThatCannotBeReadIsLeftOut(t *testing.T) {
	w := echoing(t)
	w.must(w.db.SaveModules(t.Context(), noEvent, badModule))
	w.get("/open").want(t, 200, "")
	if !strings.Contains(w.log.String(), "mod-bad-1.0.0") {
		t.Errorf("log %q", w.log.String())
	}
	if _, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-bad-1.0.0", Action: "enable"}}, &gateway.InstallOptions{}); err == nil {
		t.Error("it was enabled")
	}
}
