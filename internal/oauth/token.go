package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// answer is a success of RFC 6749 section 5.1.
type answer struct {
	AccessToken  string `json:"access_token"`
	IssuedType   string `json:"issued_token_type,omitzero"` // RFC 8693
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitzero"`
	Scope        string `json:"scope,omitzero"`
	IDToken      string `json:"id_token,omitzero"`
}

// token gives tokens: POST /oauth2/token. The client is authenticated before
// anything of the grant is looked at, so that a failure consumes nothing.
func (h *Handler) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := h.client(r, form)
	if err != nil {
		return err
	}
	confirm, err := h.prove(w, r, c)
	if err != nil {
		return err
	}
	tokens, err := h.grant(r, c, form, confirm)
	if err != nil {
		return err
	}
	issuedType := ""
	if form.Get("grant_type") == session.GrantExchange {
		issuedType = tokenTypeAccess
	}
	id, err := h.idToken(c, tokens)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer{
		IDToken:     id,
		IssuedType:  issuedType,
		AccessToken: tokens.Access, TokenType: tokenType(tokens.Confirm), RefreshToken: tokens.Refresh,
		// Rounded down, so that nobody uses a token a moment after its end.
		ExpiresIn: int64(tokens.AccessExpires.Sub(tokens.Issued) / time.Second), Scope: tokens.Scope,
	})
	return nil
}

func (h *Handler) grant(r *http.Request, c *session.Client, form url.Values, confirm token.Confirmation) (*session.Tokens, error) {
	grant := form.Get("grant_type")
	switch grant {
	case "":
		return nil, invalid("grant_type is missing")
	default:
		if !slices.Contains(session.Grants, grant) {
			return nil, refused("unsupported_grant_type", "")
		}
	}
	if !c.May(grant) {
		return nil, refused("unauthorized_client", "the client may not use this grant")
	}
	switch grant {
	case session.GrantCode:
		return h.redeem(r, c, form, confirm)
	case session.GrantExchange:
		return h.exchange(r, c, form, confirm)
	case session.GrantDevice:
		return h.deviceTokens(r, c, form, confirm)
	case session.GrantRefresh:
		if form.Get("refresh_token") == "" {
			return nil, invalid("refresh_token is missing")
		}
		req := session.RefreshRequest{Token: form.Get("refresh_token"), Client: c.ID, Scope: form.Get("scope"), Confirm: confirm}
		if heal := form.Get("heal"); heal != "" {
			req.Heals = []string{heal}
		}
		return h.Sessions.Refresh(r.Context(), req)
	}
	scope, err := h.Sessions.Narrow(r.Context(), c, "", form.Get("scope"))
	if err != nil {
		return nil, err
	}
	tokens, err := h.Sessions.ClientTokens(r.Context(), c, scope, confirm)
	if errors.Is(err, session.ErrNotFound) {
		return nil, refused("unauthorized_client", "the client's user does not exist or is not active")
	}
	return tokens, err
}

// verifier is RFC 7636 section 4.1.
var verifier = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

func (h *Handler) redeem(r *http.Request, c *session.Client, form url.Values, confirm token.Confirmation) (*session.Tokens, error) {
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if form.Get(name) == "" {
			return nil, invalid(name + " is missing")
		}
	}
	if !verifier.MatchString(form.Get("code_verifier")) {
		return nil, refused("invalid_grant", "code_verifier is none")
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	tokens, err := h.Sessions.Redeem(r.Context(), form.Get("code"), session.CodeBound{
		Client: c.ID, Redirect: form.Get("redirect_uri"), Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Confirm: confirm,
	})
	if err == nil && !c.May(session.GrantRefresh) {
		tokens.Refresh = ""
	}
	return tokens, err
}

// revoke ends the session of a token: RFC 7009. What is not the client's, or no
// token, ends nothing and is told the same.
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := h.client(r, form)
	if err != nil {
		return err
	}
	if form.Get("token") == "" {
		return invalid("token is missing")
	}
	if err := h.Sessions.LogoutClient(r.Context(), form.Get("token"), c.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// told is RFC 7662 section 2.2.
type told struct {
	Active    bool         `json:"active"`
	Scope     string       `json:"scope,omitzero"`
	ClientID  string       `json:"client_id,omitzero"`
	Username  string       `json:"username,omitzero"`
	TokenType string       `json:"token_type,omitzero"`
	Subject   string       `json:"sub,omitzero"`
	UserID    string       `json:"user_id,omitzero"`
	Tenant    string       `json:"tenant,omitzero"`
	Issuer    string       `json:"iss,omitzero"`
	Audience  string       `json:"aud,omitzero"`
	ID        string       `json:"jti,omitzero"`
	Expires   int64        `json:"exp,omitzero"`
	IssuedAt  int64        `json:"iat,omitzero"`
	Confirm   confirmation `json:"cnf,omitzero"`
}

// introspect tells an authenticated client about an access token of its own, or
// of its tenant if the client may. Of everything else, refresh tokens too, it is
// told that it is not active: the newest of them must not be told from a used one.
func (h *Handler) introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := h.client(r, form)
	if err != nil {
		return err
	}
	if c.Public() {
		return errClient
	}
	if form.Get("token") == "" {
		return invalid("token is missing")
	}
	caller, err := h.Sessions.CheckUnproved(r.Context(), form.Get("token"), token.KindAccess)
	if errors.Is(err, session.ErrUnavailable) {
		return err
	}
	claims := &caller.Claims
	if err != nil || claims.Tenant != c.Tenant || claims.ClientID != c.ID && !c.Introspect {
		writeJSON(w, http.StatusOK, told{})
		return nil
	}
	all := told{
		Active: true, ClientID: claims.ClientID, Username: claims.Subject, TokenType: tokenType(claims.Confirm), Subject: claims.Subject, UserID: claims.UserID,
		Tenant: claims.Tenant, Issuer: claims.Issuer, Audience: claims.Audience, ID: claims.ID,
		Expires: claims.Expires.Unix(), IssuedAt: claims.IssuedAt.Unix(), Confirm: confirmationOf(claims.Confirm),
	}
	all.Scope = h.Sessions.ScopeOf(claims.ClientID, claims.Scope)
	writeJSON(w, http.StatusOK, all)
	return nil
}
