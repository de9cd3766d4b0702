package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/apikey"
)

// PartnerRoute is a route as a FOLIO edge module had it: what partners call, and
// which route of a module that is. Its tags are for the configuration.
type PartnerRoute struct {
	// Path is what the partner calls. A segment {name} is any, and {apiKeyPath}
	// holds the key.
	Path    string   `yaml:"path"`
	Methods []string `yaml:"methods"`
	// Query are parameters that must be there, with these values, upper and
	// lower case alike. The module does not get them.
	Query map[string]string `yaml:"query"`
	// To is the path that the module gets, with the {name}s of Path.
	To string `yaml:"to"`
	// Keys are where an edge key may stand: query, header, path. None but the
	// header if empty.
	Keys []string `yaml:"keys"`
	// Errors is how faults are told: ErrorsText or ErrorsOrders.
	Errors string `yaml:"errors"`
}

// The values of PartnerRoute.Errors.
const (
	ErrorsText   = "text"   // as everywhere else; the default
	ErrorsOrders = "orders" // as edge-orders does, in XML or JSON
)

// The sources of keys, in the order in which edge-common looks for them.
const (
	keyFromQuery  = "query"
	keyFromHeader = "header"
	keyFromPath   = "path"

	pathKey = "{apiKeyPath}"
)

// Check tells what cannot be right.
func (p *PartnerRoute) Check() error {
	var faults []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	named := map[string]bool{}
	for _, one := range []struct{ key, path string }{{"path", p.Path}, {"to", p.To}} {
		bad(!strings.HasPrefix(one.path, "/") || strings.ContainsAny(one.path, "*?#%; \\") || strings.Contains(one.path, "//"),
			"%s: %q is not a path such as /orders/{id}", one.key, one.path)
		for segment := range strings.SplitSeq(one.path, "/") {
			variable := isVariable(segment)
			bad(!variable && strings.ContainsAny(segment, "{}"), "%s: %q is no segment", one.key, segment)
			bad(variable && one.key == "to" && (!named[segment] || segment == pathKey), "to: %s is not in path, or is the key", segment)
			bad(variable && one.key == "path" && named[segment], "path: %s stands there twice", segment)
			named[segment] = named[segment] || variable
		}
	}
	bad(len(p.Methods) == 0, "methods: none")
	for _, m := range p.Methods {
		bad(methodOf(m) == 0, "methods: %q is none of %s", m, allow)
	}
	for _, source := range p.Keys {
		bad(!slices.Contains([]string{keyFromQuery, keyFromHeader, keyFromPath}, source), "keys: %q is not query, header or path", source)
	}
	bad(named[pathKey] != slices.Contains(p.Keys, keyFromPath), "keys: path and a segment %s belong together", pathKey)
	bad(p.Errors != "" && p.Errors != ErrorsText && p.Errors != ErrorsOrders, "errors: %q is not %s or %s", p.Errors, ErrorsText, ErrorsOrders)
	for name := range p.Query {
		bad(namesKey(name), "query: %s is the key's own", name)
	}
	return errors.Join(faults...)
}

func isVariable(segment string) bool {
	return len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}'
}

// partner is a PartnerRoute made ready.
type partner struct {
	PartnerRoute
	segments, to []string
	methods      methodSet
}

func compilePartners(routes []PartnerRoute) []*partner {
	var all []*partner
	for _, r := range routes {
		if len(r.Keys) == 0 {
			r.Keys = []string{keyFromHeader}
		}
		all = append(all, &partner{r, strings.Split(r.Path, "/"), strings.Split(r.To, "/"), methodsOf(r.Methods)})
	}
	return all
}

// match returns what stands in place of each {name}, still encoded.
func (p *partner) match(path string) (named map[string]string, ok bool) {
	segments := strings.Split(path, "/")
	if len(segments) != len(p.segments) {
		return nil, false
	}
	named = map[string]string{}
	for i, want := range p.segments {
		switch {
		case isVariable(want) && segments[i] != "":
			named[want] = segments[i]
		case want != segments[i]:
			return nil, false
		}
	}
	return named, true
}

// pair is a parameter of a query as it was sent and as it reads.
type pair struct{ raw, name, value string }

func pairs(rawQuery string) ([]pair, error) {
	var all []pair
	for raw := range strings.SplitSeq(rawQuery, "&") {
		if raw == "" {
			continue
		}
		name, value, _ := strings.Cut(raw, "=")
		name, err := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err != nil || err2 != nil {
			return nil, badRequest("The query cannot be read")
		}
		all = append(all, pair{raw, name, value})
	}
	return all, nil
}

// selects is whether the parameters are those that the route wants. missing is
// the first that is not there at all.
func (p *partner) selects(query []pair) (ok bool, missing string) {
	ok = true
	for name, want := range p.Query {
		found := false
		for _, one := range query {
			if strings.EqualFold(one.name, name) {
				found = true
				ok = ok && strings.EqualFold(one.value, want)
			}
		}
		if !found {
			ok, missing = false, name
		}
	}
	return ok, missing
}

