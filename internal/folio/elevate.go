package folio

import (
	"net/http"

	"github.com/counterfoil/counterfoil/internal/session"
)

// elevate gives raised scope for one operation: POST /authn/elevate. The token
// is in the body and not in a cookie, where every later request would have it.
func (h *Handler) elevate(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body struct {
		Password    string   `json:"password"`
		Permissions []string `json:"permissions"`
	}
	if _, err := decode(w, r, &body, strict); err != nil {
		return err
	}
	if body.Password == "" {
		return errNoPassword
	}
	tokens, err := h.Sessions.Elevate(r.Context(), caller, body.Password, body.Permissions)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, struct {
		AccessToken string  `json:"accessToken"`
		Expiration  instant `json:"accessTokenExpiration"`
	}{tokens.Access, instant(tokens.AccessExpires)})
	return nil
}
