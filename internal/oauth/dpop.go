package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// prove is the key that a DPoP proof shows (RFC 9449 section 5), empty where the
// client sent none and needs none. It comes after the client was authenticated
// and before anything of the grant is looked at.
func (h *Handler) prove(w http.ResponseWriter, r *http.Request, c *session.Client) (token.Confirmation, error) {
	if c.CertificateBound {
		hash := h.certificate(r)
		if hash == "" || len(r.Header.Values("DPoP")) > 0 {
			return "", invalid("tokens of this client are bound to the certificate of its connection, and to no other key")
		}
		return token.ConfirmCertificate(hash), nil
	}
	sent := r.Header.Values("DPoP")
	if len(sent) == 0 && !c.DPoP {
		return "", nil
	}
	nonce := h.Sessions.Policies.For(c.Tenant, c.ID, "").ProofNonce
	confirm, err := h.Sessions.ProveOnce(r.Context(), session.ProofRequest{
		Proof: sent, Method: r.Method, URL: h.Base + tokenPath, Nonce: nonce,
	})
	var no *session.ProofError
	if errors.As(err, &no) {
		if no.Nonce != "" {
			w.Header().Set("DPoP-Nonce", no.Nonce)
			return "", refused("use_dpop_nonce", no.Error())
		}
		return "", refused("invalid_dpop_proof", no.Error())
	}
	if nonce && err == nil {
		w.Header().Set("DPoP-Nonce", h.Ring.ProofNonce(h.Sessions.Now())) // for the next one
	}
	return confirm, err
}

// thumbprint is a SHA-256 in base64url (RFC 7638).
var thumbprint = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// boundTo is the key that a code is to be bound to (RFC 9449 section 10).
func boundTo(form url.Values) (token.Confirmation, *refusal) {
	switch key := form.Get("dpop_jkt"); {
	case !form.Has("dpop_jkt"):
		return "", nil
	case !thumbprint.MatchString(key):
		return "", invalid("dpop_jkt is no thumbprint")
	default:
		return token.ConfirmKey(key), nil
	}
}

// tokenType is how a token is to be shown.
func tokenType(c token.Confirmation) string {
	if _, ok := c.Key(); ok {
		return "DPoP"
	}
	return "Bearer"
}

// confirmation is the claim cnf of an introspection.
type confirmation struct {
	Key         string `json:"jkt,omitzero"`
	Certificate string `json:"x5t#S256,omitzero"`
}

func confirmationOf(c token.Confirmation) (told confirmation) {
	told.Key, _ = c.Key()
	if told.Certificate, _ = c.Certificate(); told.Key != "" {
		told.Certificate = ""
	}
	return told
}
