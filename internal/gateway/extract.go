package gateway

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// maxToken bounds a token in bytes. A module token with the 42 permissions of
// FOLIO's greediest route is a sixth of it.
const maxToken = 16 << 10

const differentTokens = "Different tokens in Authentication and X-Okapi-Token. Use only one of them"

// Refusal is an answer that the gateway gives by itself, because a request can
// be understood in two ways or in none. Text is shown to the caller; it never
// holds a token.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

func badRequest(text string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Text: text}
}

// Claim is what a request says about itself. Nothing of it is verified.
type Claim struct {
	// Token is the one token that all sources agree upon, empty for none.
	Token string
	// FromCookie says that the token came in the cookie alone. A browser adds
	// that by itself, also to requests that another site made it send.
	FromCookie bool
	// DPoP says that the token came in the scheme DPoP, which promises a proof.
	DPoP bool
	// Keyed is whether an API key came in place of a token, and Key is it; zero
	// if it is written as no key can be.
	Keyed bool
	Key   apikey.Secret
	found *session.FoundKey // once it was looked for
	// Tenant is empty only for an API key that does not say whose it is.
	Tenant string
	// ModuleID is the value of X-Okapi-Module-Id, empty for none.
	ModuleID string
}

// ExtractClaim reads a request's token and tenant from its headers by Okapi's
// rules and never from its query, which ends up in logs and Referer headers.
//
// The token is that of X-Okapi-Token, Authorization ("Bearer x", or else the
// whole value; in "DPoP x" it must be alone) and the folioAccessToken cookie; those present must be equal.
// Authorization may hold an API key instead, as keyIn tells; then there must be
// no token.
// The tenant is pathTenant, taken from an /_/invoke path and empty elsewhere;
// else X-Okapi-Tenant; else what tenantOf reads, unverified, from the token;
// else supertenant. A header that is sent twice must say the same twice, or
// the gateway and a module might each believe another one.
//
// The error is a *Refusal with status 400, in Okapi's words where it has any.
func ExtractClaim(h http.Header, pathTenant string, tenantOf func(token string) (string, error)) (Claim, error) {
	var c Claim
	var err error
	authorization, same := single(h["Authorization"])
	if !same {
		return Claim{}, badRequest(differentTokens)
	}
	if c.Key, c.Keyed = keyIn(authorization); c.Keyed {
		authorization = ""
	}
	if proved, ok := dpopToken(authorization); ok {
		authorization, c.DPoP = proved, true
	}
	if c.Token, c.FromCookie, err = extractToken(h, authorization); err != nil {
		return Claim{}, err
	}
	if c.DPoP && (authorization == "" || h["X-Okapi-Token"] != nil) {
		return Claim{}, badRequest(dpopElsewhere)
	}
	if c.Keyed && c.Token != "" {
		return Claim{}, badRequest(keyAndToken)
	}
	if c.ModuleID, same = single(h["X-Okapi-Module-Id"]); !same {
		return Claim{}, badRequest("Different modules in X-Okapi-Module-Id. Use only one of them")
	}
	if c.Tenant, err = extractTenant(h, pathTenant); err != nil {
		return Claim{}, err
	}
	if c.Tenant == "" && c.Token != "" {
		if c.Tenant, err = tenantOf(c.Token); err != nil {
			return Claim{}, badRequest("Invalid Token: " + err.Error())
		}
	}
	if c.Tenant == "" && c.Keyed {
		c.Tenant = c.Key.Tenant
	} else if c.Tenant == "" {
		c.Tenant = directory.SuperTenant
	}
	return c, nil
}

func extractToken(h http.Header, authorization string) (token string, fromCookie bool, err error) {
	header, same := single(h["X-Okapi-Token"])
	if !same {
		return "", false, badRequest(differentTokens)
	}
	if bearer, ok := strings.CutPrefix(authorization, "Bearer "); ok {
		authorization = strings.TrimSpace(bearer)
	}
	cookie, n := accessTokens(h["Cookie"])
	if n > 1 {
		return "", false, badRequest(differentTokens)
	}
	for _, t := range [...]string{header, authorization, cookie} {
		if t != "" && token != "" && t != token {
			return "", false, badRequest(differentTokens)
		}
		if t != "" {
			token = t
		}
	}
	if len(token) > maxToken {
		return "", false, badRequest("Invalid Token: too long")
	}
	return token, cookie != "" && header == "" && authorization == "", nil
}

func extractTenant(h http.Header, pathTenant string) (string, error) {
	tenant, same := single(h["X-Okapi-Tenant"])
	if !same {
		return "", badRequest("Different tenants in X-Okapi-Tenant. Use only one of them")
	}
	if pathTenant == "" {
		return tenant, nil
	}
	if strings.Contains(pathTenant, "${") || strings.Contains(pathTenant, "$%7B") || strings.Contains(pathTenant, "$%7b") {
		return "", badRequest("tenantId must not contain ${")
	}
	if tenant != "" && tenant != pathTenant {
		return "", badRequest("Different tenants in the path and in X-Okapi-Tenant. Use only one of them")
	}
	return pathTenant, nil
}

// single returns the one value that all of values are, and whether they are.
func single(values []string) (value string, same bool) {
	for i, v := range values {
		if i > 0 && v != value {
			return "", false
		}
		value = v
	}
	return value, true
}

// SplitInvoke takes a path such as /_/invoke/tenant/diku/saml/callback apart
// into the tenant and the path to route. Callers that cannot set headers, such
// as a form posted by an identity provider, name their tenant so.
func SplitInvoke(rawPath string) (tenant, rest string, ok bool) {
	after, ok := strings.CutPrefix(rawPath, "/_/invoke/tenant/")
	if !ok {
		return "", "", false
	}
	slash := strings.IndexByte(after, '/')
	if slash < 1 {
		return "", "", false
	}
	return after[:slash], after[slash:], true
}

// tokenFault is why the payload of a token cannot be read. It repeats nothing
// of the payload; the first two and the last are Okapi's words.
type tokenFault string

const (
	noSeparator tokenFault = "Missing . separator for token"
	shortBase64 tokenFault = "Input byte[] should at least have 2 bytes for base64 bytes"
	notBase64   tokenFault = "Payload is not base64"
	notClaims   tokenFault = "Payload is not a JSON object with a tenant"
	truncated   tokenFault = "Unexpected end-of-input in payload"
)

func (f tokenFault) Error() string { return string(f) }

// UnverifiedTenant reads the tenant claim of a JWT without looking at its
// signature, for ExtractClaim: the token is verified later, and must then be of
// the tenant that it was routed by. Without the claim the tenant is empty.
func UnverifiedTenant(token string) (string, error) {
	_, rest, ok := strings.Cut(token, ".")
	payload, _, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return "", noSeparator
	}
	payload = strings.TrimRight(payload, "=")
	if len(payload) == 1 {
		return "", shortBase64
	}
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", notBase64
	}
	var claims struct {
		Tenant string `json:"tenant"`
	}
	switch err := json.Unmarshal(data, &claims); {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "", truncated
	case err != nil:
		return "", notClaims
	}
	return claims.Tenant, nil
}
