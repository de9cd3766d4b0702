package folio

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Bounds of a dummy token: a link in a mail carries it.
const (
	maxSubject          = 255 // bytes
	maxExtraPermissions = 50
)

// signPayload is what mod-authtoken puts into the tokens it signs. Further
// members were copied there; here they have no effect.
type signPayload struct {
	Subject     string   `json:"sub"`
	UserID      string   `json:"user_id"`
	Dummy       bool     `json:"dummy"`
	Permissions []string `json:"extra_permissions"`
}

// sign is for modules that have their own proof of who a user is, or need a
// token for nobody, as in a link that resets a password: POST /token/sign.
func (h *Handler) sign(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	payload, err := readPayload(w, r)
	if err != nil {
		return err
	}
	if payload.Dummy {
		return h.signDummy(w, caller, payload)
	}
	tokens, err := h.Sessions.SignFor(r.Context(), caller.Claims.Tenant, payload.UserID, payload.Subject)
	if errors.Is(err, session.ErrNotFound) {
		return badBody("payload.user_id must be that of an active user")
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, pairOf(tokens))
	return nil
}

func readPayload(w http.ResponseWriter, r *http.Request) (*signPayload, error) {
	var body struct {
		Payload jsontext.Value `json:"payload"`
	}
	if _, err := decode(w, r, &body, strict); err != nil {
		return nil, err
	}
	var payload signPayload
	if len(body.Payload) == 0 || json.Unmarshal(body.Payload, &payload) != nil {
		return nil, badBody("payload must be an object with sub, and user_id or dummy")
	}
	if payload.Subject == "" || len(payload.Subject) > maxSubject {
		return nil, badBody("payload.sub must have 1 to 255 bytes")
	}
	return &payload, nil
}

// signDummy mints a token that belongs to no user and lives as long as an
// access token.
func (h *Handler) signDummy(w http.ResponseWriter, caller *session.Caller, payload *signPayload) error {
	if len(payload.Permissions) > maxExtraPermissions {
		return badBody(fmt.Sprintf("payload.extra_permissions must name %d at most", maxExtraPermissions))
	}
	for _, name := range payload.Permissions {
		if directory.ValidPermission(name) != nil {
			return badBody("payload.extra_permissions must be names of permissions")
		}
	}
	now, tenant := h.Now(), caller.Claims.Tenant
	signed, err := h.Tokens.Mint(token.Claims{
		Kind: token.KindDummy, Tenant: tenant, Subject: payload.Subject, Permissions: payload.Permissions,
		TenantEpoch: caller.Claims.TenantEpoch,
		IssuedAt:    now, Expires: now.Add(h.Sessions.Policies.For(tenant, "", "").AccessTTL),
	})
	if err != nil {
		return badBody("its token would be too long, name fewer permissions")
	}
	writeJSON(w, http.StatusCreated, struct {
		Token string `json:"token"`
	}{signed})
	return nil
}

// moduleRefresh is POST /token/refresh: a refresh by a module that keeps the
// user's cookies, as mod-login does. Every refusal is FOLIO's 401.
func (h *Handler) moduleRefresh(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	raw, err := readRefreshToken(w, r)
	if err != nil {
		return err
	}
	tokens, err := h.refreshAtHome(r.Context(), session.RefreshRequest{Token: raw, Tenant: caller.Claims.Tenant})
	var refused *session.Refused
	if errors.As(err, &refused) {
		return errInvalidToken
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, pairOf(tokens))
	return nil
}

// invalidate ends the session of a refresh token: POST /token/invalidate.
func (h *Handler) invalidate(w http.ResponseWriter, r *http.Request, _ *session.Caller) error {
	raw, err := readRefreshToken(w, r)
	if err != nil {
		return err
	}
	if err := h.Sessions.Logout(r.Context(), raw); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// invalidateAll ends all sessions of the user for whom the module was called:
// POST /token/invalidate-all.
func (h *Handler) invalidateAll(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	if caller.Claims.UserID == "" {
		return errInvalidToken
	}
	if err := h.Sessions.LogoutUser(r.Context(), caller.Claims.Tenant, caller.Claims.UserID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func readRefreshToken(w http.ResponseWriter, r *http.Request) (string, error) {
	var body struct {
		RefreshToken string `json:"refreshToken"`
	}
	if _, err := decode(w, r, &body, strict); err != nil {
		return "", err
	}
	if body.RefreshToken == "" {
		return "", badBody("refreshToken is missing")
	}
	return body.RefreshToken, nil
}

// legacyToken is POST /token: a token that never expires, in a tenant that has
// such, for a module. In every other tenant it is not there.
func (h *Handler) legacyToken(w http.ResponseWriter, r *http.Request) error {
	tenant, err := tenantOf(r)
	if err != nil {
		return err
	}
	if !h.Sessions.Old.HasLegacy(tenant, h.Now()) {
		return errNotLegacy
	}
	h.forModules("/token", permLegacy, h.signLegacy).ServeHTTP(w, r)
	return nil
}

func (h *Handler) signLegacy(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	payload, err := readPayload(w, r)
	if err != nil {
		return err
	}
	if payload.Dummy {
		return h.signDummy(w, caller, payload) // which expires: nobody keeps one
	}
	signed, err := h.Sessions.LegacyToken(r.Context(), caller.Claims.Tenant, payload.UserID, payload.Subject)
	switch {
	case errors.Is(err, session.ErrForbidden):
		return errNotLegacy
	case errors.Is(err, session.ErrNotFound):
		return badBody("payload.user_id must be that of an active user")
	case err != nil:
		return err
	}
	writeJSON(w, http.StatusCreated, struct {
		Token string `json:"token"`
	}{signed})
	return nil
}
