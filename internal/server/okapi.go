package server

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// mountBehindOkapi builds the handlers for an Okapi that asks us as its filter
// and calls our endpoints as those of a module. CORS and routing are Okapi's.
func (s *Server) mountBehindOkapi(prefix string) {
	mux := http.NewServeMux()
	filter := &gateway.Filter{
		Gateway: s.gateway, Prompt: s.config.Okapi.Prompt, Own: mux,
		Open: folio.OpenPaths(), ForModules: folio.ModulePaths(),
	}
	endpoints := s.endpoints(prefix)
	endpoints.Guard, endpoints.ModuleGuard, endpoints.PermissionGuard = filter.Guard, filter.ModuleGuard, filter.PermissionGuard
	endpoints.Mount(mux)
	filter.Tenants(mux)
	(&oauth.Handler{Ring: s.ring}).Mount(mux)

	okapi := fromNetworks(networks(s.config.Okapi.Networks), bodyWithin(bodyTime, filter.Handler()))
	public := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Whoever looks after the process is not Okapi. Where Okapi asks about
		// that path of another module, OK would let everybody pass.
		_, asked := r.Header["X-Okapi-Filter"]
		if r.Method == http.MethodGet && r.URL.EscapedPath() == "/admin/health" && !asked {
			s.health(w, r)
			return
		}
		okapi.ServeHTTP(w, r)
	})
	admin := s.insight()
	s.admin.Mount(admin)
	s.console().Mount(admin)
	s.handlers = map[string]*observed{
		Public: s.observe(Public, public),
		Admin:  s.observe(Admin, bodyWithin(bodyTime, admin)),
	}
}

// fromNetworks refuses every connection from elsewhere; without networks it
// takes those from this machine. It goes by the connection and by no header.
func fromNetworks(allowed []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		peer, err := netip.ParseAddr(host)
		peer = peer.Unmap().WithZone("")
		ok := err == nil && len(allowed) == 0 && peer.IsLoopback()
		for _, network := range allowed {
			ok = ok || err == nil && network.Contains(peer)
		}
		if !ok {
			http.Error(w, "Only Okapi may call here, see okapi.networks", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
