package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	maxBody = 1 << 20
	// maxImport bounds a whole set of descriptors; FOLIO's is below 1 MiB.
	maxImport = 16 << 20
)

// endpoint is one operation of the management API, with Okapi's permission for
// it.
type endpoint struct {
	// pattern is one of http.ServeMux; {tenant} is the tenant that it is about.
	pattern string
	// permission is what a caller of the supertenant must have; anybody may
	// call where it is empty.
	permission string
	// sets are Okapi's permission sets that permission is in, besides okapi.all.
	sets []string
	// own lets callers of the tenant in the path pass without permission, as
	// Okapi's permissionsRequiredTenant does.
	own bool
	// public endpoints also stand on the public and the internal listener.
	public bool
	serve  func(*Gateway, *http.Request) (reply, error)
}

var (
	modulesSet    = []string{"okapi.modules"}
	modulesRead   = []string{"okapi.modules", "okapi.readonly"}
	tenantsSet    = []string{"okapi.tenants"}
	tenantsRead   = []string{"okapi.tenants", "okapi.readonly"}
	enabledSet    = []string{"okapi.tenantmodules"}
	enabledRead   = []string{"okapi.tenantmodules", "okapi.readonly"}
	interfacesSet = []string{"okapi.interfaces", "okapi.readonly"}
	deploySet     = []string{"okapi.deploy"}
	timersSet     = []string{"okapi.timers"}
	timersRead    = []string{"okapi.timers", "okapi.readonly"}
	envSet        = []string{"okapi.env"}
)

// endpoints is the management API. What Okapi has beyond that is in missing.
func endpoints() []endpoint {
	return append(missing(), []endpoint{
		{"GET /_/version", "okapi.version.get", []string{"okapi.readonly"}, true, true, (*Gateway).getVersion},
		{"GET /_/proxy/health", "", nil, false, true, (*Gateway).getHealth},

		{"POST /_/proxy/modules", "okapi.proxy.modules.post", modulesSet, false, false, (*Gateway).postModule},
		{"GET /_/proxy/modules", "okapi.proxy.modules.list", modulesRead, false, false, (*Gateway).listModules},
		{"GET /_/proxy/modules/{module}", "okapi.proxy.modules.get", modulesRead, false, false, (*Gateway).getModule},
		{"DELETE /_/proxy/modules/{module}", "okapi.proxy.modules.delete", modulesSet, false, false, (*Gateway).deleteModule},
		{"POST /_/proxy/import/modules", "okapi.proxy.modules.post", modulesSet, false, false, (*Gateway).importModules},

		{"POST /_/proxy/tenants", "okapi.proxy.tenants.post", tenantsSet, false, false, (*Gateway).postTenant},
		{"GET /_/proxy/tenants", "okapi.proxy.tenants.list", tenantsRead, false, false, (*Gateway).listTenants},
		{"GET /_/proxy/tenants/{tenant}", "okapi.proxy.tenants.get", tenantsRead, false, false, (*Gateway).getTenant},
		{"PUT /_/proxy/tenants/{tenant}", "okapi.proxy.tenants.put", tenantsSet, false, false, (*Gateway).putTenant},
		{"DELETE /_/proxy/tenants/{tenant}", "okapi.proxy.tenants.delete", tenantsSet, false, false, (*Gateway).deleteTenant},

		{"POST /_/proxy/tenants/{tenant}/modules", "okapi.proxy.tenants.modules.post", enabledSet, false, false, (*Gateway).postEnabled},
		{"GET /_/proxy/tenants/{tenant}/modules", "okapi.proxy.tenants.modules.list", enabledRead, true, true, (*Gateway).listEnabled},
		{"DELETE /_/proxy/tenants/{tenant}/modules", "okapi.proxy.tenants.modules.delete", enabledSet, false, false, (*Gateway).deleteAllEnabled},
		{"GET /_/proxy/tenants/{tenant}/modules/{module}", "okapi.proxy.tenants.modules.enabled.get", enabledRead, true, true, (*Gateway).getEnabled},
		{"POST /_/proxy/tenants/{tenant}/modules/{module}", "okapi.proxy.tenants.modules.enabled.post", enabledSet, false, false, (*Gateway).postUpgrade},
		{"DELETE /_/proxy/tenants/{tenant}/modules/{module}", "okapi.proxy.tenants.modules.enabled.delete", enabledSet, false, false, (*Gateway).deleteEnabled},
		{"POST /_/proxy/tenants/{tenant}/install", "okapi.proxy.tenants.install.post", enabledSet, false, false, (*Gateway).postInstall},
		{"POST /_/proxy/tenants/{tenant}/upgrade", "okapi.proxy.tenants.upgrade.post", enabledSet, false, false, (*Gateway).postUpgradeAll},
		{"GET /_/proxy/tenants/{tenant}/timers", "okapi.proxy.tenants.timers.list", timersRead, true, true, (*Gateway).listTimers},
		{"GET /_/proxy/tenants/{tenant}/timers/{timer}", "okapi.proxy.tenants.timers.get", timersRead, true, true, (*Gateway).getTimer},
		{"PATCH /_/proxy/tenants/{tenant}/timers", "okapi.proxy.tenants.timers.patch", timersSet, false, false, (*Gateway).patchTimers},
		{"PATCH /_/proxy/tenants/{tenant}/timers/{timer}", "okapi.proxy.tenants.timers.patch", timersSet, false, false, (*Gateway).patchTimer},
		{"GET /_/proxy/tenants/{tenant}/interfaces", "okapi.proxy.tenants.interfaces.list", interfacesSet, true, true, (*Gateway).listInterfaces},
		{"GET /_/proxy/tenants/{tenant}/interfaces/{interface}", "okapi.proxy.tenants.interfaces.get", interfacesSet, true, true, (*Gateway).getInterface},

		{"POST /_/discovery/modules", "okapi.discovery.post", deploySet, false, false, (*Gateway).postInstance},
		{"GET /_/discovery/modules", "okapi.discovery.get", deploySet, false, false, (*Gateway).listInstances},
		{"GET /_/discovery/modules/{module}", "okapi.discovery.get", deploySet, false, false, (*Gateway).listInstances},
		{"GET /_/discovery/modules/{module}/{instance}", "okapi.discovery.get", deploySet, false, false, (*Gateway).getInstance},
		{"DELETE /_/discovery/modules", "okapi.discovery.delete", deploySet, false, false, (*Gateway).deleteInstances},
		{"DELETE /_/discovery/modules/{module}", "okapi.discovery.delete", deploySet, false, false, (*Gateway).deleteInstances},
		{"DELETE /_/discovery/modules/{module}/{instance}", "okapi.discovery.delete", deploySet, false, false, (*Gateway).deleteInstances},
		{"GET /_/discovery/health", "okapi.discovery.health.get", deploySet, false, false, (*Gateway).listInstanceHealth},
		{"GET /_/discovery/health/{module}", "okapi.discovery.health.get", deploySet, false, false, (*Gateway).listInstanceHealth},
		{"GET /_/discovery/health/{module}/{instance}", "okapi.discovery.health.get", deploySet, false, false, (*Gateway).getInstanceHealth},
	}...)
}

