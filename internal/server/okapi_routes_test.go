package server_test

import (
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/gateway"
)

// What we tell an Okapi that we serve is served, and asks for the permissions
// that we tell.
func TestDescribedRoutesAreServed(t *testing.T) {
	b := openBranch(t, nil)
	described := map[string]bool{}
	for _, i := range b.own.descriptor.Provides {
		for _, e := range i.Handlers {
			path := strings.NewReplacer("{id}", "9eb67301-6f6e-468f-9b1a-6134dc39a684", "{username}", "reader").Replace(e.PathPattern)
			described[e.PathPattern] = true
			got := b.handle(e.Methods[0], path, nil)
			legacy := e.PathPattern == "/token" || e.PathPattern == "/refreshtoken" // tokens without end: refused with 404
			if text := string(got.body); got.status == 405 || !legacy && strings.Contains(text, "page not found") {
				t.Errorf("%s %s: %d %s", e.Methods[0], path, got.status, text)
			}
			if permission, ours := folio.ModulePaths()[e.PathPattern]; ours && strings.Join(e.PermissionsRequired, ",") != permission {
				t.Errorf("%s asks Okapi for %v and checks %q", path, e.PermissionsRequired, permission)
			}
			if e.ModulePermissions != nil {
				t.Errorf("%s lends %v: the minted token would hide the caller", path, e.ModulePermissions)
			}
		}
	}
	for path := range folio.OpenPaths() {
		if !described[path] && path != "/bl-users/login" {
			t.Errorf("%s is open, and no descriptor has it", path)
		}
	}
	sets := map[string]bool{}
	for _, set := range b.own.descriptor.PermissionSets {
		sets[set.PermissionName] = true
	}
	if !sets[gateway.RefreshCache] {
		t.Errorf("%s is not described", gateway.RefreshCache)
	}
}
