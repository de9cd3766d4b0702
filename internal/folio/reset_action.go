package folio

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// longestAction bounds how long a module's right to set a password may hold.
// mod-users-bl asks for 4 weeks at most.
const longestAction = 28 * 24 * time.Hour

// resetAction is mod-login's password reset action.
type resetAction struct {
	ID      string `json:"id"`
	UserID  string `json:"userId"`
	Expires string `json:"expirationTime"`
}

// createAction stores a module's right to set a password once: POST
// /authn/password-reset-action. Whoever is permitted to do so chooses the id.
func (h *Handler) createAction(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body resetAction
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	id, err := uuid.Parse(body.ID)
	if err != nil {
		return badBody("id is not a UUID")
	}
	userID, err := userUUID(body.UserID)
	if err != nil {
		return err
	}
	expires, err := parseTime(body.Expires)
	if err != nil || expires.After(h.Now().Add(longestAction)) {
		return badBody("expirationTime is no time, or more than 4 weeks away")
	}
	has, err := h.Sessions.SaveAction(r.Context(), session.PasswordAction{
		Tenant: caller.Claims.Tenant, ID: id.String(), UserID: userID, Expires: expires,
	})
	switch {
	case errors.Is(err, directory.ErrExists):
		return badBody("id is that of another user's action")
	case err != nil:
		return err
	}
	writeJSON(w, http.StatusCreated, struct {
		Exists bool `json:"passwordExists"`
	}{has})
	return nil
}

// parseTime reads the ways in which FOLIO's modules write a time.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		// RMB leaves out the colon of the zone.
		t, err = time.Parse("2006-01-02T15:04:05.999Z0700", s)
	}
	return t, err
}

// showAction answers GET /authn/password-reset-action/{id}.
func (h *Handler) showAction(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	id := strings.ToLower(r.PathValue("id"))
	a, err := h.Sessions.Action(r.Context(), caller.Claims.Tenant, id)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return noAction(http.StatusNotFound, id)
	case err != nil:
		return err
	}
	text, _ := instant(a.Expires).MarshalText()
	writeJSON(w, http.StatusOK, resetAction{a.ID, a.UserID, string(text)})
	return nil
}

func noAction(status int, id string) error {
	return plain(status, "Password action with ID: `"+cut(id)+"` was not found in the db")
}

// useAction sets a password by an action: POST /authn/reset-password. Unlike
// mod-login it looks at the expiry itself, and ends all sessions of the user.
func (h *Handler) useAction(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body struct {
		Action   string `json:"passwordResetActionId"`
		Password string `json:"newPassword"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	first, err := h.Sessions.UseAction(r.Context(), caller.Claims.Tenant, strings.ToLower(body.Action), body.Password)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return noAction(http.StatusBadRequest, body.Action)
	case err != nil:
		return passwordError(err, http.StatusBadRequest)
	}
	writeJSON(w, http.StatusCreated, struct {
		New bool `json:"isNewPassword"`
	}{first})
	return nil
}
