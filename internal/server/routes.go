package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/session"
)

func (s *Server) openGateway(ctx context.Context) error {
	prefix, err := session.PathPrefix(s.config.PublicURL)
	if err != nil {
		return fmt.Errorf("public_url: %w", err)
	}
	internal := s.config.InternalURL
	if internal == "" {
		internal = s.URL(Internal)
	}
	s.gateway = &gateway.Gateway{
		Sessions: s.sessions, Directory: s.people, Tokens: s.ring, Store: s.db,
		Prefix: prefix, PublicURL: s.config.PublicURL, InternalURL: internal, Okapi: s.config.Okapi.URL, OpenManagement: s.config.Demo,
		Transport: gateway.Transport{ResponseTimeout: s.config.Upstream.Timeout.Std()}, Origins: s.ownOrigins(),
		Errors:   gateway.ErrorProfiles{Default: s.config.Errors.Profile, Tenants: s.config.Errors.Tenants},
		Partners: s.config.APIKeys.Routes, Proxies: networks(s.config.TrustedProxies), Version: Version(), Now: s.db.Now, Log: s.log, Registerer: s.metrics.registry,
	}
	if s.tracing != nil {
		s.gateway.Tracer = s.tracing.tracer
	}
	if err := s.gateway.Reload(ctx); err != nil {
		return err
	}
	s.admin.Explain = s.explainInJSON
	if s.config.Modules == "" {
		return nil
	}
	return s.gateway.LoadDirectory(ctx, s.config.Modules)
}

// mount builds the handler of each listener. It is the one place that says
// what stands where.
func (s *Server) mount() error {
	prefix, err := session.PathPrefix(s.config.PublicURL)
	if err != nil {
		return fmt.Errorf("public_url: %w", err)
	}
	s.openRecovery()
	if s.config.behindOkapi() {
		s.mountBehindOkapi(prefix)
		return nil
	}
	own := http.NewServeMux()
	if err := s.ownSessions(prefix).Mount(own); err != nil {
		return err
	}
	surface := func(internal bool) http.Handler {
		mux := http.NewServeMux()
		endpoints := s.endpoints(prefix)
		endpoints.Guard, endpoints.ModuleGuard, endpoints.PermissionGuard = s.gateway.Guard(internal), s.gateway.ModuleGuard(internal), s.gateway.PermissionGuard(internal)
		endpoints.Mount(mux)
		s.standards(prefix, internal).Mount(mux)
		mux.Handle("/_/", s.gateway.PublicManagement(internal))
		if !internal {
			mux.Handle(console.OwnPath, own)
		}
		mux.Handle("/", bodyWithin(0, s.gateway.Routed(internal)))
		if internal {
			return s.gateway.Verify(gateway.CORS(s.config.CORS.Origins, s.gateway.DelegatesCORS, s.gateway.CleanPath(bodyWithin(bodyTime, mux))))
		}
		return gateway.CORS(s.config.CORS.Origins, s.gateway.DelegatesCORS, s.gateway.CleanPath(s.gateway.PartnerRoutes(bodyWithin(bodyTime, mux))))
	}
	insight := s.insight()
	insight.Handle("/_/", s.gateway.Management())
	s.admin.Operator = s.gateway.Operator
	s.admin.Mount(insight)
	s.console().Mount(insight)
	s.handlers = map[string]*observed{
		Public:   s.observe(Public, surface(false)),
		Internal: s.observe(Internal, surface(true)),
		Admin:    s.observe(Admin, bodyWithin(bodyTime, insight)),
	}
	return nil
}

// console is the operators' pages on the admin listener.
func (s *Server) console() *console.Handler {
	return &console.Handler{
		Sessions: s.sessions, Directory: s.people, Tokens: s.ring, Store: s.db, Users: s.users, Elsewhere: s.admin.Elsewhere,
		Routes: s.routes, Explain: s.explain, Insecure: s.config.Cookies.Insecure, Now: s.db.Now, Log: s.log,
	}
}

func (s *Server) cookies(prefix string) session.Cookies {
	return session.Cookies{Prefix: prefix, SameSite: sameSites[s.config.Cookies.SameSite], Insecure: s.config.Cookies.Insecure}
}

// ownSessions is the page on which users see where they are logged in.
func (s *Server) ownSessions(prefix string) *console.Own {
	return &console.Own{Sessions: s.sessions, Cookies: s.cookies(prefix), Prefix: prefix, Origins: s.ownOrigins(), Now: s.db.Now, Log: s.log}
}

