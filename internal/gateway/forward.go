package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

// VerifyPath is where reverse proxies ask. What follows it, for proxies that put
// their question so (Envoy), is the path that is asked about.
const VerifyPath = "/authn/verify"

// Verify answers a reverse proxy that asks whether a request may pass: nginx's
// auth_request, forward_auth of Caddy and Traefik, Envoy's ext_authz over HTTP.
// Token, tenant and API key are taken from the headers of the question, which
// are the client's; method and path as the proxy tells them (asked.go). What is
// needed stands in the query of the question, which is the operator's (needs).
//
// 200 says that the request may pass, and who it is in headers that are always
// there, so that a proxy that copies them overwrites what the client forged.
// Every other status says that it may not: 401 and 403 with the bodies of the
// gateway. nginx understands no others, so it is told 403 in place of them.
//
// It belongs on the internal listener: the headers of a question are believed,
// and whoever could ask from outside would choose what is asked. Tokens of
// modules are refused all the same, as they are from outside. Filters of third
// parties do not run.
//
// All else goes to next. Verify stands before CORS: a preflight that is asked
// about is a request like any other, and 204 would let it pass.
func (g *Gateway) Verify(next http.Handler) http.Handler {
	l := g.listener(false)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), VerifyPath); !ok || rest != "" && rest[0] != '/' {
			next.ServeHTTP(w, r)
			return
		}
		r.Pattern = VerifyPath
		asked, by, err := l.ask(r)
		if err == nil {
			var pass verified
			if pass, err = l.mayPass(asked, by); err == nil {
				pass.write(w.Header())
				w.WriteHeader(http.StatusOK)
				return
			}
		}
		h := w.Header()
		h["X-Counterfoil-Code"] = []string{codeOf(err)}
		if by == nginx {
			err = forNginx(err)
		}
		g.refuse(w, r, err)
	})
}

// verified is what a proxy is told of a request that may pass.
type verified struct {
	facts  Facts
	held   []string
	token  string // of a module, if the operator asked for one
	userID string
	name   string
	// cookies are the client's without ours: tokens are not for applications.
	cookies []string
}

func (v *verified) write(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h["X-Okapi-Tenant"] = []string{v.facts.Tenant}
	h["X-Okapi-User-Id"] = []string{v.userID}
	h["X-Okapi-Permissions"] = []string{jsonArray(v.held)}
	h["X-Okapi-Request-Id"] = []string{v.facts.RequestID}
	h["X-Okapi-Token"] = []string{v.token}
	h["X-Counterfoil-Cookie"] = []string{strings.Join(v.cookies, "; ")}
	// The names of oauth2-proxy, which many applications read.
	h["X-Auth-Request-User"] = []string{v.userID}
	h["X-Auth-Request-Preferred-Username"] = []string{url.PathEscape(v.name)}
}

// mayPass decides about the request that is asked about, by the same steps as
// prepare.
func (l *listener) mayPass(r *http.Request, by convention) (v verified, err error) {
	need, err := readNeeds(r, by)
	if err != nil {
		return v, err
	}
	v.cookies = withoutOwnCookies(slices.Clone(r.Header["Cookie"]))
	if need.tenant != "" {
		if r.Header["X-Okapi-Tenant"] == nil {
			r.Header["X-Okapi-Tenant"] = []string{need.tenant}
		} else if _, err := extractTenant(r.Header, need.tenant); err != nil {
			return v, err
		}
	}
	path, claim, requestID, err := l.open(r)
	if err != nil {
		return v, err
	}
	f := &v.facts
	f.Tenant, f.RequestID, f.Required = claim.Tenant, requestID, need.permissions
	var route *Route
	if need.what == needRoute {
		to, err := l.gateway.registry.Load().follow(claim.Tenant, r.Method, path, claim.ModuleID)
		if err != nil {
			return v, err
		}
		route = to.route
		path = to.path
		f.Desired, f.Extra = route.Handler.PermissionsDesired, to.lent
		f.Required = slices.Concat(to.required, need.permissions)
	}
	caller, err := l.identify(r, &claim, path, new(session.Caller))
	if err != nil {
		return v, err
	}
	if f.Caller = caller; caller != nil {
		v.userID, v.name = caller.Claims.UserID, caller.Claims.Subject
	}
	if route != nil {
		f.Required = slices.Concat(f.Required, route.Required(path, caller != nil))
	}
	if caller == nil && need.what == needToken {
		return v, &Refusal{http.StatusUnauthorized, "Token missing"}
	}
	if v.held, err = l.gateway.Authorize(r.Context(), f); err != nil || need.module == "" {
		return v, err
	}
	v.token, err = l.forModule(f, need.module, route)
	return v, err
}

