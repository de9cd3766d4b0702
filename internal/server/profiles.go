package server

import (
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

// Go's profiles, while the configuration says so, at the addresses that
// `go tool pprof` knows. net/http/pprof would do, but it puts itself on the
// default mux and tells the command line.

// longestProfile bounds how long the processor is sampled for one request.
const longestProfile = time.Minute

func (s *Server) listProfiles(w http.ResponseWriter, r *http.Request) {
	if !s.live.profiles.Load() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "profile")
	for _, p := range pprof.Profiles() {
		_, _ = fmt.Fprintln(w, p.Name())
	}
}

func (s *Server) profile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	found := pprof.Lookup(name)
	if !s.live.profiles.Load() || found == nil && name != "profile" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if found == nil {
		s.sampleProcessor(w, r)
		return
	}
	// 1 is text; 2 would be whole stacks with arguments.
	as := 0
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Query().Get("debug") == "1" {
		as = 1
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	_ = found.WriteTo(w, as) // fails if the caller has gone
}

// sampleProcessor is the profile named "profile". One runs at a time.
func (s *Server) sampleProcessor(w http.ResponseWriter, r *http.Request) {
	seconds := 30
	if text := r.URL.Query().Get("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > int(longestProfile/time.Second) {
			http.Error(w, fmt.Sprintf("seconds must be between 1 and %d", int(longestProfile/time.Second)), http.StatusBadRequest)
			return
		}
		seconds = n
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, "another profile is being taken", http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}
