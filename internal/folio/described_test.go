package folio

import (
	"net/http"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

// demands is a guard that serves nothing and says what it would ask for.
type demands []string

func (demands) ServeHTTP(http.ResponseWriter, *http.Request) {}

// undescribed are endpoints that no product has. A path without them is 404 in
// Okapi, which is what they answer.
var undescribed = map[string]bool{
	"GET /authn/credentials/{id}": true, "PUT /authn/credentials/{id}": true, "DELETE /authn/credentials/{id}": true,
}

// unserved are described for modules that ask whether mod-authtoken has them.
var unserved = map[string]bool{"POST /refreshtoken": true}

// Okapi lets through what is described, and asks its filter for the permissions
// that are described. So endpoints and descriptor must say the same.
func TestEndpointsAndDescriptorSayTheSame(t *testing.T) {
	guard := func(permissions []string, _ func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
		return demands(permissions)
	}
	h := &Handler{Guard: guard, PermissionGuard: guard}
	h.ModuleGuard = func(_, permission string, _ func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
		if permission == "" {
			return demands(nil)
		}
		return demands{permission}
	}
	d, err := gateway.ProductUsersBL.Descriptor("0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	for _, i := range d.Provides {
		if i.ID == "_tenant" {
			continue // package gateway serves it
		}
		for _, e := range i.Handlers {
			for _, method := range e.Methods {
				described[method+" "+e.PathPattern] = strings.Join(e.PermissionsRequired, " ")
			}
		}
	}
	served := map[string]bool{}
	for _, e := range h.endpoints() {
		name := e.method + " " + e.path
		served[name] = true
		asked, listed := described[name]
		switch want, guarded := e.serve.(demands); {
		case undescribed[name]:
			if listed {
				t.Errorf("%s is described, and is nothing", name)
			}
		case !listed:
			t.Errorf("%s is served, and Okapi does not hear of it", name)
		case guarded && asked != strings.Join(want, " "):
			t.Errorf("%s asks Okapi for %q and checks %q", name, asked, want)
		case !guarded && asked != "" && name != "POST /token":
			t.Errorf("%s asks Okapi for %q and checks nothing", name, asked)
		}
	}
	for name := range described {
		if !served[name] && !unserved[name] {
			t.Errorf("%s is described and not served", name)
		}
	}
	sets := map[string]string{}
	for _, set := range d.PermissionSets {
		sets[set.PermissionName] = strings.Join(set.SubPermissions, " ")
	}
	for _, set := range PermissionSets() {
		if got, known := sets[set.Name]; got != strings.Join(set.Sub, " ") && (known || set.Name != "users-bl.all") {
			t.Errorf("%s stands for %v, and is described as %q", set.Name, set.Sub, got)
		}
	}
}
