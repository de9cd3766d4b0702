// Package gateway brings requests to modules, by Okapi's module descriptors:
// it finds the route, checks the token and the permissions in process, gives
// the module a token of its own for this request, and proxies.
//
// It owns the routing tables, the header policy, the filters around handlers,
// the management API under /_/ and the calls of system interfaces. It refuses to
// keep sessions or keys (packages session and token), to answer /authn (package
// folio), and to start modules.
//
// Invariants:
//   - A module sees only what the gateway verified, configured or measured
//     itself. Whatever a client says under one of these names is dropped.
//   - The path that was routed, the path whose permissions were checked and
//     the path that the module gets are one string.
//   - No caller learns whether a token or permission would do before the
//     tenant and the route are known, and none reaches a module before both
//     were checked.
//   - A module's token is worth nothing outside: it is accepted on the
//     internal listener alone and never sent to a client.
//   - No request waits for the store: routes, tenants and revocations are in
//     memory, and a change is there before it is acknowledged.
package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Gateway routes requests. Fill in the fields and call Reload before anything
// else; the fields must not change then. Its methods are safe for concurrent
// use.
type Gateway struct {
	Sessions  *session.Service
	Directory *directory.Cache
	Tokens    *token.Ring
	Store     Store
	// Prefix is the path of the public URL without slash at the end, for links.
	Prefix string
	// PublicURL is where clients call, as they write it; empty if it is not known.
	PublicURL string
	// InternalURL is where modules call the gateway; they get it as X-Okapi-Url.
	InternalURL string
	// Okapi is where the Okapi is whose filter we are, http or https, with path
	// prefix if there is one. Call sends requests of the program's own there.
	// Empty, it finds modules itself.
	Okapi string
	// Transport says how modules are called.
	Transport Transport
	// Origins are the origins of user interfaces on other hosts, as given to
	// CORS. From any other site a request that changes something must bring
	// its token in a header: a cookie alone may have been added by a browser
	// that does another site's bidding.
	Origins []string
	// Partners are the routes by which partners with keys of FOLIO's edge modules
	// call, on the public listener alone.
	Partners []PartnerRoute
	// Proxies are the networks of reverse proxies that may ask Verify.
	Proxies []netip.Prefix
	// OpenManagement lets whoever reaches Management under a loopback name
	// administer without a token. It is for demonstrations.
	OpenManagement bool
	// Errors says in whose shapes the gateway refuses.
	Errors ErrorProfiles
	// Version is the answer to GET /_/version; empty means 0.0.0.
	Version string
	// RequestIDs numbers requests; the zero value draws at random.
	RequestIDs RequestIDs
	Now        func() time.Time
	// Log gets faults of modules and what the management API did; nil drops it.
	Log *slog.Logger
	// Tracer makes a span of each call of a module; nil makes none.
	Tracer trace.Tracer
	// Registerer gets the gateway's metrics; nil counts nothing.
	Registerer prometheus.Registerer

	once      sync.Once
	registry  atomic.Pointer[registry]
	reloading sync.Mutex
	managing  chan struct{} // changes are planned and made one at a time
	origins   *http.CrossOriginProtection
	transport *http.Transport
	direct    *direct
	metrics   *metrics
	exchanges sync.Pool
	partners  []*partner
	// modulesChanged has one in it after a change of modules.
	modulesChanged chan struct{}
	logging        chan struct{} // calls of request-log filters on their way
	expired        []byte        // the body of 401 TOKEN_EXPIRED
}

// Routed serves all paths that modules have routes for, on the internal
// listener or on the public one.
func (g *Gateway) Routed(internal bool) http.Handler { return g.listener(internal) }

// ServeHTTP serves one request to a module.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := l.gateway.exchanges.Get().(*exchange)
	x.client = r
	switch err := l.prepare(r, x); {
	case x.pipeline != nil:
		x.pipeline.serve(w, x.client, err)
	case err != nil:
		l.gateway.refuse(w, r, err)
	default:
		x.serve(w, x.client) // where it panics, as ReverseProxy does to abort, x is not used again
	}
	x.release()
}