// Management is the whole management API, for the admin listener.
func (g *Gateway) Management() http.Handler {
	return g.manage(false, func(*endpoint) bool { return true }, g.OpenManagement)
}

// PublicManagement is the reads that clients and modules make of the gateway,
// for the public listener and, with modules' tokens, the internal one.
func (g *Gateway) PublicManagement(internal bool) http.Handler {
	return g.manage(internal, func(e *endpoint) bool { return e.public }, false)
}

func (g *Gateway) manage(internal bool, want func(*endpoint) bool, open bool) http.Handler {
	l := g.listener(internal)
	mux := http.NewServeMux()
	for _, e := range endpoints() {
		if !want(&e) {
			continue
		}
		mux.HandleFunc(e.pattern, func(w http.ResponseWriter, r *http.Request) {
			allow := l.allow
			if open {
				allow = l.allowAnybody
			}
			err := allow(r, &e)
			if err == nil {
				var answer reply
				if answer, err = e.serve(g, r); err == nil {
					answer.write(w)
					return
				}
			}
			g.refuse(w, r, okapiError(err))
		})
	}
	return mux
}

// Operator is for the program's own endpoints on the admin listener: it lets
// pass whose access token is of the supertenant and has the permission, or
// answers why not.
func (g *Gateway) Operator(w http.ResponseWriter, r *http.Request, permission string) bool {
	err := g.listener(false).allow(r, &endpoint{permission: permission})
	if err != nil {
		g.refuse(w, r, err)
	}
	return err == nil
}

