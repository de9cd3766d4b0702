package server

import (
	"context"
	"fmt"
	"net/http"

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
		Prefix: prefix, InternalURL: internal, OpenManagement: s.config.Demo,
		Transport: gateway.Transport{ResponseTimeout: s.config.Upstream.Timeout.Std()}, Origins: s.config.CORS.Origins,
		Version: Version(), Now: s.config.Now, Log: s.log, Registerer: s.metrics.registry,
	}
	if err := s.gateway.Reload(ctx); err != nil {
		return err
	}
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
	cookies := session.Cookies{Prefix: prefix, SameSite: sameSites[s.config.Cookies.SameSite], Insecure: s.config.Cookies.Insecure}
	surface := func(internal bool) http.Handler {
		mux := http.NewServeMux()
		(&folio.Handler{
			Sessions: s.sessions, Directory: s.people, Tokens: s.ring, Cookies: cookies, Prefix: prefix,
			TrustedOrigins: s.config.CORS.Origins, Now: s.config.Now, Log: s.log,
			Guard: s.gateway.Guard(internal), ModuleGuard: s.gateway.ModuleGuard(internal),
		}).Mount(mux)
		(&oauth.Handler{Ring: s.ring}).Mount(mux)
		mux.Handle("/_/", s.gateway.PublicManagement(internal))
		mux.Handle("/", s.gateway.Routed(internal))
		return gateway.CORS(s.config.CORS.Origins, gateway.CleanPath(mux))
	}
	admin := http.NewServeMux()
	admin.HandleFunc("GET /admin/health", s.health)
	admin.Handle("GET /metrics", s.metrics.handler())
	admin.Handle("/_/", s.gateway.Management())
	s.admin.Mount(admin)
	s.handlers = map[string]http.Handler{
		Public:   s.observe(Public, surface(false)),
		Internal: s.observe(Internal, surface(true)),
		Admin:    s.observe(Admin, admin),
	}
	return nil
}

func (s *Server) observe(listener string, next http.Handler) http.Handler {
	o := &observed{next: next, log: s.log, metrics: s.metrics, listener: listener, now: s.config.Now}
	for _, network := range s.config.TrustedProxies {
		if p, err := parseNetwork(network); err == nil {
			o.trusted = append(o.trusted, p)
		}
	}
	return o
}

// health answers whether the store can be read. It says no more, because
// monitoring needs no more and a stranger should learn no more.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := s.db.Tenants(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("store unavailable"))
		return
	}
	_, _ = w.Write([]byte("OK"))
}
