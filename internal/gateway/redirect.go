package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// target is who serves a request, once redirects were followed.
type target struct {
	route *Route
	// path is what is served; that of the request where nothing redirects.
	path string
	// required and lent are what the redirects on the way ask of the caller, and
	// lend to the caller.
	required, lent []string
}

// follow finds who serves a request, through routes of type redirect. The path
// at their end is the one that is checked and that the module gets.
func (k *registry) follow(tenant, method, path, moduleID string) (target, error) {
	t := target{path: path}
	var seen []string
	for {
		var err error
		if t.route, err = k.route(tenant, method, t.path, moduleID); err != nil {
			if len(seen) > 0 {
				return t, &Refusal{http.StatusInternalServerError, "Redirecting " + cut(path) + " to " + cut(t.path) + " FAILED. No suitable module found"}
			}
			return t, err
		}
		e := t.route.Handler
		if e.Type != "redirect" {
			return t, nil
		}
		seen = append(seen, t.path)
		next := e.RedirectPath
		switch {
		case t.route.match == nil:
			next += strings.TrimPrefix(t.path, e.Path)
		case strings.ContainsAny(t.route.Pattern, "{*"):
			return t, &Refusal{http.StatusNotImplemented, "Redirects of patterns are not supported, only those of whole paths"}
		}
		if err := CheckPath(next); err != nil {
			return t, err
		}
		t.required, t.lent, t.path = append(t.required, t.route.Required(t.path, false)...), append(t.lent, e.ModulePermissions...), next
		if slices.Contains(seen, next) {
			return t, &Refusal{http.StatusInternalServerError, "Redirect loop: " + strings.Join(append(seen, next), " -> ")}
		}
	}
}
