package folio

import (
	"errors"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// prove is the key that a program which keeps its tokens itself shows by a DPoP
// proof (RFC 9449), empty for none: at a login, that to which the session is
// bound.
func (h *Handler) prove(w http.ResponseWriter, r *http.Request, tenant string) (token.Confirmation, error) {
	sent := r.Header.Values("DPoP")
	if len(sent) == 0 {
		return "", nil
	}
	confirm, err := h.Sessions.ProveOnce(r.Context(), session.ProofRequest{
		Proof: sent, Method: r.Method, URL: strings.TrimSuffix(h.PublicURL, "/") + r.URL.EscapedPath(),
		Nonce: h.Sessions.Policies.For(tenant, session.ClientAPI, "").ProofNonce,
	})
	var no *session.ProofError
	if errors.As(err, &no) {
		if no.Nonce != "" {
			w.Header().Set("DPoP-Nonce", no.Nonce)
			return "", listed(http.StatusBadRequest, "use_dpop_nonce", no.Error())
		}
		return "", listed(http.StatusBadRequest, "invalid_dpop_proof", no.Error())
	}
	return confirm, err
}

// tokenType is told only where it is not the one that FOLIO's clients know.
func tokenType(c token.Confirmation) string {
	if c == "" {
		return ""
	}
	return "DPoP"
}