// allow checks who manages. A tenant's own administrators can give themselves
// any permission in their tenant, so none of these counts here: what reaches
// beyond one tenant is for callers of the supertenant.
func (l *listener) allow(r *http.Request, e *endpoint) error {
	if e.permission == "" {
		return nil
	}
	caller, err := l.tokenOf(r)
	if err != nil {
		return err
	}
	if caller == nil {
		return &Denied{Permission: e.permission}
	}
	about := r.PathValue("tenant")
	if e.own && (about == "" || about == caller.Claims.Tenant) {
		return nil
	}
	if caller.Claims.Tenant != directory.SuperTenant {
		return &Refusal{http.StatusForbidden, "Access to this endpoint requires a token of tenant " + directory.SuperTenant}
	}
	p := permissionsOf(&Facts{Tenant: caller.Claims.Tenant, Caller: caller})
	for _, name := range append([]string{e.permission, "okapi.all"}, e.sets...) {
		if has, err := p.has(r.Context(), l.gateway.Directory, name); err != nil || has {
			return err
		}
	}
	return &Denied{e.permission, &caller.Claims}
}

// allowAnybody lets everybody pass who sits at this machine, and no web page
// that somebody at this machine looks at: neither by a request across origins
// nor under a name that was made to point here.
func (l *listener) allowAnybody(r *http.Request, _ *endpoint) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return &Refusal{http.StatusForbidden, "Management without a token is for this machine alone. Call it as localhost"}
	}
	if l.gateway.origins.Check(r) != nil {
		return &Refusal{http.StatusForbidden, "Management without a token is not for web pages of other origins"}
	}
	id, err := l.gateway.RequestIDs.Next(r.Header["X-Okapi-Request-Id"], r.URL.EscapedPath(), l.internal)
	if err != nil {
		return err
	}
	actor := audit.ActorFrom(r.Context())
	actor.Kind, actor.Name, actor.RequestID = "operator", "open management", id
	return nil
}

// reply is the answer of an endpoint.
type reply struct {
	// status is 0 for 200.
	status int
	// location is the path of what was created.
	location string
	// body is written as JSON, a string as text; nil is no body.
	body any
}

func created(body any, path ...string) reply {
	location := strings.Builder{}
	location.WriteString("/_")
	for _, segment := range path {
		location.WriteString("/" + url.PathEscape(segment))
	}
	return reply{http.StatusCreated, location.String(), body}
}

func (a reply) write(w http.ResponseWriter) {
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	status := cmp.Or(a.status, http.StatusOK)
	switch body := a.body.(type) {
	case nil:
		w.WriteHeader(cmp.Or(a.status, http.StatusNoContent))
	case string:
		writeText(w, status, body)
	default:
		text, err := json.Marshal(body, jsontext.WithIndent("  "), json.Deterministic(true))
		if err != nil { // of values that were decoded from JSON or are our own
			writeText(w, http.StatusInternalServerError, "Internal error")
			return
		}
		writeJSON(w, status, text)
	}
}

// okapiError gives the errors of store and directory Okapi's statuses.
func okapiError(err error) error {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return err
	case errors.Is(err, directory.ErrNotFound), errors.Is(err, session.ErrNotFound):
		return notFound(err.Error())
	case errors.Is(err, directory.ErrInvalid), errors.Is(err, directory.ErrExists):
		return badRequest(err.Error())
	}
	return err
}

func notFound(text string) *Refusal { return &Refusal{http.StatusNotFound, text} }

// decode reads the JSON body of a request.
func decode(r *http.Request, limit int64, v any) error {
	body, err := readBody(r, limit)
	if err != nil {
		return err
	}
	return decodeStrict(body, v)
}

func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, badRequest("The body of the request broke off")
	}
	if int64(len(body)) > limit {
		return nil, &Refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("The body of the request is larger than %d bytes", limit)}
	}
	return body, nil
}

// flag reads a query parameter that is true or false.
func flag(q url.Values, name string, standard bool) (bool, error) {
	switch q.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "":
		if !q.Has(name) {
			return standard, nil
		}
	}
	return false, badRequest(fmt.Sprintf("Bad boolean for parameter %s: %s", name, cut(q.Get(name))))
}

func (g *Gateway) getVersion(*http.Request) (reply, error) {
	return reply{body: cmp.Or(g.Version, "0.0.0")}, nil
}

// getHealth says that the gateway answers; FOLIO's edge modules ask for it.
func (g *Gateway) getHealth(*http.Request) (reply, error) {
	return reply{body: []HealthDescriptor{}}, nil
}
