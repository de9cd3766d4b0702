package server

import (
	"context"
	"net/http"
	"time"
)

// insight is what operators and their monitoring see of the program without a
// token, on the admin listener alone.
func (s *Server) insight() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/health", s.health)
	mux.HandleFunc("GET /admin/ready", s.ready)
	mux.HandleFunc("GET /admin/live", s.alive)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /debug/pprof/{$}", s.listProfiles)
	mux.HandleFunc("GET /debug/pprof/{name}", s.profile)
	return mux
}

// health answers whether this node can serve, in a word: monitoring needs no
// more and a stranger should learn no more. While the database is away, and what
// the node remembers is still to be trusted, it is degraded and not ill: taking
// all nodes out of service at once would turn a pause of logins into an outage.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	tell(w)(s.fitness(r.Context()))
}

// ready is health for balancers: also not while the program starts or stops.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	tell(w)(s.readiness(r.Context()))
}

func (s *Server) readiness(ctx context.Context) (word string, fit bool) {
	if !s.live.serving.Load() {
		return "starting or stopping", false
	}
	return s.fitness(ctx)
}

// alive answers as long as the process can. It asks for nothing else: whoever
// kills a node because its database is away ends what it could still serve.
func (s *Server) alive(w http.ResponseWriter, _ *http.Request) { tell(w)("OK", true) }

// leaving ends each connection with its next answer once the program stops. To
// close those that are idle at once would meet requests that are on their way.
func (s *Server) leaving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.live.serving.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func tell(w http.ResponseWriter) func(word string, fit bool) {
	return func(word string, fit bool) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !fit {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(word))
	}
}

func (s *Server) fitness(ctx context.Context) (word string, fit bool) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	_, err := s.db.Tenants(ctx)
	trusted := s.sessions.Trusted(s.db.Now())
	switch {
	case !trusted:
		return "changes of other nodes not heard", false
	case err != nil && s.config.postgres():
		return "degraded: database unavailable", true
	case err != nil:
		return "store unavailable", false
	}
	return "OK", true
}

// healthTime is how long the store may take to answer to be called well.
const healthTime = time.Second
