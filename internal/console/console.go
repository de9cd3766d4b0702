// Package console is the operators' console on the admin listener: pages made on
// the server, which work with the keyboard and, but for updates without reload,
// without JavaScript.
//
// It shows and asks; what is done, session, directory and token do. A page holds
// no token, hash or key. Whoever uses it has logged in here as a user of the
// supertenant with a permission of the console, which is looked up at every
// request.
package console

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Store is what the console reads beyond the use cases of session.
type Store interface {
	session.PolicyStore
	session.UsageStore
	// ListUsers reads users in the order of their names, after a name.
	ListUsers(ctx context.Context, tenant, after string, limit int) ([]directory.User, error)
}

// Handler serves the console. Fill in the fields and call Mount.
type Handler struct {
	Sessions  *session.Service
	Directory *directory.Cache
	Tokens    *token.Ring
	Store     Store
	Users     directory.Source
	// Elsewhere is whether another system keeps the users of a tenant; nil is that
	// none does.
	Elsewhere func(tenant string) bool
	// Routes are what the gateway routes for a tenant, in its order.
	Routes func(tenant string) []Route
	// Explain tells how the gateway would decide about a request.
	Explain func(ctx context.Context, q Question) (Explanation, error)
	// Insecure leaves out what a browser demands of cookies over TLS or on
	// localhost.
	Insecure bool
	Now      func() time.Time
	Log      *slog.Logger

	pages map[string]*template.Template
}

// Route is a route of a module, for the page of modules.
type Route struct {
	Module, Methods, Path string
	Required, Lent        []string
}

// Question is a request that an operator asks about.
type Question struct {
	Tenant, Method, Path, Module string
	// UserID is who would call; empty is nobody.
	UserID string
}

// Explanation is the answer, step by step. Status is 200 where the request would
// reach its module.
type Explanation struct {
	Status int
	Steps  []Step
}

// Step is one step, in a sentence.
type Step struct {
	Passes bool
	Text   string
}

//go:embed static pages
var files embed.FS

// Path is where the console stands.
const Path = "/console/"

// maxForm bounds the body of a form, in bytes.
const maxForm = 16 << 10

// Mount adds the pages.
func (h *Handler) Mount(mux *http.ServeMux) {
	h.parse()
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the binary is broken
	}
	mux.Handle("GET "+Path+"static/", served(static, Path))
	own := http.NewServeMux()
	for pattern, serve := range map[string]func(*visit) error{
		"GET " + Path + "{$}":                          h.overview,
		"GET " + Path + "live":                         h.live,
		"GET " + Path + "sessions":                     h.sessions,
		"GET " + Path + "ending":                       h.ending,
		"POST " + Path + "ending":                      h.endMatching,
		"GET " + Path + "sessions/{id}":                h.session,
		"POST " + Path + "sessions/{id}/end":           h.endSession,
		"GET " + Path + "users":                        h.users,
		"GET " + Path + "users/{tenant}/{user}":        h.user,
		"POST " + Path + "users/{tenant}/{user}/end":   h.endUser,
		"POST " + Path + "users/{tenant}/{user}/state": h.setActive,
		"GET " + Path + "policies":                     h.policies,
		"POST " + Path + "policies":                    h.savePolicy,
		"GET " + Path + "keys":                         h.keys,
		"POST " + Path + "keys/{purpose}/rotate":       h.rotateKey,
		"POST " + Path + "keys/{purpose}/{id}/remove":  h.removeKey,
		"GET " + Path + "api-keys":                     h.apiKeys,
		"POST " + Path + "api-keys/{id}/{do}":          h.changeAPIKey,
		"GET " + Path + "audit":                        h.audit,
		"GET " + Path + "audit.jsonl":                  h.exportAudit,
		"GET " + Path + "modules":                      h.modules,
		"POST " + Path + "logout":                      h.logOut,
	} {
		own.Handle(pattern, h.visited(serve))
	}
	own.Handle("GET "+Path+"login", h.opened(h.loginPage))
	own.Handle("POST "+Path+"login", h.opened(h.logIn))
	own.Handle(Path, h.visited(func(*visit) error { return errNotFound }))
	// A page of another site must not act for whoever is logged in here (T-48).
	mux.Handle(Path, http.NewCrossOriginProtection().Handler(own))
}

