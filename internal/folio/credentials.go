package folio

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// createCredential gives a user a first password: POST /authn/credentials.
func (h *Handler) createCredential(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body struct {
		ID       string `json:"id"`
		Username string `json:"username"`
		UserID   string `json:"userId"`
		Password string `json:"password"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	if body.Password == "" {
		return listed(http.StatusUnprocessableEntity, codePassword, "Password is missing or empty")
	}
	tenant := caller.Claims.Tenant
	id, err := h.userNamed(r.Context(), tenant, body.Username, body.UserID, "Error looking up user")
	if err != nil {
		return err
	}
	err = h.Sessions.CreateCredential(r.Context(), tenant, id, body.Password)
	switch {
	case errors.Is(err, directory.ErrExists):
		return listed(http.StatusUnprocessableEntity, "credentials.exist", "There already exists credentials for user id '"+id+"'")
	case err != nil:
		return passwordError(err, http.StatusUnprocessableEntity)
	}
	writeJSON(w, http.StatusCreated, struct {
		ID     string `json:"id"`
		UserID string `json:"userId"`
	}{id, id})
	return nil
}

// userNamed is the id of whom a body names. An id is taken as it is, because
// FOLIO creates users and credentials in either order; a name must be
// somebody's.
func (h *Handler) userNamed(ctx context.Context, tenant, username, userID, what string) (string, error) {
	if userID != "" {
		return userUUID(userID)
	}
	if username == "" {
		return "", errNoUser
	}
	user, err := h.Sessions.Users.UserByName(ctx, tenant, username)
	switch {
	case errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrInvalid):
		return "", plain(http.StatusBadRequest, what+": No user found by username "+cut(username))
	case err != nil:
		return "", directoryError(err)
	}
	return user.ID, nil
}

// userUUID is an id in the one spelling that we keep.
func userUUID(id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != len(uuid.Nil.String()) {
		return "", plain(http.StatusBadRequest, "userId is not a UUID")
	}
	return parsed.String(), nil
}

// passwordError brings what is wrong with a new password into FOLIO's list. The
// rule's own words are for the person who chose it.
func passwordError(err error, status int) error {
	if !errors.Is(err, credential.ErrPassword) {
		return err
	}
	text := err.Error()
	if _, after, found := strings.Cut(text, credential.ErrPassword.Error()+": "); found {
		text = after
	}
	return listed(status, codePassword, "Password not accepted: "+text)
}

// deleteCredential removes a password: DELETE /authn/credentials?userId=.
func (h *Handler) deleteCredential(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	id, err := userUUID(r.URL.Query().Get("userId"))
	if err != nil {
		return err
	}
	_, err = h.Sessions.DeleteCredential(r.Context(), caller.Claims.Tenant, id)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return plain(http.StatusNotFound, "No credentials for userId "+id+" found")
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// credentialExists tells whether a user has a password: GET
// /authn/credentials-existence?userId=.
func (h *Handler) credentialExists(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	id, err := userUUID(r.URL.Query().Get("userId"))
	if err != nil {
		return err
	}
	has, err := h.Sessions.HasCredential(r.Context(), caller.Claims.Tenant, id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Exist bool `json:"credentialsExist"`
	}{has})
	return nil
}

// noCredential answers for what mod-login once had and has no more: GET and
// PUT of credentials by id.
func (h *Handler) noCredential(http.ResponseWriter, *http.Request) error { return errNotFound }

// updateCredential lets a user replace the password, proving the old one: POST
// /authn/update. All sessions of the user end, also the one that asked.
func (h *Handler) updateCredential(w http.ResponseWriter, r *http.Request) error {
	tenant, body, err := h.readChange(w, r)
	if err != nil {
		return err
	}
	if err := complete(body.credentials); err != nil {
		return err
	}
	if body.NewPassword == "" {
		return plain(http.StatusBadRequest, "You must provide a new password that isn't empty")
	}
	if err := h.changePassword(r, tenant, body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// change is the body of a change of password.
type change struct {
	credentials
	NewPassword string `json:"newPassword"`
}

func (h *Handler) readChange(w http.ResponseWriter, r *http.Request) (tenant string, body change, err error) {
	if tenant, err = h.knownTenant(r); err != nil {
		return "", body, err
	}
	if _, err = decode(w, r, &body); err != nil {
		return "", body, h.countUnparsable(r, err)
	}
	return tenant, body, nil
}

// changePassword refuses an unknown user as it refuses a wrong password, with
// the same work, or the path would tell which names exist.
func (h *Handler) changePassword(r *http.Request, tenant string, body change) error {
	err := h.Sessions.ChangePassword(r.Context(), tenant, body.Username, strings.ToLower(body.UserID), body.Password, body.NewPassword)
	if errors.Is(err, session.ErrCredentials) {
		return errOldPassword
	}
	return passwordError(err, http.StatusBadRequest)
}

// repeatable tells whether a password may be a user's next one: POST
// /authn/password/repeatable.
func (h *Handler) repeatable(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body struct {
		Password string `json:"password"`
		UserID   string `json:"userId"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	if body.Password == "" {
		return errNoPassword
	}
	id, err := userUUID(body.UserID)
	if err != nil {
		return err
	}
	fresh, err := h.Sessions.Fresh(r.Context(), caller.Claims.Tenant, id, body.Password)
	if err != nil {
		return err
	}
	result := "invalid"
	if fresh {
		result = "valid"
	}
	writeJSON(w, http.StatusOK, struct {
		Result string `json:"result"`
	}{result})
	return nil
}
