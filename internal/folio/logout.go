package folio

import (
	"errors"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/session"
)

// logout ends the session of the refresh token in cookie or body: POST
// /authn/logout. It is idempotent, so without a token, or with one that is not
// ours, there is nothing to do. mod-login ends all sessions of the user then;
// that is what logout-all is for.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request) error {
	p, err := present(w, r)
	if err != nil {
		return err
	}
	if p.token != "" {
		if err := h.Sessions.Logout(r.Context(), p.token); err != nil {
			return err
		}
	}
	return h.loggedOut(w, p.inBody)
}

// logoutAll ends all sessions of a user: POST /authn/logout-all. The user is
// that of a refresh token of a session that goes on, or else that of a valid
// access token.
func (h *Handler) logoutAll(w http.ResponseWriter, r *http.Request) error {
	p, err := present(w, r)
	if err != nil {
		return err
	}
	if p.token != "" {
		err := h.Sessions.LogoutAll(r.Context(), p.token)
		switch {
		case err == nil:
			return h.loggedOut(w, p.inBody)
		case !errors.Is(err, session.ErrTokenInvalid) && !errors.Is(err, session.ErrNotFound):
			return err
		}
	}
	h.guarded(func(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
		if err := h.Sessions.LogoutUser(r.Context(), caller.Claims.Tenant, caller.Claims.UserID); err != nil {
			return err
		}
		return h.loggedOut(w, p.inBody)
	}).ServeHTTP(w, r)
	return nil
}

// loggedOut answers once the session is over, and not before: a browser that
// forgot a living token could never end it.
func (h *Handler) loggedOut(w http.ResponseWriter, inBody bool) error {
	if !inBody {
		h.Cookies.Clear(w.Header())
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