// served are the files of the pages.
func served(static fs.FS, path string) http.Handler {
	server := http.StripPrefix(path+"static/", http.FileServerFS(static))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header(), "")
		w.Header().Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	})
}

// visit is one request for a page.
type visit struct {
	w http.ResponseWriter
	r *http.Request
	// caller is who is logged in; nil on the page of the log-in.
	caller *session.Caller
	nonce  string
}

func (v *visit) may(permission string) bool { return v.caller != nil && may(v.caller, permission) }

// fault is an error with a page of its own.
type fault struct {
	status int
	text   string
}

func (f *fault) Error() string { return f.text }

var errNotFound = &fault{http.StatusNotFound, "There is nothing here."}

// opened serves what needs no log-in.
func (h *Handler) opened(serve func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r, nonce: rand.Text()}
		secure(w.Header(), v.nonce)
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := serve(v); err != nil && !errors.Is(err, errAnswered) {
			h.fail(v, err)
		}
	})
}

// visited serves who has logged in and may still look.
func (h *Handler) visited(serve func(*visit) error) http.Handler {
	return h.opened(func(v *visit) error {
		if err := h.identify(v); err != nil {
			return err
		}
		actor := audit.ActorFrom(v.r.Context())
		actor.Kind, actor.Name, actor.UserID = "operator", v.caller.Claims.Subject, v.caller.Claims.UserID
		need := PermissionLook
		if v.r.Method != http.MethodGet && v.r.URL.Path != Path+"logout" {
			need = PermissionChange
		}
		if !v.may(need) {
			return &fault{http.StatusForbidden, "You may not do this: it needs the permission " + need + "."}
		}
		return serve(v)
	})
}

// secure sets the headers of every answer. The policy lets no script run but
// those of the page's nonce, and so nothing that was stored by strangers.
func secure(h http.Header, nonce string) {
	script := "'none'"
	if nonce != "" {
		script = "'nonce-" + nonce + "' 'strict-dynamic'"
	}
	h.Set("Content-Security-Policy", "default-src 'none'; script-src "+script+"; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types default")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "accelerometer=(), camera=(), clipboard-read=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

// fail shows what went wrong. What is our own fault goes to the log whole, and
// to the page without detail.
func (h *Handler) fail(v *visit, err error) {
	var f *fault
	switch {
	case errors.As(err, &f):
	case errors.Is(err, session.ErrNotFound), errors.Is(err, directory.ErrNotFound), errors.Is(err, token.ErrNoKey):
		f = &fault{http.StatusNotFound, "It does not exist, or does no more."}
	case errors.Is(err, session.ErrInvalid), errors.Is(err, directory.ErrInvalid):
		f = &fault{http.StatusUnprocessableEntity, err.Error()}
	case errors.Is(err, session.ErrForbidden):
		f = &fault{http.StatusForbidden, err.Error()}
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrBusy):
		v.w.Header().Set("Retry-After", "1")
		f = &fault{http.StatusServiceUnavailable, "The database cannot answer now. Try again in a moment."}
	default:
		f = &fault{http.StatusInternalServerError, "Something failed here. The log of the program tells more."}
	}
	if f.status >= http.StatusInternalServerError && h.Log != nil {
		h.Log.ErrorContext(v.r.Context(), "page of the console failed", "error", err)
	}
	v.w.WriteHeader(f.status)
	if err := h.render(v, "error", f.text); err != nil && h.Log != nil {
		h.Log.ErrorContext(v.r.Context(), "page of an error failed", "error", err)
	}
}
