package oauth

import (
	"crypto/sha256"
	"encoding/base64"
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
func (h *Handler) metadata(w http.ResponseWriter, r *http.Request) {
	if h.Base == "" {
		h.refuse(w, r, &refusal{status: http.StatusNotFound, Code: "not_found", Description: "there is no metadata before an operator sets public_url"})
		return
	}
	ways := []string{"client_secret_basic", "client_secret_post"}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, map[string]any{
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
	})
}
