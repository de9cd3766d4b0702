package folio

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// refusal is an answer that is no success. FOLIO has two shapes of it: a line
// of text, which clients compare by its beginning, and a list of errors with
// codes.
type refusal struct {
	status int
	// text is the whole body. If it is empty, the body is the list with fault.
	text  string
	fault fault
	// retryAfter tells when to come again, if it is not 0.
	retryAfter time.Duration
}

func (r *refusal) Error() string {
	if r.text != "" {
		return r.text
	}
	return r.fault.Message
}

// faults is FOLIO's list of errors, of which we never have more than one.
type faults struct {
	Errors []fault `json:"errors"`
}

type fault struct {
	Message    string      `json:"message"`
	Type       string      `json:"type"`
	Code       string      `json:"code"`
	Parameters []parameter `json:"parameters,omitzero"`
}

type parameter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func listed(status int, code, message string) *refusal {
	return &refusal{status: status, fault: fault{Message: message, Type: "error", Code: code}}
}

func plain(status int, text string) *refusal { return &refusal{status: status, text: text} }

// statusGone is what metrics say of a client that did not wait, as nginx does.
// Nobody receives it.
const statusGone = 499

// comeBack is how long a client waits that found us busy: a little longer than
// it takes to store what was seen, which a late recovery may be waiting for.
const comeBack = 3 * time.Second

var (
	errCrossOrigin = listed(http.StatusForbidden, "origin.not.trusted",
		"A page of another origin sent this request. Add its origin to cors.origins if it is yours")
	errMethod   = listed(http.StatusMethodNotAllowed, "method.not.allowed", "Method not allowed")
	errNotFound = listed(http.StatusNotFound, "not.found", "Not found")
	errBusy     = &refusal{
		status: http.StatusServiceUnavailable, retryAfter: comeBack,
		fault: fault{Message: "Service is busy, try again", Type: "error", Code: "service.unavailable"},
	}

	errNoLinks = listed(http.StatusNotImplemented, "link.not-configured",
		"No links can be made before an operator sets login.reset_url")

	// FOLIO's, to the letter.
	errMissingTenant = plain(http.StatusBadRequest, "Missing header: X-Okapi-Tenant")
	errNoUser        = plain(http.StatusBadRequest, "You must provide a username or userId")
	errNoPassword    = plain(http.StatusBadRequest, "You must provide a password")
	errBadFormat     = plain(http.StatusBadRequest, "Improperly formatted request")
	errOldPassword   = plain(http.StatusUnauthorized, "Invalid credentials")
	errInvalidToken  = plain(http.StatusUnauthorized, "Invalid token")
	errInternal      = plain(http.StatusInternalServerError, "Internal Server error")
	errNotLegacy     = plain(http.StatusNotFound, "Error: Tenant not a legacy token tenant as specified in this module's "+
		"environment or system property. Cannot issue non-expiring legacy token.")
	// errCredentials is the same for an unknown user, a wrong password and a
	// blocked account, so that nobody learns which names exist.
	errCredentials = listed(http.StatusUnprocessableEntity, "wrong.username.or.wrong.password.or.account.blocked",
		"Wrong username or wrong password or account blocked")
	errUnauthorized   = listed(http.StatusUnauthorized, "unauthorized_error", "Unauthorized")
	errNoRefreshToken = listed(http.StatusBadRequest, codeTokenParse, "Bad request")
	// errRefresh is the same for whatever reason; see refreshRefused for what is
	// added to it.
	errRefresh = listed(http.StatusUnprocessableEntity, "token.refresh.unprocessable",
		"Authorization server unable to process token refresh request")
)

const (
	// codeTokenParse is FOLIO's, for a request in which no one refresh token
	// can be found.
	codeTokenParse = "token.parse.failure"
	// codeBody is for a body that cannot be read as what is asked for.
	codeBody = "body.not.accepted"
	// codePassword is for a new password that is missing or against the rules.
	codePassword = "password.not.accepted"
)

// refuse is the one place that says which error is which answer.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	answer := h.translate(err)
	if tenant, _ := tenantOf(r); answer == errCredentials && h.Unauthorized != nil && h.Unauthorized(tenant) {
		answer = errUnauthorized
	}
	if answer.status >= http.StatusInternalServerError && errors.Is(r.Context().Err(), context.Canceled) {
		w.WriteHeader(statusGone) // it failed because the client left
		return
	}
	if answer == errInternal {
		h.Log.ErrorContext(r.Context(), "request failed", "path", r.Pattern, "error", err)
	}
	if answer.retryAfter > 0 {
		seconds := (answer.retryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	if answer.text != "" {
		writeText(w, answer.status, answer.text)
		return
	}
	writeJSON(w, answer.status, faults{[]fault{answer.fault}})
}

func (h *Handler) translate(err error) *refusal {
	var known *refusal
	var limited *session.Limited
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &limited):
		r := listed(http.StatusTooManyRequests, "login.limited", "Too many failed logins, try again later")
		r.retryAfter = max(limited.RetryAfter, time.Second)
		return r
	case errors.Is(err, session.ErrCredentials):
		return errCredentials
	case errors.Is(err, session.ErrNotFound):
		return errNotFound
	case errors.Is(err, session.ErrForbidden):
		return listed(http.StatusForbidden, "forbidden", err.Error())
	case errors.Is(err, session.ErrInvalid):
		return listed(http.StatusBadRequest, "invalid", err.Error())
	case errors.Is(err, session.ErrTokenExpired), errors.Is(err, session.ErrTokenInvalid):
		return errInvalidToken
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrBusy):
		return errBusy
	}
	return errInternal
}
