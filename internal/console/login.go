package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// The permissions of the console, for users of the supertenant.
const (
	PermissionLook   = "counterfoil.console.get"
	PermissionChange = "counterfoil.console.put"
)

// Permissions is the set of both.
var Permissions = directory.PermissionSet{
	Name: "counterfoil.console.all", DisplayName: "Counterfoil: use the operators' console",
	Sub: []string{PermissionLook, PermissionChange},
}

// may is whether a user has a permission, or all of Counterfoil's, as the first
// administrator does. It is looked up anew for each request.
func may(caller *session.Caller, permission string) bool {
	return caller.Access != nil && (caller.Access.Ordinary.Has(permission) || caller.Access.Ordinary.Has("counterfoil.all"))
}

// The cookies. Their prefixes have the browser see to it that nobody else has
// set them: no page of a sibling host, and no script.
const (
	accessCookie  = "counterfoil-console"
	refreshCookie = "counterfoil-console-session"
)

func (h *Handler) cookie(name string) string {
	if h.Insecure {
		return name
	}
	return "__Host-Http-" + name
}

// set writes both cookies for as long as the session may live. What ends first
// is the tokens in them.
func (h *Handler) set(w http.ResponseWriter, t *session.Tokens) {
	for name, value := range map[string]string{accessCookie: t.Access, refreshCookie: t.Refresh} {
		if value != "" {
			h.put(w, name, value, max(1, int(t.RefreshExpires.Sub(t.Issued)/time.Second)))
		}
	}
}

func (h *Handler) clear(w http.ResponseWriter) {
	h.put(w, accessCookie, "", -1)
	h.put(w, refreshCookie, "", -1)
}

func (h *Handler) put(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: h.cookie(name), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: !h.Insecure, SameSite: http.SameSiteStrictMode,
	})
}

// one is the value of a cookie, if there is exactly one of that name.
func (h *Handler) one(r *http.Request, name string) string {
	all := r.CookiesNamed(h.cookie(name))
	if len(all) != 1 {
		return ""
	}
	return all[0].Value
}

// errLogin sends to the page of the log-in.
var errLogin = errors.New("log in")

// identify finds who is logged in. When the access token is over it refreshes:
// but not for what a page asks by itself, or a page that was left open would
// keep its session alive for ever.
func (h *Handler) identify(v *visit) error {
	caller, err := h.Sessions.CheckConsole(v.r.Context(), h.one(v.r, accessCookie))
	if errors.Is(err, session.ErrTokenExpired) && v.r.URL.Path != Path+"live" {
		var tokens *session.Tokens
		tokens, err = h.Sessions.Refresh(v.r.Context(), session.RefreshRequest{Token: h.one(v.r, refreshCookie)})
		if err == nil {
			h.set(v.w, tokens)
			caller, err = h.Sessions.CheckConsole(v.r.Context(), tokens.Access)
		}
	}
	if errors.Is(err, session.ErrUnavailable) {
		return err
	}
	if err == nil && caller.Claims.Tenant != directory.SuperTenant {
		err = errLogin
	}
	if err != nil {
		return h.toLogin(v)
	}
	v.caller = &caller
	return nil
}

// errAnswered is from a page that has answered already.
var errAnswered = &fault{}

func (h *Handler) toLogin(v *visit) error {
	to := Path + "login"
	if v.r.Method == http.MethodGet && v.r.URL.Path != Path && v.r.URL.Path != Path+"live" {
		to += "?next=" + url.QueryEscape(v.r.URL.RequestURI())
	}
	if v.r.Header.Get("HX-Request") != "" {
		v.w.Header().Set("HX-Redirect", to)
		v.w.WriteHeader(http.StatusUnauthorized)
		return errAnswered
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return errAnswered
}

// loginForm is the page of the log-in.
type loginForm struct {
	Tenant, Username, Next, Problem string
}

func (h *Handler) loginPage(v *visit) error {
	return h.render(v, "login", loginForm{Tenant: directory.SuperTenant, Next: next(v.r.URL.Query().Get("next"))})
}

// next is where a log-in leads: to a page of the console, never elsewhere.
func next(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, Path) || strings.Contains(u.Path, "..") || strings.Contains(to, "\\") {
		return Path
	}
	return to
}

func (h *Handler) logIn(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return &fault{http.StatusBadRequest, "The form could not be read."}
	}
	form := loginForm{
		Tenant: directory.SuperTenant, Username: v.r.PostForm.Get("username"), Next: next(v.r.PostForm.Get("next")),
	}
	tokens, err := h.Sessions.Login(v.r.Context(), session.LoginRequest{
		Tenant: form.Tenant, Username: form.Username, Password: v.r.PostForm.Get("password"), Client: session.ClientConsole,
	})
	var limited *session.Limited
	switch {
	case errors.As(err, &limited):
		v.w.Header().Set("Retry-After", "60")
		return h.again(v, form, http.StatusTooManyRequests, "Too many failed attempts. Try again in "+lasting(limited.RetryAfter)+".")
	case errors.Is(err, session.ErrCredentials), errors.Is(err, session.ErrInvalid):
		return h.again(v, form, http.StatusUnprocessableEntity, "User name or password is wrong, or the account is blocked.")
	case err != nil:
		return err
	}
	caller, err := h.Sessions.CheckConsole(v.r.Context(), tokens.Access)
	if err != nil || !may(&caller, PermissionLook) {
		if err := errors.Join(err, h.Sessions.Logout(v.r.Context(), tokens.Refresh)); err != nil {
			return err
		}
		return h.again(v, form, http.StatusForbidden, "You may not use the console: it needs the permission "+PermissionLook+".")
	}
	h.set(v.w, tokens)
	http.Redirect(v.w, v.r, form.Next, http.StatusSeeOther)
	return nil
}

func (h *Handler) again(v *visit, form loginForm, status int, problem string) error {
	form.Problem = problem
	v.w.WriteHeader(status)
	return h.render(v, "login", form)
}

func (h *Handler) logOut(v *visit) error {
	if err := h.Sessions.Logout(v.r.Context(), h.one(v.r, refreshCookie)); err != nil {
		return err
	}
	h.clear(v.w)
	v.w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	http.Redirect(v.w, v.r, Path+"login", http.StatusSeeOther)
	return nil
}
