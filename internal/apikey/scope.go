package apikey

import (
	"fmt"
	"slices"
	"strings"
)

// Everything is a permission of a scope that stands for all that the user has.
const Everything = "*"

const (
	maxRoutes      = 50
	maxPermissions = 200
)

// Scope is what a key is good for, of what its user may do.
type Scope struct {
	// Routes are where requests may go: at least one.
	Routes []Route
	// Permissions are those of the user's that the key may use, with all they
	// stand for: at least one, or Everything.
	Permissions []string
}

// Route is a method and a path, as modules get it. "GET /orders/{id}" is one
// segment, "* /orders/*" any method and all below /orders, "* /*" everything.
type Route struct {
	// Method is in capitals, or *.
	Method string `json:"method"`
	Path   string `json:"path"`
}

// ParseRoute reads "METHOD /path".
func ParseRoute(text string) (Route, error) {
	method, path, ok := strings.Cut(strings.TrimSpace(text), " ")
	r := Route{Method: strings.ToUpper(method), Path: strings.TrimSpace(path)}
	if !ok {
		return r, fmt.Errorf("%w: a route is a method and a path, such as \"POST /gobi/orders\"", ErrInvalid)
	}
	return r, r.check()
}

// String is how ParseRoute reads it.
func (r Route) String() string { return r.Method + " " + r.Path }

var methods = []string{"*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

func (r Route) check() error {
	fault := ""
	switch {
	case !slices.Contains(methods, r.Method):
		fault = "the method of a route is one of " + strings.Join(methods, ", ")
	case !strings.HasPrefix(r.Path, "/") || len(r.Path) > 500 || strings.ContainsAny(r.Path, " ?#%\\;"):
		fault = "the path of a route begins with a slash and has no query and nothing encoded"
	}
	segments := strings.Split(r.Path, "/")
	for i, one := range segments {
		variable := strings.HasPrefix(one, "{") && strings.HasSuffix(one, "}") && len(one) > 2
		last := one == "*" && i == len(segments)-1
		if strings.ContainsAny(one, "*{}") && !variable && !last || one == "." || one == ".." || one == "" && i > 0 && len(segments) > 2 {
			fault = "a segment of a route is a word or {name}, and the last one may be *"
		}
	}
	if fault != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, fault)
	}
	return nil
}

// Matches is whether a request is for the route. The path is as it was sent,
// still encoded, and was found to be what it seems.
func (r Route) Matches(method, path string) bool {
	// Whoever may read may ask what reading would give.
	if r.Method != "*" && r.Method != method && (r.Method != "GET" || method != "HEAD") {
		return false
	}
	pattern := r.Path
	for {
		want, laterWant, more := strings.Cut(pattern, "/")
		got, laterGot, further := strings.Cut(path, "/")
		switch {
		case want == "*" && !more:
			return true
		case strings.HasPrefix(want, "{"):
			if got == "" {
				return false
			}
		case want != got:
			return false
		}
		if !more || !further {
			return more == further
		}
		pattern, path = laterWant, laterGot
	}
}

// Check tells what cannot be right about a scope.
func (s Scope) Check() error {
	switch {
	case len(s.Routes) == 0 || len(s.Routes) > maxRoutes:
		return fmt.Errorf("%w: a key needs 1 to %d routes; \"* /*\" is all", ErrInvalid, maxRoutes)
	case len(s.Permissions) == 0 || len(s.Permissions) > maxPermissions:
		return fmt.Errorf("%w: a key needs 1 to %d permissions; * is all that the user has", ErrInvalid, maxPermissions)
	case len(s.Permissions) > 1 && slices.Contains(s.Permissions, Everything):
		return fmt.Errorf("%w: * stands alone", ErrInvalid)
	}
	for _, r := range s.Routes {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

// Covers is whether a request is for one of the routes.
func (s Scope) Covers(method, path string) bool {
	return slices.ContainsFunc(s.Routes, func(r Route) bool { return r.Matches(method, path) })
}

// All is whether the scope takes nothing from what its user may do.
func (s Scope) All() bool { return len(s.Permissions) == 1 && s.Permissions[0] == Everything }
