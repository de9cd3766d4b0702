package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// The names that Okapi allows and exposes. Of those it exposes, X-Okapi-Token
// and Authorization are left out: no script needs to read a token, and one
// that can read it can leak it.
const (
	corsMethods = "PUT, PATCH, DELETE, GET, POST"
	corsAllowed = "content-type, X-Okapi-Tenant, X-Okapi-Token, Authorization, DPoP, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials"
	corsExposed = "Location, X-Okapi-Trace, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials, Retry-After, WWW-Authenticate, DPoP-Nonce, Date"
	corsMaxAge  = "7200" // seconds; browsers keep an answer for no longer
)

// CORS lets user interfaces on the listed origins call next with cookies. The
// headers are on every answer, refusals and faults too: without them a browser
// shows the interface no status, and it would take an expired token for a
// network that is down. They are set before next runs, so that a panic handler
// further out answers with them.
//
// Origins are compared as they stand; there is no wildcard, because with
// cookies that would let any page act as the user. Preflights are answered
// here with 204, for origins that are not listed without the headers that
// would allow anything.
//
// delegated tells requests whose modules answer for CORS themselves, preflights
// too; nil is that there are none.
func CORS(origins []string, delegated func(*http.Request) bool, next http.Handler) http.Handler {
	allowed := make(map[string]bool, len(origins))
	for _, origin := range origins {
		allowed[origin] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if delegated != nil && delegated(r) {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h["Vary"] = append(h["Vary"], "Origin")
		origin := r.Header.Get("Origin")
		known := origin != "" && allowed[origin]
		if known {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if isPreflight(r) {
			h.Add("Vary", "Access-Control-Request-Method")
			h.Add("Vary", "Access-Control-Request-Headers")
			if known {
				h.Set("Access-Control-Allow-Methods", corsMethods)
				h.Set("Access-Control-Allow-Headers", corsAllowed)
				h.Set("Access-Control-Max-Age", corsMaxAge)
			}
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if known {
			h.Set("Access-Control-Expose-Headers", corsExposed)
		}
		next.ServeHTTP(w, r)
	})
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

type corsKey struct{}

// delegatesCORS is what CleanPath found out by DelegatesCORS.
func delegatesCORS(r *http.Request) bool {
	delegated, _ := r.Context().Value(corsKey{}).(bool)
	return delegated
}

// DelegatesCORS is whether a module answers for CORS itself: where its
// descriptor says so, and below /_/invoke alone. Identity providers have pages
// of theirs post there, from origins that nobody can list.
func (g *Gateway) DelegatesCORS(r *http.Request) bool {
	raw := r.URL.EscapedPath()
	tenant, rest, invoked := SplitInvoke(raw)
	known := g.registry.Load()
	if !invoked || known == nil || CheckPath(raw) != nil {
		return false
	}
	method := r.Method
	if isPreflight(r) {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	route, err := known.route(tenant, method, rest, "")
	return err == nil && route.Handler.DelegateCORS
}

// withoutForeignCookie takes the token from a request that a page of another
// site had the browser send. The module decides which pages may read its
// answers; that they act for the user is not the module's to decide.
func (l *listener) withoutForeignCookie(r *http.Request, c *Claim) {
	origin := r.Header.Get("Origin")
	if c.FromCookie && (l.gateway.origins.Check(r) != nil || origin != "" && !l.gateway.trusts(r, origin)) {
		c.Token, c.FromCookie = "", false
	}
}

// trusts is whether an origin is one of the listed ones, or our own.
func (g *Gateway) trusts(r *http.Request, origin string) bool {
	_, host, ok := strings.Cut(origin, "://")
	return ok && host == r.Host || slices.Contains(g.Origins, origin)
}

// preflight makes the exchange for a preflight that the module answers. It
// brings no token, so no permission is asked for and none is lent.
func (x *exchange) preflight(known *registry, route *Route, tenant, requestID string) (err error) {
	g := x.gateway
	if x.upstream, x.base, err = known.instance(route.ModuleID); err != nil {
		return err
	}
	x.module = route.ModuleID
	x.told = Outgoing{
		URL: g.InternalURL, Tenant: tenant, RequestID: requestID, IP: audit.ActorFrom(x.client.Context()).Address,
		Time: g.Now(), Method: x.client.Method, MatchPathPattern: route.Pattern,
	}
	return nil
}

// ownCORS is what a module says about CORS where that is its to say, nil
// elsewhere.
func (x *exchange) ownCORS(res *http.Response) http.Header {
	if !delegatesCORS(x.client) {
		return nil
	}
	own := make(http.Header)
	for name, values := range res.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			own[name] = values
		}
	}
	return own
}
