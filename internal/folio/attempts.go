package folio

import (
	"errors"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/session"
)

// loginAttempts tells how many wrong passwords there were in a row: GET
// /authn/loginAttempts/{id}, by the user's id. The record's own id, which FOLIO
// draws and nobody can use, is the user's.
func (h *Handler) loginAttempts(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	id, err := userUUID(r.PathValue("id"))
	if err != nil {
		return noAttempts(r.PathValue("id"))
	}
	attempts, err := h.Sessions.Attempts(r.Context(), caller.Claims.Tenant, id)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return noAttempts(id)
	case err != nil:
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		ID     string  `json:"id"`
		UserID string  `json:"userId"`
		Count  int     `json:"attemptCount"`
		Last   instant `json:"lastAttempt"`
	}{id, id, attempts.Count, instant(attempts.Last)})
	return nil
}

func noAttempts(id string) error {
	return plain(http.StatusNotFound, "No user login attempts found for id "+cut(id))
}
