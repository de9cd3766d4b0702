package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// dpop is the scheme of tokens that are bound to a key (RFC 9449 section 7.1).
const dpop = "DPoP "

const (
	dpopElsewhere  = "A token of the scheme DPoP is shown in the Authorization header alone"
	errUnbound     = tokenRefusal("a token that is bound to no key is shown as Bearer")
	errDowngrade   = tokenRefusal("a token that is bound to a key is shown in Authorization: DPoP, with a proof")
	errCertificate = tokenRefusal("a token that is bound to a certificate is shown on a connection with that certificate")
	errUnknowable  = tokenRefusal("a token that is bound to a key cannot be proved here: the URL that the client used is not known")
)

// tokenRefusal is a token that may hold and is shown in the wrong way.
type tokenRefusal string

func (t tokenRefusal) Error() string      { return string(t) }
func (tokenRefusal) Is(target error) bool { return target == session.ErrTokenInvalid }

// dpopToken is the token of an Authorization header of the scheme DPoP.
func dpopToken(authorization string) (string, bool) {
	if len(authorization) < len(dpop) || !strings.EqualFold(authorization[:len(dpop)], dpop) {
		return "", false
	}
	return strings.TrimSpace(authorization[len(dpop):]), true
}

// possesses is whether whoever shows a token may. One that is bound to a key is
// worth nothing without a proof of it, wherever it is shown; one that is not
// bound is no better for one.
func (l *listener) possesses(r *http.Request, c *Claim, claims *token.Claims) error {
	_, key := claims.Confirm.Key()
	if hash, ok := claims.Confirm.Certificate(); ok {
		return bearsCertificate(r, c, hash)
	}
	switch {
	case !c.DPoP && claims.Confirm == "":
		return nil
	case c.DPoP && !key:
		return errUnbound
	case !c.DPoP && l.okapi:
		return errUnknowable
	case !c.DPoP:
		return errDowngrade
	}
	url := l.urlOf(r)
	if url == "" {
		return errUnknowable
	}
	return l.gateway.Sessions.Possesses(claims, session.ProofRequest{Proof: r.Header["Dpop"], Method: r.Method, URL: url, Access: c.Token})
}

// bearsCertificate is whether a token that is bound to a certificate came over a
// connection on which that was shown (RFC 8705 section 3): one to our own listener,
// since nobody knows what a proxy was shown.
func bearsCertificate(r *http.Request, c *Claim, hash string) error {
	if c.DPoP || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || token.CertificateHash(r.TLS.PeerCertificates[0]) != hash {
		return errCertificate
	}
	return nil
}

type askedURLKey struct{}

// asksAbout is the request that a proxy asks about, with the URL that the client
// used. Only proxies of one kind tell it in headers that they set by themselves;
// others hand on what clients say there.
func asksAbout(ctx context.Context, by convention, h http.Header, rawPath string) context.Context {
	scheme, one := single(h["X-Forwarded-Proto"])
	host, two := single(h["X-Forwarded-Host"])
	url := ""
	if by == forwarded && one && two && host != "" && (scheme == "https" || scheme == "http") {
		url = scheme + "://" + host + rawPath
	}
	return context.WithValue(ctx, askedURLKey{}, url)
}

// urlOf is the URL that the client used, empty if that cannot be known. The path
// is that of the request line, from before anything was made of it.
func (l *listener) urlOf(r *http.Request) string {
	if url, asked := r.Context().Value(askedURLKey{}).(string); asked {
		return url
	}
	base := l.gateway.PublicURL
	if l.internal {
		base = l.gateway.InternalURL
	}
	if base == "" || l.okapi {
		return ""
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") {
		path = r.URL.EscapedPath()
	}
	return strings.TrimRight(base, "/") + path
}

// unpossessed answers to a token that is bound to a key, or shown as if it were.
func (g *Gateway) unpossessed(w http.ResponseWriter, r *http.Request, err error) bool {
	var no *session.ProofError
	var wrong tokenRefusal
	code, body := "", ""
	switch {
	case errors.As(err, &no) && no.Nonce != "":
		w.Header().Set("DPoP-Nonce", no.Nonce)
		code, body = "use_dpop_nonce", "PROOF_NONCE"
	case errors.As(err, &no):
		code, body = "invalid_dpop_proof", "PROOF_INVALID"
	case errors.As(err, &wrong):
		code, body = "invalid_token", "TOKEN_UNPROVED"
	default:
		return false
	}
	w.Header().Set("WWW-Authenticate", dpopChallenge(code))
	g.sayJSON(w, r, http.StatusUnauthorized, []byte(`{"message":"`+quotable(err.Error())+`","code":"`+body+`","type":"auth"}`))
	return true
}

// dpopChallenge is RFC 9449 section 7.1.
func dpopChallenge(code string) string {
	return `DPoP error="` + code + `", algs="` + strings.Join(session.ProofAlgorithms, " ") + `"`
}

// challengeOf is the challenge for a token that does not hold, in the scheme in
// which it was shown.
func challengeOf(r *http.Request) string {
	if _, ok := dpopToken(r.Header.Get("Authorization")); ok {
		return dpopChallenge("invalid_token")
	}
	return bearer
}

// quotable is a text of ours that may hold a URL of the client's.
func quotable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, text)
}
