package oauth

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/session"
)

const maxBody = 64 << 10

// refusal is an answer of RFC 6749 section 5.2. Reason and Heal are ours: the
// way back of a client that was late (see docs/policy.md).
type refusal struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description,omitzero"`
	Reason      string `json:"reason,omitzero"`
	Heal        string `json:"heal,omitzero"`
}

func (r *refusal) Error() string { return r.Code }

func invalid(description string) *refusal {
	return &refusal{status: http.StatusBadRequest, Code: "invalid_request", Description: description}
}

func refused(code, description string) *refusal {
	return &refusal{status: http.StatusBadRequest, Code: code, Description: description}
}

var errScope = refused("invalid_scope", "it is wider than what was granted")

// errClient says nothing about what was wrong: which clients exist is not told.
var errClient = &refusal{status: http.StatusUnauthorized, Code: "invalid_client", Description: "client authentication failed"}

// readForm reads the parameters of a POST. Each may come once (RFC 6749 section
// 3.2), and none in the URL, where it would be logged.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.URL.RawQuery != "" {
		return nil, invalid("parameters belong into the body")
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, invalid("Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, invalid("the body is too large or was not sent to its end")
	}
	return once(string(body))
}

// pageForm reads the query of a GET, or the form of a POST, for a page that people
// see. ours is that only a page of our own may send the form. The refusal's words
// are for the person.
func (h *Handler) pageForm(w http.ResponseWriter, r *http.Request, ours bool) (form url.Values, no *refusal) {
	var err error
	switch r.Method {
	case http.MethodGet:
		form, err = once(r.URL.RawQuery)
	case http.MethodPost:
		if ours && h.origins.Check(r) != nil {
			return nil, &refusal{status: http.StatusForbidden, Description: "Another site sent this request."}
		}
		form, err = readForm(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		return nil, &refusal{status: http.StatusMethodNotAllowed, Description: "Method not allowed."}
	}
	if err != nil {
		return nil, &refusal{status: http.StatusBadRequest, Description: "The request cannot be read: a parameter came twice, or is none."}
	}
	return form, nil
}

func once(query string) (url.Values, error) {
	form, err := url.ParseQuery(query)
	if err != nil {
		return nil, invalid("the parameters cannot be read")
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, invalid("a parameter came more than once")
		}
	}
	return form, nil
}

// endpoint answers POST with JSON that nobody keeps.
func (h *Handler) endpoint(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noStore(w)
		err := error(&refusal{status: http.StatusMethodNotAllowed, Code: "invalid_request", Description: "POST only"})
		if r.Method == http.MethodPost {
			err = serve(w, r)
		} else {
			w.Header().Set("Allow", http.MethodPost)
		}
		if err != nil {
			h.refuse(w, r, err)
		}
	})
}

func noStore(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Pragma", "no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
}

// refuse is the one place that says which error is which answer.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var known *refusal
	var no *session.Refused
	switch {
	case errors.As(err, &known):
	case errors.Is(err, session.ErrScope):
		known = errScope
	case errors.As(err, &no):
		known = refused("invalid_grant", "the token or code is not accepted")
		if no.Final {
			known.Reason = "ended"
		} else if no.Superseded() {
			known.Reason, known.Heal = "superseded", no.Heal
		}
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrBusy):
		w.Header().Set("Retry-After", "3")
		known = &refusal{status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Description: "try again"}
	default:
		if h.Log != nil {
			h.Log.ErrorContext(r.Context(), "request failed", slog.String("path", r.URL.Path), slog.Any("error", err))
		}
		known = &refusal{status: http.StatusInternalServerError, Code: "server_error"}
	}
	if known.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="counterfoil"`)
	}
	writeJSON(w, known.status, known)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // whoever asked is gone
}
