package oauth

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// tokenTypeAccess is RFC 8693 section 3.
const tokenTypeAccess = "urn:ietf:params:oauth:token-type:access_token"

// exchange is RFC 8693: a client gives an access token of its own and gets one
// with less scope or, with acr_values, one of raised scope.
func (h *Handler) exchange(r *http.Request, c *session.Client, form url.Values, confirm token.Confirmation) (*session.Tokens, error) {
	switch {
	case form.Get("subject_token") == "":
		return nil, invalid("subject_token is missing")
	case form.Get("subject_token_type") != tokenTypeAccess:
		return nil, invalid("subject_token_type must be " + tokenTypeAccess)
	case form.Has("requested_token_type") && form.Get("requested_token_type") != tokenTypeAccess:
		return nil, invalid("requested_token_type can only be " + tokenTypeAccess)
	case form.Has("actor_token"):
		return nil, invalid("nobody acts for another: actor_token is not understood")
	case form.Has("audience") || form.Has("resource"):
		return nil, refused("invalid_target", "tokens are for this installation alone")
	case form.Has("acr_values") && form.Get("acr_values") != session.ACRElevated:
		return nil, invalid("acr_values can only be " + session.ACRElevated)
	}
	tokens, err := h.Sessions.Exchange(r.Context(), c, session.ExchangeRequest{
		Token: form.Get("subject_token"), Scope: form.Get("scope"), Raise: form.Has("acr_values"), Confirm: confirm,
	})
	switch {
	case errors.Is(err, session.ErrTokenExpired), errors.Is(err, session.ErrTokenInvalid):
		return nil, invalid("subject_token is none of this client that holds") // RFC 8693 section 2.2.2
	case errors.Is(err, session.ErrProofOld):
		return nil, refused("invalid_grant", "the user proved too long ago who he is: authorize again, then exchange at once")
	case errors.Is(err, session.ErrForbidden):
		return nil, errScope
	case errors.Is(err, session.ErrInvalid):
		return nil, invalid("scope must name 1 to 50 permissions")
	}
	return tokens, err
}