// routes are the gateway's, as the console shows them.
func (s *Server) routes(tenant string) []console.Route {
	var list []console.Route
	for module, entry := range s.gateway.Routes(tenant) {
		list = append(list, console.Route{
			Module: module, Methods: strings.Join(entry.Methods, " "), Path: cmp.Or(entry.PathPattern, entry.Path),
			Required: entry.PermissionsRequired, Lent: entry.ModulePermissions,
		})
	}
	return list
}

// explain asks the gateway for the console.
func (s *Server) explain(ctx context.Context, q console.Question) (console.Explanation, error) {
	told, err := s.gateway.Explain(ctx, gateway.Question(q))
	x := console.Explanation{Status: told.Status}
	for _, step := range told.Steps {
		x.Steps = append(x.Steps, console.Step(step))
	}
	return x, err
}

// explainInJSON asks the gateway for the commands.
func (s *Server) explainInJSON(ctx context.Context, q admin.Question) (admin.Explanation, error) {
	told, err := s.gateway.Explain(ctx, gateway.Question(q))
	x := admin.Explanation{Status: told.Status, Module: told.Module, Pattern: told.Pattern, Steps: []admin.Step{}}
	for _, step := range told.Steps {
		x.Steps = append(x.Steps, admin.Step(step))
	}
	return x, err
}

// openRecovery starts what sends mails about forgotten passwords.
func (s *Server) openRecovery() {
	login := &s.config.Login
	s.recovery = &folio.Recovery{
		Sessions: s.sessions, Call: s.gateway.Call, ResetURL: login.ResetURL, ForgotURL: login.ForgotURL,
		TTL: login.ResetTTL.Std(), Now: s.db.Now, Log: s.log,
	}
	s.recovery.Start(context.Background())
}

// endpoints are FOLIO's, without their guards.
func (s *Server) endpoints(prefix string) *folio.Handler {
	front := &folio.Handler{
		Sessions: s.sessions, Directory: s.people, Tokens: s.ring, Prefix: prefix, PublicURL: s.config.PublicURL,
		Cookies:        s.cookies(prefix),
		TrustedOrigins: s.ownOrigins(), Now: s.db.Now, Log: s.log,
		Call: s.gateway.Call, Challenge: s.gateway.Challenge, Recovery: s.recovery, EurekaPermissions: s.config.Login.EurekaPermissions, LoginLog: s.config.Login.LogEvents,
	}
	front.Unauthorized = func(tenant string) bool { return s.gateway.Errors.For(tenant) == gateway.ProfileEureka }
	if s.config.Directory.Consortium {
		front.HomeTenant = s.borrowed.homeTenant
	}
	return front
}

// standards are the endpoints of the RFCs. Modules get their tokens otherwise, so
// inside there are the keys alone.
func (s *Server) standards(prefix string, internal bool) *oauth.Handler {
	if internal {
		return &oauth.Handler{Ring: s.ring}
	}
	return &oauth.Handler{
		Ring: s.ring, Sessions: s.sessions, Issuer: s.issuer(), Base: strings.TrimSuffix(s.config.PublicURL, "/"), Prefix: prefix,
		TrustedOrigins: s.ownOrigins(), Guard: s.gateway.Guard(internal), Log: s.log,
	}
}

// ownOrigins are the origins whose pages may act with the user's cookies: those
// that the operator named, and that of the public URL, which a proxy that
// rewrites Host would hide.
func (s *Server) ownOrigins() []string {
	origins := slices.Clone(s.config.CORS.Origins)
	if u, err := url.Parse(s.config.PublicURL); err == nil && u.Host != "" {
		origins = append(origins, u.Scheme+"://"+u.Host)
	}
	return origins
}

// bodyTime is how long a client may take to send a body to our own endpoints.
// What goes to modules is theirs to bound.
const bodyTime = 15 * time.Second

// bodyWithin ends a connection whose body takes longer than that, which is how
// a few clients can hold many connections; 0 lifts the bound again.
func bodyWithin(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			until := time.Time{}
			if limit > 0 {
				until = time.Now().Add(limit)
			}
			// Not every writer can; a recorder in a test cannot.
			_ = http.NewResponseController(w).SetReadDeadline(until)
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) observe(listener string, next http.Handler) *observed {
	return &observed{
		next: next, trusted: networks(s.config.TrustedProxies), okapi: s.config.behindOkapi() && listener == Public,
		log: s.log, metrics: s.metrics, listener: listener, now: s.config.Now, tracing: s.tracing,
	}
}
