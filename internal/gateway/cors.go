package gateway

import "net/http"

// The names that Okapi allows and exposes. Of those it exposes, X-Okapi-Token
// and Authorization are left out: no script needs to read a token, and one
// that can read it can leak it.
const (
	corsMethods = "PUT, PATCH, DELETE, GET, POST"
	corsAllowed = "content-type, X-Okapi-Tenant, X-Okapi-Token, Authorization, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials"
	corsExposed = "Location, X-Okapi-Trace, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials, Retry-After, WWW-Authenticate, Date"
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
func CORS(origins []string, next http.Handler) http.Handler {
	allowed := make(map[string]bool, len(origins))
	for _, origin := range origins {
		allowed[origin] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Vary"] = append(h["Vary"], "Origin")
		origin := r.Header.Get("Origin")
		known := origin != "" && allowed[origin]
		if known {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != "" {
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
