package gateway_test

import (
	"fmt"
	"testing"

	"github.com/counterfoil/counterfoil/internal/gateway"
)

func TestT40RedirectsLeadToRoutesAlone(t *testing.T) {
	w := newWorld(t, nil)
	redirect := func(from, to, more string) string {
		return fmt.Sprintf(`{"methods":["GET"],"pathPattern":%q,"type":"redirect","redirectPath":%q,"permissionsRequired":[]%s}`, from, to, more)
	}
	w.module(`{"id":"mod-r-1.0.0","provides":[{"id":"r","version":"1.0","handlers":[`+
		redirect("/red", "/echo", "")+","+redirect("/red/twice", "/red", "")+","+
		redirect("/loop", "/loop/2", "")+","+redirect("/loop/2", "/loop", "")+","+redirect("/nowhere", "/nothing", "")+","+
		redirect("/lending", "/own/other", `,"modulePermissions":["own.any"]`)+","+redirect("/red/{id}", "/items/1", "")+
		`,{"methods":["GET"],"path":"/older","type":"redirect","redirectPath":"/items","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/guard","type":"redirect","redirectPath":"/open","permissionsRequired":["guard.get"]}]}]}`, echo)
	w.module(echoDescriptor, echo)
	at := w.access()
	for _, test := range []struct {
		name, path, token string
		status            int
		uri, body         string
	}{
		{"simple", "/red", at, 200, "/echo", ""},
		{"chained", "/red/twice", at, 200, "/echo", ""},
		{"with parameters", "/red?q=a%2Fb&q=2", at, 200, "/echo?q=a%2Fb&q=2", ""},
		{"of a prefix", "/older/7", at, 200, "/items/7", ""},
		{"asks for the target's permissions", "/red", "", 401, "", missingEcho},
		{"asks for its own", "/guard", at, 403, "", "Access for user 'alice' (" + alice + ") requires permission: guard.get"},
		{"lends its permissions to the caller", "/lending", at, 200, "/own/other", ""},
		{"loop", "/loop", at, 500, "", "Redirect loop: /loop -> /loop/2 -> /loop"},
		{"to nowhere", "/nowhere", at, 500, "", "Redirecting /nowhere to /nothing FAILED. No suitable module found"},
		{"of a pattern", "/red/x", at, 501, "", "Redirects of patterns are not supported"},
	} {
		t.Run("7.4 28 "+test.name, func(t *testing.T) {
			var header []string
			if test.token != "" {
				header = []string{"X-Okapi-Token", test.token}
			}
			a := w.get(test.path, header...)
			a.want(t, test.status, test.body)
			if test.uri == "" {
				return
			}
			if s := a.seen(t); s.URI != test.uri || w.tokenOf(s).Module != "mod-echo-1.0.0" {
				t.Errorf("the module got %s", s.URI)
			}
		})
	}
	for _, bad := range []string{"//evil.test/x", "/a/../_", "http://evil.test"} {
		if _, err := gateway.ParseDescriptor([]byte(`{"id":"mod-x-1.0.0","provides":[{"id":"x","version":"1.0","handlers":[` + redirect("/x", bad, "") + `]}]}`)); err == nil {
			t.Errorf("a redirect to %s passes", bad)
		}
	}
}