// prepare takes every step before the module. Their order is the order of
// refusals: who asks for something that is not there hears so before anybody
// looks at a token.
func (l *listener) prepare(r *http.Request, x *exchange) error {
	g := l.gateway
	path, claim, requestID, err := l.open(r)
	if err != nil {
		return err
	}
	// 3. No route: 404. A method that nobody may use: 405.
	known := g.registry.Load()
	delegated := delegatesCORS(r)
	method := r.Method
	if delegated && isPreflight(r) {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	to, err := known.follow(claim.Tenant, method, path, claim.ModuleID)
	if err != nil {
		return err
	}
	route := to.route
	if to.path != path {
		path = to.path
		if x.client, err = atPath(r, path); err != nil {
			return err
		}
	}
	if delegated {
		if isPreflight(r) {
			return x.preflight(known, route, claim.Tenant, requestID)
		}
		l.withoutForeignCookie(r, &claim)
	}
	if filters := known.tenants[claim.Tenant].table.Filters(r.Method, path); len(filters) > 0 {
		x.pipeline = newPipeline(x, known, filters, route)
		x.pipeline.facts = Facts{Tenant: claim.Tenant, RequestID: requestID}
		x.told.IP = audit.ActorFrom(r.Context()).Address
	}
	caller, err := l.identify(r, &claim, path, &x.caller)
	if err != nil {
		return err
	}
	// 5. No token where a permission is needed: 401. A permission missing: 403.
	facts := Facts{
		Tenant: claim.Tenant, Caller: caller, RequestID: requestID,
		Required: route.Required(path, caller != nil), Desired: route.Handler.PermissionsDesired, Extra: to.lent,
	}
	if len(to.required) > 0 {
		facts.Required = slices.Concat(to.required, facts.Required)
	}
	if x.pipeline != nil {
		x.pipeline.ask(&facts)
	}
	held, err := g.Authorize(r.Context(), &facts)
	if err != nil {
		return err
	}
	if x.pipeline != nil {
		x.pipeline.held, x.pipeline.authorized = held, true
	}
	// 6. Nobody there to serve it: 404.
	if x.upstream, x.base, err = known.instance(route.ModuleID); err != nil {
		return err
	}
	// 7. The module's own token, and all else that it is told.
	claims := g.ModuleClaims(&facts, route.ModuleID, route.Handler.ModulePermissions)
	moduleToken, err := g.Tokens.Mint(claims)
	if err != nil {
		return fmt.Errorf("token for module %s: %w", route.ModuleID, err)
	}
	x.module = route.ModuleID
	x.told = Outgoing{
		URL: g.InternalURL, Tenant: claim.Tenant, Token: moduleToken, UserID: claims.UserID,
		Permissions: held, RequestID: requestID, IP: audit.ActorFrom(r.Context()).Address,
		Time: claims.IssuedAt, Method: r.Method, MatchPathPattern: route.Pattern,
	}
	x.describe(r.Context())
	return nil
}

// open takes the first steps, which look at the request alone.
func (l *listener) open(r *http.Request) (path string, claim Claim, requestID string, err error) {
	// 1. A path that a module may read otherwise than the table does: 400.
	path = r.URL.EscapedPath()
	if err = CheckPath(path); err != nil {
		return path, claim, "", err
	}
	if err = noKeyIn(path, r.URL.RawQuery); err != nil {
		return path, claim, "", err
	}
	// 2. Malformed or conflicting headers, then an unknown tenant: 400.
	claim, requestID, err = l.read(r, path)
	return path, claim, requestID, err
}

// identify writes into caller who calls, and returns it; nil is a caller
// without token.
func (l *listener) identify(r *http.Request, claim *Claim, path string, caller *session.Caller) (*session.Caller, error) {
	// 4. A token that does not hold: 401; one of another tenant: 403.
	switch {
	case claim.Keyed:
		return caller, l.verifyKey(r, claim, path, caller)
	case claim.Token != "":
		return caller, l.verify(r, claim, caller)
	}
	return nil, nil
}

// Close gives up the connections to modules that no request uses.
func (g *Gateway) Close() {
	g.start()
	g.transport.CloseIdleConnections()
	g.direct.close()
}

// start makes what the fields describe.
func (g *Gateway) start() {
	g.once.Do(func() {
		if g.Log == nil {
			g.Log = slog.New(slog.DiscardHandler)
		}
		g.InternalURL = strings.TrimRight(g.InternalURL, "/")
		g.managing = make(chan struct{}, 1)
		g.modulesChanged = make(chan struct{}, 1)
		g.logging = make(chan struct{}, maxLogs)
		g.partners = compilePartners(g.Partners)
		g.origins = http.NewCrossOriginProtection()
		for _, origin := range g.Origins {
			if err := g.origins.AddTrustedOrigin(origin); err != nil {
				g.Log.Error("origin of a user interface cannot be trusted", "error", err)
			}
		}
		g.transport = g.Transport.open()
		g.direct = newDirect(g.transport)
		g.metrics = newMetrics(g.Registerer)
		g.exchanges.New = g.newExchange
		g.expired = expiredBody(g.Prefix)
	})
}
