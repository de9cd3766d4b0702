package oauth

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

//go:embed login.html
var loginText string

var loginPage = template.Must(template.New("login").Parse(loginText))

// asked is a request for a code that was looked through.
type asked struct {
	client           *session.Client
	redirect, state  string
	challenge, scope string
	// confirm is the key that the code is bound to, if it is.
	confirm token.Confirmation
	// nonce is for the ID token.
	nonce string
}

// challenge is a SHA-256 in base64url.
var challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// authorize shows the login page, or takes what was typed there. Each request is
// looked through anew: what the page sends along is the browser's.
func (h *Handler) authorize(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	header := w.Header()
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	form, unreadable := h.pageForm(w, r, true)
	if unreadable != nil {
		h.show(w, unreadable.status, page{Fatal: unreadable.Description})
		return
	}
	a, fatal := h.asks(form)
	if fatal != "" {
		// Not redirected: where to is not known for certain.
		h.show(w, http.StatusBadRequest, page{Fatal: fatal})
		return
	}
	no := a.check(form)
	if no == nil {
		no = h.narrow(r, a)
	}
	if no != nil {
		h.back(w, r, a, url.Values{"error": {no.Code}, "error_description": {no.Description}})
		return
	}
	if r.Method == http.MethodGet {
		hint := form.Get("login_hint")
		h.ask(w, http.StatusOK, a, form, hint[:min(len(hint), 255)], "")
		return
	}
	h.login(w, r, a, form)
}

// asks finds client and redirect URI. Its second result is for the person.
func (h *Handler) asks(form url.Values) (*asked, string) {
	c := h.Sessions.Client(form.Get("client_id"))
	if c == nil {
		return nil, "The application that sent you here is not known."
	}
	// Compared character by character: whatever is more lenient sends codes to
	// where somebody else listens.
	if !slices.Contains(c.Redirects, form.Get("redirect_uri")) {
		return nil, "The application that sent you here names an address to return to that is not registered."
	}
	return &asked{client: c, redirect: form.Get("redirect_uri"), state: form.Get("state"), challenge: form.Get("code_challenge"), scope: form.Get("scope")}, ""
}

// check is what the client is told of, at its redirect URI.
func (a *asked) check(form url.Values) *refusal {
	switch {
	case form.Get("response_type") != "code":
		return refused("unsupported_response_type", "only code")
	case !a.client.May(session.GrantCode):
		return refused("unauthorized_client", "the client may not use this grant")
	case form.Get("code_challenge_method") != "S256" || !challenge.MatchString(a.challenge):
		return invalid("PKCE with code_challenge_method S256 is needed")
	case form.Has("request") || form.Has("request_uri"):
		return refused("request_not_supported", "parameters go into the query")
	case form.Has("response_mode") && form.Get("response_mode") != "query":
		return invalid("only response_mode query")
	case len(form.Get("nonce")) > session.MaxNonce:
		return invalid("nonce is too long")
	case slices.Contains(strings.Fields(form.Get("prompt")), "none"):
		return refused("login_required", "every login asks for the password")
	}
	a.nonce = form.Get("nonce")
	var no *refusal
	a.confirm, no = boundTo(form)
	return no
}

// narrow makes of the scope that was asked for the one that is given.
func (h *Handler) narrow(r *http.Request, a *asked) *refusal {
	scope, err := h.Sessions.Narrow(r.Context(), a.client, "", a.scope)
	switch {
	case errors.Is(err, session.ErrScope):
		return errScope
	case err != nil:
		return refused("temporarily_unavailable", "try again")
	}
	a.scope = scope
	return nil
}

func (h *Handler) login(w http.ResponseWriter, r *http.Request, a *asked, form url.Values) {
	name, password := form.Get("username"), form.Get("password")
	if name == "" || password == "" {
		h.ask(w, http.StatusUnprocessableEntity, a, form, name, "Enter your user name and your password.")
		return
	}
	code, err := h.Sessions.Authorize(r.Context(), session.LoginRequest{Tenant: a.client.Tenant, Username: name, Password: password, Scope: a.scope},
		session.CodeBound{Client: a.client.ID, Redirect: a.redirect, Challenge: a.challenge, Confirm: a.confirm, Nonce: a.nonce})
	if err == nil {
		h.back(w, r, a, url.Values{"code": {code}})
		return
	}
	status, fault := h.loginFault(r, err)
	h.ask(w, status, a, form, name, fault)
}

// loginFault is what a login that failed says to the person.
func (h *Handler) loginFault(r *http.Request, err error) (status int, fault string) {
	var limited *session.Limited
	switch {
	case errors.Is(err, session.ErrCredentials):
		return http.StatusUnprocessableEntity, "Wrong user name or password, or the account is blocked."
	case errors.As(err, &limited):
		return http.StatusTooManyRequests, "Too many failed attempts. Wait a little and try again."
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrBusy):
		return http.StatusServiceUnavailable, "The service is busy. Try again."
	}
	if h.Log != nil {
		h.Log.ErrorContext(r.Context(), "login failed", "error", err)
	}
	return http.StatusInternalServerError, "Something went wrong here. Try again later."
}

// back sends the browser to the client: 303, so that the password is not sent
// along, with the issuer against mix-ups (RFC 9207).
func (h *Handler) back(w http.ResponseWriter, r *http.Request, a *asked, answer url.Values) {
	to, err := url.Parse(a.redirect)
	if err != nil {
		h.show(w, http.StatusInternalServerError, page{Fatal: "Something went wrong here. Try again later."})
		return
	}
	query := to.Query()
	for name, values := range answer {
		if values[0] != "" {
			query[name] = values
		}
	}
	if a.state != "" {
		query.Set("state", a.state)
	}
	query.Set("iss", h.Issuer)
	to.RawQuery = query.Encode()
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

// page is what login.html shows.
type page struct {
	// Fatal is in place of the form.
	Fatal               string
	Client, Name, Fault string
	Parameters          [][2]string
	Action              string
}

// sent are the parameters that the form sends again.
var sent = []string{"response_type", "client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method", "response_mode", "dpop_jkt", "nonce"}

func (h *Handler) ask(w http.ResponseWriter, status int, a *asked, form url.Values, name, fault string) {
	p := page{Client: a.client.Name, Name: name, Fault: fault, Action: h.Prefix + AuthorizePath}
	if p.Client == "" {
		p.Client = a.client.ID
	}
	for _, parameter := range sent {
		if form.Has(parameter) {
			p.Parameters = append(p.Parameters, [2]string{parameter, form.Get(parameter)})
		}
	}
	// Browsers hold the redirect that answers a form against form-action too.
	target, _ := url.Parse(a.redirect)
	source := target.Scheme + ":"
	if target.Host != "" {
		source += "//" + target.Host
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+styleHash+"'; form-action 'self' "+source+"; frame-ancestors 'none'; base-uri 'none'")
	h.show(w, status, p)
}

func (h *Handler) show(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = loginPage.Execute(w, p) // whoever asked is gone
}
