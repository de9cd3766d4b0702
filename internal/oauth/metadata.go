package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	authorizePath  = "/oauth2/authorize"
	tokenPath      = "/oauth2/token"
	revokePath     = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
	deviceAskPath  = "/oauth2/device_authorization"
	devicePath     = "/oauth2/device"
	userinfoPath   = "/oauth2/userinfo"
	logoutPath     = "/oauth2/logout"
	openIDPath     = "/.well-known/openid-configuration"
	metadataPath   = "/.well-known/oauth-authorization-server"
)

// styleHash allows the login page's own style, and no other.
var styleHash = func() string {
	_, rest, _ := strings.Cut(loginText, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(sum[:])
}()

// metadata is RFC 8414. It needs a public URL: clients compare the issuer with
// where they asked.
func (h *Handler) metadata(w http.ResponseWriter, r *http.Request) { h.describe(w, r, h.served()) }

// openID is OpenID Connect Discovery 1.0: the same and what clients of that ask for.
func (h *Handler) openID(w http.ResponseWriter, r *http.Request) {
	all := h.served()
	maps.Copy(all, map[string]any{
		"userinfo_endpoint":                     h.Base + userinfoPath,
		"end_session_endpoint":                  h.Base + logoutPath,
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": session.ProofAlgorithms,
		"scopes_supported":                      []string{session.ScopeOpenID, session.ScopeProfile, session.ScopeEmail},
		"claims_supported":                      []string{"sub", "auth_time", "sid", "preferred_username", "name", "given_name", "family_name", "email"},
		"claims_parameter_supported":            false,
		"request_parameter_supported":           false,
		"request_uri_parameter_supported":       false,
		"backchannel_logout_supported":          true,
		"backchannel_logout_session_supported":  true,
	})
	h.describe(w, r, all)
}

func (h *Handler) describe(w http.ResponseWriter, r *http.Request, all map[string]any) {
	if h.Base == "" {
		h.refuse(w, r, &refusal{status: http.StatusNotFound, Code: "not_found", Description: "there is no metadata before an operator sets public_url"})
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, all)
}

func (h *Handler) served() map[string]any {
	ways := []string{"client_secret_basic", "client_secret_post"}
	return map[string]any{
		"issuer":                                         h.Issuer,
		"authorization_endpoint":                         h.Base + authorizePath,
		"token_endpoint":                                 h.Base + tokenPath,
		"revocation_endpoint":                            h.Base + revokePath,
		"introspection_endpoint":                         h.Base + introspectPath,
		"device_authorization_endpoint":                  h.Base + deviceAskPath,
		"jwks_uri":                                       h.Base + "/.well-known/jwks.json",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          session.Grants,
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          append(ways, "none"),
		"revocation_endpoint_auth_methods_supported":     append(ways, "none"),
		"introspection_endpoint_auth_methods_supported":  ways,
		"dpop_signing_alg_values_supported":              session.ProofAlgorithms,
		"authorization_response_iss_parameter_supported": true,
	}
}