// partnerCall is what the rest of the gateway must know of a partner's request.
type partnerCall struct {
	errors string
	keyed  bool
	key    apikey.Secret
}

type partnerKey struct{}

func partnerCallOf(r *http.Request) *partnerCall {
	call, _ := r.Context().Value(partnerKey{}).(*partnerCall)
	return call
}

// PartnerRoutes stands in front of the public listener's routes. It turns what
// partners call into what modules serve, and takes the key out of the URL before
// anybody else looks at it. A request that no route of a partner fits goes on as
// it is: an edge module's /orders/acquisition-methods is a path of users, too,
// and the parameters tell them apart.
func (g *Gateway) PartnerRoutes(next http.Handler) http.Handler {
	g.start()
	if len(g.partners) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner, err := g.fromPartner(r)
		if err != nil {
			g.refuse(w, inner, err)
			return
		}
		next.ServeHTTP(w, inner)
		r.Pattern = inner.Pattern // for whoever counts requests outside
	})
}

// fromPartner returns the request for the module, or r itself if it is no
// partner's. An error is to be answered to the request that comes with it.
func (g *Gateway) fromPartner(r *http.Request) (*http.Request, error) {
	path := r.URL.EscapedPath()
	var nearest *partner
	var query []pair
	lacks := ""
	for _, p := range g.partners {
		named, fits := p.match(path)
		if !fits {
			continue
		}
		if nearest == nil {
			var err error
			nearest = p
			if query, err = pairs(r.URL.RawQuery); err != nil {
				return r, nil // not ours to judge
			}
		}
		selected, missing := p.selects(query)
		if lacks == "" {
			lacks = missing
		}
		if selected && p.methods&methodOf(r.Method) != 0 {
			return p.translate(r, query, named)
		}
	}
	if nearest == nil || !hasKey(r, nearest, query) {
		return r, nil
	}
	r = r.WithContext(context.WithValue(r.Context(), partnerKey{}, &partnerCall{errors: nearest.Errors}))
	if lacks != "" {
		return r, badRequest("Missing required parameter: " + lacks)
	}
	return r, badRequest("No partner is served on this path with this method and these parameters")
}

// hasKey is whether a request is a partner's who got something wrong.
func hasKey(r *http.Request, p *partner, query []pair) bool {
	authorization, _ := single(r.Header["Authorization"])
	_, keyed := keyIn(authorization)
	return keyed || slices.Contains(p.segments, pathKey) ||
		slices.ContainsFunc(query, func(one pair) bool { return namesKey(one.name) })
}

func (p *partner) translate(r *http.Request, query []pair, named map[string]string) (*http.Request, error) {
	call := &partnerCall{errors: p.Errors}
	inner := r.WithContext(context.WithValue(r.Context(), partnerKey{}, call))
	inner.Header = r.Header.Clone()
	var kept []string
	for _, one := range query {
		if namesKey(one.name) {
			if err := p.take(call, keyFromQuery, one.value); err != nil {
				return inner, err
			}
		} else if !p.names(one.name) {
			kept = append(kept, one.raw)
		}
	}
	if authorization, _ := single(r.Header["Authorization"]); authorization != "" {
		if key, keyed := keyIn(authorization); keyed {
			inner.Header.Del("Authorization")
			if err := p.keep(call, keyFromHeader, key); err != nil {
				return inner, err
			}
		}
	}
	if segment, ok := named[pathKey]; ok {
		if err := p.take(call, keyFromPath, unescape(segment, url.PathUnescape)); err != nil {
			return inner, err
		}
	}
	if p.Errors == ErrorsOrders {
		inner.Header.Del("Accept-Encoding") // the body of a fault is read
	}
	raw := make([]string, len(p.to))
	for i, segment := range p.to {
		raw[i] = segment
		if isVariable(segment) {
			raw[i] = named[segment]
		}
	}
	u := *r.URL
	u.RawPath, u.RawQuery = strings.Join(raw, "/"), strings.Join(kept, "&")
	var err error
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return inner, badRequest("Invalid path")
	}
	inner.URL = &u
	return inner, nil
}

// names is whether a parameter only chose the route.
func (p *partner) names(name string) bool {
	for one := range p.Query {
		if strings.EqualFold(one, name) {
			return true
		}
	}
	return false
}

// take takes a key from a URL.
func (p *partner) take(call *partnerCall, source, text string) error {
	if strings.HasPrefix(text, apikey.Prefix) {
		return badRequest(ownKeyInURL)
	}
	key, _ := apikey.Parse(text) // zero if it cannot be one, which is refused later
	return p.keep(call, source, key)
}

// keep keeps the one key of a request. Two that differ are refused: of edge
// modules the first would win, and nobody would notice which.
func (p *partner) keep(call *partnerCall, source string, key apikey.Secret) error {
	switch {
	case !slices.Contains(p.Keys, source) && !(source == keyFromHeader && key.Kind == apikey.Own):
		return badRequest("This route takes no API key from the " + source)
	case call.keyed && call.key != key:
		return badRequest("Different API keys. Use only one of them")
	}
	call.key, call.keyed = key, true
	return nil
}
