package gateway

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/session"
)

// statusGone is what metrics and logs say of a client that did not wait, as
// nginx does. Nobody receives it.
const statusGone = 499

// Bodies of 401. A client refreshes on TOKEN_EXPIRED, without a look at its
// clock, and logs in anew on TOKEN_INVALID.
const (
	invalidBody = `{"message":"Invalid token","code":"TOKEN_INVALID","type":"auth"}`
	// keyInvalidBody has a code of its own: no refresh and no login would help.
	keyInvalidBody = `{"message":"API key is not valid","code":"API_KEY_INVALID","type":"auth"}`

	bearer = `Bearer error="invalid_token"` // RFC 6750 section 3
)

func expiredBody(prefix string) []byte {
	body, _ := json.Marshal(struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Type    string `json:"type"`
		Refresh string `json:"refresh"`
	}{"Access token has expired", "TOKEN_EXPIRED", "auth", prefix + "/authn/refresh"})
	return body
}

// refuse answers in place of a module. It is the one place that says which
// error is which status.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *Refusal
	var limited *session.Limited
	var denied *Denied
	var unproven *Unproven
	why := err // what metrics count does not depend on the profile
	if r.Context().Err() == nil && g.unpossessed(w, r, err) {
		g.metrics.refused(http.StatusUnauthorized, why)
		return
	}
	if g.Errors.of(r) == ProfileOkapi && r.Context().Err() == nil {
		err = exactly(r, err)
	}
	if errors.As(err, &denied) {
		refusal = &Refusal{denied.status(), denied.Error()}
		err = refusal
	}
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &refusal):
		status = refusal.Status
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
		}
		g.say(w, r, status, refusal.Text)
	case errors.As(err, &unproven):
		status = http.StatusUnauthorized
		g.challenge(w, r, unproven)
	case errors.Is(err, session.ErrTokenExpired):
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", challengeOf(r))
		g.sayJSON(w, r, status, g.expired)
	case errors.Is(err, session.ErrTokenInvalid):
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", challengeOf(r))
		g.sayJSON(w, r, status, []byte(invalidBody))
	case errors.Is(err, session.ErrKeyInvalid):
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", "apikey")
		if call := partnerCallOf(r); call != nil && call.errors == ErrorsOrders {
			g.say(w, r, status, "Invalid API Key")
		} else {
			g.sayJSON(w, r, status, []byte(keyInvalidBody))
		}
	case errors.As(err, &limited):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(limited.RetryAfter.Seconds())))))
		g.say(w, r, status, "Too many requests that were refused, try again later")
	case r.Context().Err() != nil:
		status = statusGone
		w.WriteHeader(status)
	case errors.Is(err, session.ErrUnavailable):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
		g.say(w, r, status, "Not available at the moment, try again")
		g.Log.WarnContext(r.Context(), "request refused because store or directory did not answer", "error", err)
	default:
		g.say(w, r, status, "Internal error")
		g.Log.ErrorContext(r.Context(), "request failed", "error", err)
	}
	g.metrics.refused(status, why)
}

// say answers as Okapi does, or as the tenant's profile or the partner who
// calls has it.
func (g *Gateway) say(w http.ResponseWriter, r *http.Request, status int, text string) {
	if call := partnerCallOf(r); call != nil && call.errors == ErrorsOrders {
		writeOrdersError(w, r, status, text)
		return
	}
	if g.Errors.of(r) == ProfileEureka {
		writeEureka(w, status, text)
		return
	}
	writeText(w, status, text)
}

// sayJSON answers with a body of our own, or as Eureka does.
func (g *Gateway) sayJSON(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	if g.Errors.of(r) == ProfileEureka {
		writeEureka(w, status, "")
		return
	}
	writeJSON(w, status, body)
}

// writeText answers as Okapi does. Nothing that the gateway itself says is
// worth keeping in a cache.
func writeText(w http.ResponseWriter, status int, text string) {
	write(w, status, "text/plain; charset=utf-8", []byte(text))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	write(w, status, "application/json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// cut bounds what a refusal repeats of its request.
func cut(s string) string {
	const enough = 64
	if len(s) > enough {
		return s[:enough] + "..."
	}
	return s
}
