package oauth

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// assertionType is RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// client authenticates who asks (RFC 6749 section 2.3), in one way alone, which is
// the one that the client is registered with. Nothing else of the request has been
// looked at before.
func (h *Handler) client(r *http.Request, form url.Values) (*session.Client, error) {
	header := r.Header.Values("Authorization")
	ways := 0
	for _, used := range []bool{len(header) > 0, form.Has("client_secret"), form.Has("client_assertion") || form.Has("client_assertion_type")} {
		if used {
			ways++
		}
	}
	switch {
	case ways > 1 || len(header) > 1:
		return nil, invalid("the client must authenticate in one way")
	case form.Has("client_assertion") || form.Has("client_assertion_type"):
		return h.byAssertion(r, form)
	case len(header) == 1:
		return h.byBasic(r, form)
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if id == session.ClientAPI && secret == "" {
		return &session.Client{ID: id, Grants: []string{session.GrantRefresh}}, nil
	}
	c := h.Sessions.Client(id)
	switch {
	case c == nil:
		return nil, errClient
	case c.Public() && secret == "", c.Accepts(secret, h.Sessions.Now()):
		return c, nil
	case secret == "" && c.AcceptsCertificate(h.certificate(r)):
		return c, nil
	}
	return nil, errClient
}

// byBasic is client_secret_basic. Both parts are encoded as in a form.
func (h *Handler) byBasic(r *http.Request, form url.Values) (*session.Client, error) {
	user, password, ok := r.BasicAuth()
	id, err := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if !ok || err != nil || err2 != nil || form.Has("client_id") && form.Get("client_id") != id {
		return nil, errClient
	}
	c := h.Sessions.Client(id)
	if c == nil || !c.Accepts(secret, h.Sessions.Now()) {
		return nil, errClient
	}
	return c, nil
}

// byAssertion is private_key_jwt. The assertion may name the issuer, the token
// endpoint, or where it is sent.
func (h *Handler) byAssertion(r *http.Request, form url.Values) (*session.Client, error) {
	if form.Get("client_assertion_type") != assertionType || h.Base == "" {
		return nil, errClient
	}
	c, err := h.Sessions.ProveClient(r.Context(), form.Get("client_assertion"), []string{h.Issuer, h.Base + tokenPath, h.Base + r.URL.Path})
	if errors.Is(err, session.ErrUnavailable) {
		return nil, err
	}
	if err != nil || form.Has("client_id") && form.Get("client_id") != c.ID {
		return nil, errClient
	}
	return c, nil
}

// certificate is the hash of the one that the client showed to our own TLS
// listener, empty if there is none. Behind a proxy that ends TLS nobody knows it.
func (h *Handler) certificate(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	shown, now := r.TLS.PeerCertificates[0], h.Sessions.Now()
	if now.Before(shown.NotBefore) || now.After(shown.NotAfter) {
		return ""
	}
	return token.CertificateHash(shown)
}
