// Package admin is the operators' own JSON API on the admin listener: tenants,
// users, sessions, keys, policies and the audit log. The commands of the
// command line are its clients.
//
// It checks who calls and what they sent, and leaves every decision to session
// and directory. No answer holds a token, a hash or a key, but for the
// one-time code that bootstraps the first administrator, which it only takes,
// and for a new API key, which is told once.
package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Store is what the API needs beyond the use cases of session.
type Store interface {
	session.Store
	session.PolicyStore
	session.UsageStore
	directory.Source
	// ListUsers reads users in the order of their names, after a name.
	ListUsers(ctx context.Context, tenant, after string, limit int) ([]directory.User, error)
	CreateTenant(ctx context.Context, t directory.Tenant, event audit.Event) error
	UpdateTenant(ctx context.Context, t directory.Tenant, event audit.Event) error
	DeleteTenant(ctx context.Context, id string, event audit.Event) error
	SavePermissionSet(ctx context.Context, tenant string, set directory.PermissionSet, event audit.Event) error
	DeletePermissionSet(ctx context.Context, tenant, name string, event audit.Event) error
	Forget(ctx context.Context, tenant, userID string, event audit.Event) error
}

// Handler serves the API.
type Handler struct {
	Sessions  *session.Service
	Directory *directory.Cache
	Tokens    *token.Ring
	Store     Store
	// Users is where users are read from; nil is Store.
	Users directory.Source
	// Elsewhere is whether the users of a tenant are kept by another system, so
	// that they can be read and not changed here; nil is that none are.
	Elsewhere func(tenant string) bool
	Now       func() time.Time
	// Token is the bearer token of this run. Whoever can read the data
	// directory has it; nobody else does.
	Token string
	// Bootstrap is the one-time code for the first administrator.
	Bootstrap *Bootstrap
	// Operator lets a caller pass whose access token has a permission, or answers
	// why not. It is for what may be delegated; nil delegates nothing.
	Operator func(w http.ResponseWriter, r *http.Request, permission string) bool
	// Explain asks the gateway who may call what; nil where there is none.
	Explain Explain
	// Trail is where the chain over the events is read from.
	Trail Trail
	// Log gets the faults that callers are not told; nil discards them.
	Log *slog.Logger
}

// maxBody bounds what is read of a request.
const maxBody = 64 << 10

// Mount adds the routes, all under /counterfoil/.
func (h *Handler) Mount(mux *http.ServeMux) {
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /counterfoil/tenants":                                   h.listTenants,
		"POST /counterfoil/tenants":                                  h.createTenant,
		"DELETE /counterfoil/tenants/{tenant}":                       h.deleteTenant,
		"DELETE /counterfoil/tenants/{tenant}/sessions":              h.endTenant,
		"DELETE /counterfoil/tenants/{tenant}/memory":                h.forgetTenant,
		"DELETE /counterfoil/tenants/{tenant}/users/{user}/memory":   h.forgetUser,
		"GET /counterfoil/tenants/{tenant}/users":                    h.listUsers,
		"POST /counterfoil/tenants/{tenant}/users":                   h.createUser,
		"GET /counterfoil/tenants/{tenant}/users/{user}":             h.showUser,
		"PUT /counterfoil/tenants/{tenant}/users/{user}":             h.updateUser,
		"DELETE /counterfoil/tenants/{tenant}/users/{user}":          h.deleteUser,
		"PUT /counterfoil/tenants/{tenant}/users/{user}/password":    h.setPassword,
		"PUT /counterfoil/tenants/{tenant}/users/{user}/permissions": h.setGrants,
		"DELETE /counterfoil/tenants/{tenant}/users/{user}/sessions": h.endUser,
		"POST /counterfoil/tenants/{tenant}/import/credentials":      h.importCredentials,
		"POST /counterfoil/tenants/{tenant}/import/tokens":           h.importTokens,
		"GET /counterfoil/tenants/{tenant}/permissions":              h.listPermissions,
		"PUT /counterfoil/tenants/{tenant}/permissions/{name}":       h.savePermission,
		"DELETE /counterfoil/tenants/{tenant}/permissions/{name}":    h.deletePermission,
		"GET /counterfoil/sessions":                                  h.listSessions,
		"GET /counterfoil/sessions/{id}":                             h.showSession,
		"DELETE /counterfoil/sessions/{id}":                          h.revokeSession,
		"GET /counterfoil/keys":                                      h.listKeys,
		"POST /counterfoil/keys/{purpose}/rotate":                    h.rotateKey,
		"POST /counterfoil/keys/{purpose}/{id}/retire":               h.retireKey,
		"DELETE /counterfoil/keys/{purpose}/{id}":                    h.removeKey,
		"GET /counterfoil/policies":                                  h.listPolicies,
		"PUT /counterfoil/policies":                                  h.savePolicy,
		"GET /counterfoil/policies/effective":                        h.showPolicy,
		"GET /counterfoil/usage":                                     h.showUsage,
		"GET /counterfoil/explain":                                   h.explain,
		"GET /counterfoil/events":                                    h.listEvents,
	} {
		mux.Handle(pattern, h.guarded(serve))
	}
	h.mountAPIKeys(mux)
	h.mountClients(mux)
	h.mountTrail(mux)
	mux.Handle("POST /counterfoil/bootstrap", h.answered(h.bootstrap))
	mux.Handle("/counterfoil/", h.guarded(func(http.ResponseWriter, *http.Request) error {
		return &problem{http.StatusNotFound, "not_found", "there is nothing here, or not with this method"}
	}))
}

