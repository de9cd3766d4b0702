package gateway

import (
	"cmp"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Table is where one tenant's requests go, built once from the descriptors of
// its enabled modules and never changed. It is safe for concurrent use.
//
// Routes lie in buckets under their static prefix, and a bucket is ordered by
// module id, then as declared. A path is looked for under itself and then under
// ever shorter prefixes; the first route that fits is taken, so a literal path
// wins over {id} and a longer prefix over a shorter one.
type Table struct {
	tenant string
	proxy  buckets
	// multiple holds the routes that X-Okapi-Module-Id chooses between.
	multiple buckets
	// filters are those of third parties, of all phases but auth.
	filters buckets
}

type buckets struct {
	byPrefix map[string][]*Route
	// longest is the length of the longest prefix, so that a path of thousands
	// of slashes is not looked up thousands of times.
	longest int
}

// Route is one handler of an enabled module. It belongs to the table: callers
// must not change it.
type Route struct {
	ModuleID string
	Handler  *RoutingEntry
	// Pattern is the handler's pathPattern, for X-Okapi-Match-Path-Pattern;
	// empty for a handler of the older form.
	Pattern string

	methods methodSet
	match   *Pattern // nil for a handler of the older form
	own     *Pattern // match for the tenant's own id, nil if that makes no difference
}

// MatchResult is what became of a look-up.
type MatchResult uint8

// The results of a look-up. NoRoute is Okapi's 404 "No suitable module found
// for path and tenant", MethodRefused a 405.
const (
	Matched MatchResult = iota
	NoRoute
	MethodRefused
)

// NewTable builds the table of tenant from the descriptors of its enabled
// modules, in any order. System interfaces are left out, and so are internal
// handlers, which no module serves.
func NewTable(tenant string, enabled []*ModuleDescriptor) (*Table, error) {
	sorted := slices.SortedFunc(slices.Values(enabled), func(a, b *ModuleDescriptor) int {
		return cmp.Compare(a.ID, b.ID)
	})
	t := &Table{tenant: tenant}
	for n, d := range sorted {
		if n > 0 && d.ID == sorted[n-1].ID {
			return nil, fmt.Errorf("module %s is enabled twice", d.ID)
		}
		for i := range d.Provides {
			if err := t.add(d.ID, &d.Provides[i]); err != nil {
				return nil, fmt.Errorf("module %s: %w", d.ID, err)
			}
		}
		for i := range d.Filters {
			if d.Filters[i].Phase == "auth" {
				continue // the gateway itself is the auth filter
			}
			route, err := t.newRoute(d.ID, &d.Filters[i])
			if err != nil {
				return nil, fmt.Errorf("module %s: %w", d.ID, err)
			}
			t.filters.add(route)
		}
	}
	return t, nil
}

func (t *Table) add(module string, i *InterfaceDescriptor) error {
	if i.isSystem() {
		return nil
	}
	to := &t.proxy
	if i.InterfaceType == InterfaceMultiple {
		to = &t.multiple
	}
	for h := range i.Handlers {
		entry := &i.Handlers[h]
		if entry.Type == "internal" {
			continue
		}
		route, err := t.newRoute(module, entry)
		if err != nil {
			return err
		}
		to.add(route)
	}
	return nil
}

func (t *Table) newRoute(module string, entry *RoutingEntry) (*Route, error) {
	r := &Route{ModuleID: module, Handler: entry, Pattern: entry.PathPattern, methods: methodsOf(entry.Methods)}
	if r.Pattern == "" {
		return r, nil
	}
	var err error
	if r.match, err = CompilePattern(r.Pattern); err != nil {
		return nil, err
	}
	if own := strings.ReplaceAll(r.Pattern, "{tenantId}", t.tenant); own != r.Pattern {
		r.own = compileParts(own)
	}
	return r, nil
}

func (b *buckets) add(r *Route) {
	// The older form has no pattern to cut: it is found under the shortest.
	prefix := "/"
	if r.match != nil {
		prefix = r.match.StaticPrefix()
	}
	if b.byPrefix == nil {
		b.byPrefix = make(map[string][]*Route)
	}
	b.byPrefix[prefix] = append(b.byPrefix[prefix], r)
	b.longest = max(b.longest, len(prefix))
}

// Match finds the route of a request. rawPath is the path as CheckPath let it
// pass and as the module will get it, without the query; moduleID is the value
// of X-Okapi-Module-Id. With one, only multiple interfaces are looked at, and
// without one, only the others. The route is nil unless Matched.
func (t *Table) Match(method, rawPath, moduleID string) (*Route, MatchResult) {
	m := methodOf(method)
	if m == 0 {
		return nil, MethodRefused
	}
	in := &t.proxy
	if moduleID != "" {
		in = &t.multiple
	}
	if r := in.find(m, rawPath, moduleID); r != nil {
		return r, Matched
	}
	return nil, NoRoute
}

func (b *buckets) find(m methodSet, path, moduleID string) *Route {
	for r := range b.matching(m, path) {
		if moduleID == "" || moduleID == r.ModuleID {
			return r
		}
	}
	return nil
}

// Filters finds the filters of third parties around a request, in the order of
// their levels, nil for none. Levels are compared as text, as Okapi does.
func (t *Table) Filters(method, rawPath string) []*Route {
	if t.filters.byPrefix == nil {
		return nil
	}
	return slices.SortedStableFunc(t.filters.matching(methodOf(method), rawPath), func(a, b *Route) int {
		return strings.Compare(a.Handler.level(), b.Handler.level())
	})
}

func (b *buckets) matching(m methodSet, path string) iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		for prefix := path; prefix != ""; {
			if len(prefix) <= b.longest {
				for _, r := range b.byPrefix[prefix] {
					if r.methods&m != 0 && r.matches(path) && !yield(r) {
						return
					}
				}
			}
			shorter := strings.LastIndexByte(prefix[:len(prefix)-1], '/')
			prefix = prefix[:shorter+1]
		}
	}
}

func (r *Route) matches(path string) bool {
	if r.match == nil {
		return strings.HasPrefix(path, r.Handler.Path)
	}
	return r.match.Match(path)
}

// Required is the permissions that the caller must hold, all of them.
//
// A route may ask less of, or other things from, a tenant's own people:
// permissionsRequiredTenant stands in for permissionsRequired when the request
// carries a token and a {tenantId} in the pattern is the tenant itself. The
// gateway has refused tokens of other tenants by then.
func (r *Route) Required(rawPath string, hasToken bool) []string {
	if r.Handler.PermissionsRequiredTenant == nil || !hasToken || r.match == nil {
		return r.Handler.PermissionsRequired
	}
	if r.own != nil && !r.own.Match(rawPath) {
		return r.Handler.PermissionsRequired
	}
	return r.Handler.PermissionsRequiredTenant
}

// methodSet has one bit for each method that can be routed.
type methodSet uint8

// allowedMethods is all that reaches a module. TRACE would echo cookies and
// tokens, CONNECT is no request for a path, and of an invented method nobody
// knows what permission it should need, so "*" does not stand for those.
var allowedMethods = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

func methodOf(method string) methodSet {
	for i, m := range allowedMethods {
		if m == method {
			return 1 << i
		}
	}
	return 0
}

func methodsOf(declared []string) methodSet {
	var set methodSet
	for _, m := range declared {
		if m == "*" {
			return 1<<len(allowedMethods) - 1
		}
		set |= methodOf(m)
	}
	return set
}