// forModule mints the token of the module that stands behind the proxy. It is
// lent permissions only where the descriptor that does so is of that module.
func (l *listener) forModule(f *Facts, module string, route *Route) (string, error) {
	lent := []string(nil)
	if route != nil && route.ModuleID != module {
		return "", &Refusal{http.StatusForbidden, "The route is not one of module " + cut(module)}
	}
	if route != nil {
		lent = route.Handler.ModulePermissions
	}
	minted, err := l.gateway.Tokens.Mint(l.gateway.ModuleClaims(f, module, lent))
	if err != nil {
		return "", fmt.Errorf("token for module %s: %w", module, err)
	}
	return minted, nil
}

// codeOf is a refusal in one word, for a proxy that does not hand on bodies.
func codeOf(err error) string {
	var denied *Denied
	var refusal *Refusal
	var unproven *Unproven
	switch {
	case errors.As(err, &unproven):
		return "ELEVATION_REQUIRED"
	case errors.As(err, new(*session.ProofError)):
		return "PROOF_INVALID"
	case errors.Is(err, session.ErrTokenExpired):
		return "TOKEN_EXPIRED"
	case errors.Is(err, session.ErrTokenInvalid):
		return "TOKEN_INVALID"
	case errors.Is(err, session.ErrKeyInvalid):
		return "API_KEY_INVALID"
	case errors.As(err, &denied) && denied.Caller == nil, errors.As(err, &refusal) && refusal.Status == http.StatusUnauthorized:
		return "TOKEN_MISSING"
	case denied != nil:
		return "PERMISSION_MISSING"
	case errors.Is(err, session.ErrUnavailable):
		return "UNAVAILABLE"
	}
	return "REFUSED"
}

// forNginx makes 403 of what auth_request would take for a fault of ours and
// answer with 500.
func forNginx(err error) error {
	var refusal *Refusal
	var limited *session.Limited
	switch {
	case errors.As(err, &limited):
		return &Refusal{http.StatusForbidden, "Too many requests that were refused, try again later"}
	case errors.As(err, &refusal) && refusal.Status < 500 && refusal.Status != http.StatusUnauthorized:
		return &Refusal{http.StatusForbidden, refusal.Text}
	}
	return err
}

// mayAsk is whether a proxy that the operator named is at the other end.
func (g *Gateway) mayAsk(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	address := peer.Addr().Unmap().WithZone("")
	return err == nil && slices.ContainsFunc(g.Proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// need is what a request must have to pass.
type need string

const (
	// needRoute is what the descriptor of the route asks for.
	needRoute need = "route"
	// needToken is any token or API key that holds.
	needToken need = "token"
	// needNothing lets pass who has none. One that does not hold is refused, so
	// that a browser refreshes it.
	needNothing need = "nothing"
)

type needs struct {
	what        need
	permissions []string
	tenant      string
	module      string
}

// readNeeds reads what the operator wrote into the address that the proxy asks:
// need, permission (any number of times), tenant and module. Where the query is
// the client's, it has no say. The error is a *Refusal with status 400.
func readNeeds(r *http.Request, by convention) (n needs, err error) {
	n.what = needRoute
	if by == envoy {
		return n, nil
	}
	query, err := url.ParseQuery(questionOf(r))
	if err != nil {
		return n, badRequest("Invalid query of " + VerifyPath)
	}
	for name, values := range query {
		if name == "permission" {
			n.permissions = values
			continue
		}
		into, known := map[string]*string{"need": (*string)(&n.what), "tenant": &n.tenant, "module": &n.module}[name]
		if !known || len(values) != 1 {
			return n, badRequest("Invalid query of " + VerifyPath + ": need, tenant and module once at most, permission any number of times")
		}
		*into = values[0]
	}
	if len(n.permissions) > 0 && query["need"] == nil {
		n.what = needToken
	}
	if !slices.Contains([]need{needRoute, needToken, needNothing}, n.what) || slices.Contains(n.permissions, "") {
		return n, badRequest("Invalid query of " + VerifyPath + ": need is route, token or nothing, and no permission is empty")
	}
	return n, nil
}