// holds is whether a request brings the token of this run.
func (h *Handler) holds(r *http.Request) bool {
	presented, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	// Hashed first, so that neither content nor length shows in the time.
	a, b := sha256.Sum256([]byte(presented)), sha256.Sum256([]byte(h.Token))
	return h.Token != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// permitted lets through whoever holds the token of this run, or an access token
// with the permission.
func (h *Handler) permitted(permission string, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	guarded := h.guarded(serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.Operator == nil || h.holds(r) {
			guarded.ServeHTTP(w, r)
		} else if h.Operator(w, r, permission) {
			h.answered(serve).ServeHTTP(w, r)
		}
	})
}

// guarded lets through whoever holds the token of this run.
func (h *Handler) guarded(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return h.answered(func(w http.ResponseWriter, r *http.Request) error {
		if !h.holds(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return &problem{http.StatusUnauthorized, "unauthorized", "present the admin token of this run, it is in running.json of the data directory"}
		}
		actor := audit.ActorFrom(r.Context())
		actor.Kind = "operator"
		// The name ends up in events and answers, whose text is UTF-8.
		if actor.Name = r.Header.Get("X-Counterfoil-Command"); actor.Name == "" || len(actor.Name) > 100 || !utf8.ValidString(actor.Name) {
			actor.Name = "admin API"
		}
		return serve(w, r)
	})
}

func (h *Handler) answered(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := serve(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

// problem is an error with an answer of its own.
type problem struct {
	status        int
	code, message string
}

func (p *problem) Error() string { return p.message }

// fail is the one place where internal errors become answers. What is our own
// fault goes to the log whole, and to the caller without detail.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, session.ErrInvalid), errors.Is(err, directory.ErrInvalid), errors.Is(err, apikey.ErrInvalid):
		p = &problem{http.StatusUnprocessableEntity, "invalid", err.Error()}
	case errors.Is(err, session.ErrNotFound), errors.Is(err, directory.ErrNotFound), errors.Is(err, token.ErrNoKey):
		p = &problem{http.StatusNotFound, "not_found", err.Error()}
	case errors.Is(err, directory.ErrExists):
		p = &problem{http.StatusConflict, "exists", err.Error()}
	case errors.Is(err, session.ErrForbidden):
		p = &problem{http.StatusForbidden, "forbidden", err.Error()}
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrBusy):
		w.Header().Set("Retry-After", "1")
		p = &problem{http.StatusServiceUnavailable, "unavailable", "the store cannot answer now, try again"}
	default:
		p = &problem{http.StatusInternalServerError, "internal", "internal error, the log of the program tells more"}
	}
	if p.status >= http.StatusInternalServerError && h.Log != nil {
		h.Log.ErrorContext(r.Context(), "admin request failed", "error", err)
	}
	_ = answer(w, p.status, map[string]string{"code": p.code, "message": p.message})
}

func answer(w http.ResponseWriter, status int, body any) error {
	// What strangers sent long ago, such as a user agent, must not keep
	// operators from seeing their lists.
	text, err := json.Marshal(body, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(text, '\n'))
	return err
}

// read decodes a body strictly: one object, known names, each once.
func read(r *http.Request, into any) error {
	text, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("a body of %d bytes at most", maxBody)}
	}
	if err != nil {
		return &problem{http.StatusBadRequest, "unreadable", "the body could not be read"}
	}
	// null would leave everything as it is, which nobody means who sends it.
	err = json.Unmarshal(text, into, json.RejectUnknownMembers(true))
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		// The decoder's own words may repeat input, and input may be a password.
		return &problem{http.StatusBadRequest, "malformed", "the body is not the JSON object that is expected here, with each name known and given once"}
	}
	return nil
}

func number(r *http.Request, name string, standard, largest int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > largest {
		return 0, &problem{http.StatusBadRequest, "malformed", fmt.Sprintf("%s must be between 1 and %d", name, largest)}
	}
	return n, nil
}

// event fills in what every event of the API has in common.
func event(r *http.Request, kind audit.Kind, tenant, userID string) audit.Event {
	return audit.Event{Kind: kind, Tenant: tenant, UserID: userID, Actor: *audit.ActorFrom(r.Context())}
}
