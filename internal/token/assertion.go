package token

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// JWK is a public key of a client (RFC 7517), for one algorithm.
type JWK struct {
	Type      string `json:"kty" yaml:"kty"`
	Algorithm string `json:"alg" yaml:"alg"`
	KeyID     string `json:"kid,omitzero" yaml:"kid"`
	Use       string `json:"use,omitzero" yaml:"use"`
	Curve     string `json:"crv,omitzero" yaml:"crv"`
	X         string `json:"x,omitzero" yaml:"x"`
	Y         string `json:"y,omitzero" yaml:"y"`
	N         string `json:"n,omitzero" yaml:"n"`
	E         string `json:"e,omitzero" yaml:"e"`
}

// Check finds what is wrong with a key. The error is ErrInvalid.
func (k *JWK) Check() error { _, err := k.public(); return err }

func (k *JWK) public() (crypto.PublicKey, error) {
	text, err := json.Marshal(k)
	if err != nil {
		return nil, errProof("its jwk cannot be read")
	}
	public, _, err := readJWK(text, k.Algorithm)
	return public, err
}

// Assertion is what a client says of itself (RFC 7523 section 3), signed by a key of
// its own. Whether it fits the moment is for others to tell.
type Assertion struct {
	Issuer, Subject, ID string
	Audience            string // the only one
	Expires             time.Time
	// IssuedAt and NotBefore are zero where they are absent.
	IssuedAt, NotBefore time.Time
}

// AssertedSubject is whom an assertion is said to be of, before anything of it is
// believed: it says whose keys to verify it with.
func AssertedSubject(s string) (string, error) {
	_, _, claims, err := openAssertion(s)
	return claims.Subject, err
}

type assertionHeader struct {
	Type      string         `json:"typ"`
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"`
	Critical  jsontext.Value `json:"crit"`
	Encoding  jsontext.Value `json:"b64"`
}

// OpenAssertion verifies an assertion by one of the keys. Its errors are ErrInvalid.
func OpenAssertion(s string, keys []JWK) (Assertion, error) {
	h, signature, claims, err := openAssertion(s)
	if err != nil {
		return Assertion{}, err
	}
	signed := []byte(s[:strings.LastIndexByte(s, '.')])
	for i := range keys {
		k := &keys[i]
		if k.Algorithm != h.Algorithm || h.KeyID != "" && k.KeyID != "" && k.KeyID != h.KeyID {
			continue
		}
		if public, err := k.public(); err == nil && verifyForeign(public, signed, signature) {
			return claims, nil
		}
	}
	return Assertion{}, errProof("no key of the client has signed it")
}

func openAssertion(s string) (h assertionHeader, signature []byte, a Assertion, err error) {
	parts := strings.Split(s, ".")
	if len(s) > maxProof || len(parts) != 3 {
		return h, nil, a, errProof("it is no JWT")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var ok bool
		if decoded[i], ok = decodeSegment([]byte(part)); !ok || len(part) == 0 {
			return h, nil, a, errProof("it is no JWT")
		}
	}
	if err := json.Unmarshal(decoded[0], &h); err != nil {
		return h, nil, a, errProof("its header cannot be read")
	}
	switch {
	case h.Type != "" && !strings.EqualFold(h.Type, "JWT") && h.Type != "client-authentication+jwt":
		return h, nil, a, errProof("its typ is of something else")
	case h.Critical != nil || h.Encoding != nil:
		return h, nil, a, errProof("it uses extensions that are not understood")
	}
	a, err = assertionClaims(decoded[1])
	return h, decoded[2], a, err
}

func assertionClaims(payload []byte) (a Assertion, err error) {
	var c struct {
		Issuer    string         `json:"iss"`
		Subject   string         `json:"sub"`
		Audience  jsontext.Value `json:"aud"`
		ID        string         `json:"jti"`
		Expires   *int64         `json:"exp"`
		IssuedAt  *int64         `json:"iat"`
		NotBefore *int64         `json:"nbf"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return a, errProof("its claims cannot be read")
	}
	audience := ""
	if json.Unmarshal(c.Audience, &audience) != nil {
		var list []string
		if json.Unmarshal(c.Audience, &list) != nil || len(list) != 1 {
			return a, errProof("aud must name one alone")
		}
		audience = list[0]
	}
	if c.Issuer == "" || c.Subject == "" || audience == "" || c.ID == "" || len(c.ID) > maxProofID || c.Expires == nil {
		return a, errProof("iss, sub, aud, jti or exp is missing, or jti is too long")
	}
	a = Assertion{Issuer: c.Issuer, Subject: c.Subject, Audience: audience, ID: c.ID, Expires: time.Unix(*c.Expires, 0)}
	if c.IssuedAt != nil {
		a.IssuedAt = time.Unix(*c.IssuedAt, 0)
	}
	if c.NotBefore != nil {
		a.NotBefore = time.Unix(*c.NotBefore, 0)
	}
	return a, nil
}

// CertificateHash is x5t#S256 (RFC 8705 section 3.1).
func CertificateHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return segments.EncodeToString(sum[:])
}
