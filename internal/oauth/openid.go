package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// idToken tells the client who logged in, if it asked with the scope openid. It is
// for the client alone: nothing here takes it for an access token.
func (h *Handler) idToken(c *session.Client, t *session.Tokens) (string, error) {
	if !t.OpenID || t.AuthTime.IsZero() {
		return "", nil
	}
	return h.Ring.MintID(t.Tenant, token.IDToken{
		Subject: t.UserID, Audience: c.ID, IssuedAt: t.Issued.Unix(), Expires: t.AccessExpires.Unix(), AuthTime: t.AuthTime.Unix(),
		Nonce: t.Nonce, Session: t.Session.String(), Methods: []string{"pwd"},
	}, t.Access)
}

// claims of a user (OpenID Connect Core section 5.1).
type userinfo struct {
	Subject    string `json:"sub"`
	Username   string `json:"preferred_username,omitzero"`
	Name       string `json:"name,omitzero"`
	GivenName  string `json:"given_name,omitzero"`
	FamilyName string `json:"family_name,omitzero"`
	Email      string `json:"email,omitzero"`
}

// bearer refuses what holds no token of ours as RFC 6750 section 3.1 wants, for
// clients that know nothing of tenants. What is left is the guard's.
func (h *Handler) bearer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		challenge := scheme
		if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") {
			challenge, raw = "Bearer", ""
		}
		_, err := h.Sessions.CheckUnproved(r.Context(), raw, token.KindAccess)
		if err == nil || errors.Is(err, session.ErrUnavailable) {
			next.ServeHTTP(w, r)
			return
		}
		noStore(w)
		if raw != "" {
			challenge += ` error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		writeJSON(w, http.StatusUnauthorized, refused("invalid_token", "the access token is missing or does not hold"))
	})
}

// userinfo tells a client about the user of its access token, as far as its scope
// goes.
func (h *Handler) userinfo(w http.ResponseWriter, r *http.Request, caller session.Caller) {
	noStore(w)
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		writeJSON(w, http.StatusMethodNotAllowed, invalid("GET or POST"))
		return
	}
	scopes := strings.Fields(h.Sessions.ScopeOf(caller.Claims.ClientID, caller.Claims.Scope))
	if !slices.Contains(scopes, session.ScopeOpenID) || caller.Claims.Kind != token.KindAccess {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="openid"`)
		writeJSON(w, http.StatusForbidden, refused("insufficient_scope", "the token lacks the scope openid"))
		return
	}
	u := &caller.Access.User
	told := userinfo{Subject: u.ID}
	if slices.Contains(scopes, session.ScopeProfile) {
		told.Username, told.GivenName, told.FamilyName = u.Username, u.FirstName, u.LastName
		told.Name = strings.TrimSpace(u.FirstName + " " + u.LastName)
	}
	if slices.Contains(scopes, session.ScopeEmail) {
		told.Email = u.Email
	}
	writeJSON(w, http.StatusOK, told)
}

// endSession logs out whom a client sends here (OpenID Connect RP-Initiated Logout
// 1.0). The ID token that the client brings back names the session; there is none
// of our own in the browser by which it could be found, so without that token
// nothing ends. Where the browser goes next must be registered.
func (h *Handler) endSession(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+styleHash+"'; frame-ancestors 'none'; base-uri 'none'")
	form, no := h.pageForm(w, r, false) // the application's own page may send it
	if no != nil {
		h.showDevice(w, no.status, deviceForm{Title: "Log out", Message: no.Description})
		return
	}
	hint, err := h.Ring.OpenID(form.Get("id_token_hint"))
	c := h.Sessions.Client(hint.Audience)
	if err != nil || c == nil || form.Has("client_id") && form.Get("client_id") != c.ID {
		h.showDevice(w, http.StatusBadRequest, deviceForm{Title: "Not logged out", Message: "It is not known which session is meant. Log out in the application itself."})
		return
	}
	if err := h.Sessions.LogoutSession(r.Context(), hint.Session, c.ID); err != nil {
		status, fault := h.loginFault(r, err)
		h.showDevice(w, status, deviceForm{Title: "Not logged out", Message: fault})
		return
	}
	to := form.Get("post_logout_redirect_uri")
	if to == "" || !slices.Contains(c.LogoutRedirects, to) {
		h.showDevice(w, http.StatusOK, deviceForm{Title: "Logged out", Message: "You can close this page."})
		return
	}
	next, err := url.Parse(to)
	if err != nil {
		h.showDevice(w, http.StatusOK, deviceForm{Title: "Logged out", Message: "You can close this page."})
		return
	}
	if state := form.Get("state"); state != "" {
		query := next.Query()
		query.Set("state", state)
		next.RawQuery = query.Encode()
	}
	http.Redirect(w, r, next.String(), http.StatusSeeOther)
}
