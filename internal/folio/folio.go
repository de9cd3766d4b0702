// Package folio serves HTTP in FOLIO's shapes: log in, refresh and log out as
// mod-login, mod-users-bl and mod-authtoken do, and in the same manner what
// FOLIO lacks, the list of sessions and raised scope.
//
// It reads requests and writes answers. What is granted, refused or ended is
// decided in package session; routed calls, and who may call a guarded
// endpoint, are package gateway's; shapes of the RFCs are package oauth's.
//
// Invariants:
//   - A token leaves in the way it came: whoever keeps it in a cookie gets it
//     in a cookie and never in a body, where a script could read it.
//   - Cookies are cleared only when the session is over for certain. The answer
//     to the loser of a race must not wipe the cookie of the winner.
//   - No answer is cached, none repeats a token or a password, and none says
//     more about a refused refresh than the client needs for its next step.
package folio

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Handler serves this package's endpoints. Fill in the fields and call Mount.
type Handler struct {
	Sessions  *session.Service
	Directory *directory.Cache
	// Tokens mints what belongs to no session: the dummy tokens of /token/sign.
	Tokens *token.Ring
	// Cookies says with which attributes tokens travel in browsers.
	Cookies session.Cookies
	// Prefix is the path of the public URL without trailing slash, for links.
	Prefix string
	// PublicURL is where clients call, which proofs of a key name; empty is that it
	// is not known.
	PublicURL string
	// TrustedOrigins are the origins of user interfaces on other hosts, such
	// as https://ui.example.org, which may act with the user's cookies. Our
	// own origin is trusted anyway. What is no origin is trusted by nobody.
	TrustedOrigins []string
	// HomeTenant is the tenant of a consortium in which a user logs in who was
	// named in tenant, and perhaps with the tenant that is wanted; nil is that
	// there are no consortia.
	HomeTenant func(ctx context.Context, tenant, username, userID, wanted string) (string, error)
	// Unauthorized is whether a tenant's clients expect 401 for a wrong password,
	// as Eureka has it, in place of 422; nil is that nobody's do.
	Unauthorized func(tenant string) bool
	Now          func() time.Time
	// Log is for faults at our end; nil is silence.
	Log *slog.Logger
	// Guard runs serve for a caller whose access token holds and who has all
	// of the permissions, and writes every refusal itself.
	Guard func(permissions []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler
	// ModuleGuard is the same for the token of a module, which must carry the
	// permission unless that is empty. What a user was granted does not count.
	ModuleGuard func(endpoint, permission string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler
	// PermissionGuard is Guard for callers who need no name: Caller.Access may
	// be nil.
	PermissionGuard func(permissions []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler
	// Challenge answers that a caller must prove anew who he is, for something that
	// step_up names.
	Challenge func(w http.ResponseWriter, r *http.Request, name string, step session.StepUp)
	// Call asks the tenant's modules for parts of users; nil is that there are
	// no modules.
	Call CallModule
	// Recovery makes links that set passwords.
	Recovery *Recovery
	// EurekaPermissions lists permissions as Eureka does, from the module that
	// serves /permissions/users if the tenant has one.
	EurekaPermissions bool
	// LoginLog are the LoginEvents that /authn/log/events has; none switches it
	// off, as FOLIO does by default.
	LoginLog []string

	origins *http.CrossOriginProtection
}

// endpoint is one method of one path.
type endpoint struct {
	method, path string
	serve        http.Handler
	// shared is a path whose other methods are a module's.
	shared bool
}

// Mount adds the endpoints to mux. Another method on one of their paths is
// 405, so that it does not fall through to a route of a module.
func (h *Handler) Mount(mux *http.ServeMux) {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	h.origins = http.NewCrossOriginProtection()
	for _, origin := range h.TrustedOrigins {
		if err := h.origins.AddTrustedOrigin(origin); err != nil {
			h.Log.Error("origin is not trusted: it must read like https://ui.example.org", "origin", origin)
		}
	}
	allowed := map[string][]string{}
	for _, e := range h.endpoints() {
		mux.Handle(e.method+" "+e.path, h.edge(e.serve))
		// Below the sessions two patterns would overlap without either being
		// narrower, which the mux refuses; one for the whole tree does there.
		path := e.path
		if e.shared {
			continue
		}
		if strings.HasPrefix(path, sessionsPath+"/") {
			path = sessionsPath + "/"
		}
		allowed[path] = append(allowed[path], e.method)
	}
	for path, methods := range allowed {
		mux.Handle(path, h.edge(h.open(notAllowed(methods))))
	}
}

// edge is around every endpoint, before anything is read. A page of another
// site must not log its visitors in, out or on: what browsers say about the
// origin of an unsafe request decides, and programs say nothing.
func (h *Handler) edge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Add("Vary", "Origin, Sec-Fetch-Site")
		if h.origins.Check(r) != nil {
			h.refuse(w, r, errCrossOrigin)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// open is for endpoints that ask for no access token, and look at none: the
// one that a browser sends along may have expired long ago.
func (h *Handler) open(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			h.refuse(w, r, err)
		}
	})
}

type forCaller func(http.ResponseWriter, *http.Request, *session.Caller) error

// guarded is for endpoints that act for a caller with these permissions.
func (h *Handler) guarded(serve forCaller, permissions ...string) http.Handler {
	return h.Guard(permissions, h.withCaller(serve))
}

// permitted is for endpoints that need a permission and no name.
func (h *Handler) permitted(serve forCaller, permission string) http.Handler {
	return h.PermissionGuard([]string{permission}, h.withCaller(serve))
}

// forModules is for endpoints that serve modules.
func (h *Handler) forModules(endpoint, permission string, serve forCaller) http.Handler {
	return h.ModuleGuard(endpoint, permission, h.withCaller(serve))
}

func (h *Handler) withCaller(serve forCaller) func(http.ResponseWriter, *http.Request, session.Caller) {
	return func(w http.ResponseWriter, r *http.Request, caller session.Caller) {
		if err := serve(w, r, &caller); err != nil {
			h.refuse(w, r, err)
		}
	}
}

// notAllowed answers for the methods that a path lacks. A method that it has
// comes here only on a path below one of ours that is nothing.
func notAllowed(methods []string) func(http.ResponseWriter, *http.Request) error {
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	methods = slices.Compact(methods)
	return func(w http.ResponseWriter, r *http.Request) error {
		if slices.Contains(methods, r.Method) {
			return session.ErrNotFound
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return errMethod
	}
}
