package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// What clients are told in a JWT. These are no tokens of ours: Verify accepts
// neither, whatever kinds it is told to.
const (
	kindID     Kind = "id_token"
	kindLogout Kind = "logout_token"
)

// IDToken is what a client learns about a login (OpenID Connect Core section 2).
type IDToken struct {
	Issuer string `json:"iss"`
	// Subject is the user's id and not the name, which can be given to another
	// user later.
	Subject  string `json:"sub"`
	Audience string `json:"aud"` // the client
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	AuthTime int64  `json:"auth_time,omitzero"`
	Nonce    string `json:"nonce,omitzero"`
	Session  string `json:"sid,omitzero"`
	// AccessHash is of the access token that comes along.
	AccessHash string   `json:"at_hash,omitzero"`
	Methods    []string `json:"amr,omitzero"`
}

// MintID signs t for a client of a tenant. access is the access token that comes
// along.
func (r *Ring) MintID(tenant string, t IDToken, access string) (string, error) {
	h := r.signing(&Claims{Kind: kindID, Tenant: tenant, ClientID: t.Audience, UserID: t.Subject})
	t.Issuer, t.AccessHash = r.issuer, halfHash(h.key.Algorithm, access)
	return h.statement(t)
}

// halfHash is OpenID Connect Core section 3.1.3.6: the left half, by the hash that
// belongs to the algorithm; for Ed25519 that is SHA-512.
func halfHash(algorithm, text string) string {
	if algorithm == EdDSA {
		sum := sha512.Sum512([]byte(text))
		return segments.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(text))
	return segments.EncodeToString(sum[:16])
}

// LogoutToken tells a client that a session is over (OpenID Connect Back-Channel
// Logout section 2.4).
type LogoutToken struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	ID       string              `json:"jti"`
	Session  string              `json:"sid"`
	Events   map[string]struct{} `json:"events"`
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutTTL is short: a client that is told again gets another one.
const logoutTTL = 2 * time.Minute

// MintLogout tells a client of a tenant that a session is over.
func (r *Ring) MintLogout(tenant, client, userID string, session SessionID, now time.Time) (string, error) {
	return r.signing(&Claims{Kind: kindLogout, Tenant: tenant, ClientID: client, UserID: userID}).statement(LogoutToken{
		Issuer: r.issuer, Subject: userID, Audience: client, IssuedAt: now.Unix(), Expires: now.Add(logoutTTL).Unix(),
		ID: rand.Text(), Session: session.String(), Events: map[string]struct{}{logoutEvent: {}},
	})
}

func (h *header) statement(payload any) (string, error) {
	text, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("mint: %w", err)
	}
	signed := []byte(h.segment + "." + segments.EncodeToString(text))
	signature, err := h.key.sign(signed)
	if err != nil {
		return "", fmt.Errorf("mint: sign with key %s: %w", h.key.ID, err)
	}
	return string(signed) + "." + segments.EncodeToString(signature), nil
}

// OpenID reads an ID token of ours that a client brings back, also one that has
// expired: it says whose session the client means. Its errors are ErrInvalid.
func (r *Ring) OpenID(s string) (IDToken, error) {
	parts := strings.Split(s, ".")
	if len(s) > maxLength || len(parts) != 3 {
		return IDToken{}, ErrMalformed
	}
	h := r.state.Load().headers[parts[0]]
	if h == nil || h.kind != kindID {
		return IDToken{}, ErrUnknownKey
	}
	signature, ok := decodeSegment([]byte(parts[2]))
	if !ok || !h.key.verify([]byte(parts[0]+"."+parts[1]), signature) {
		return IDToken{}, ErrSignature
	}
	payload, ok := decodeSegment([]byte(parts[1]))
	var t IDToken
	if !ok || json.Unmarshal(payload, &t, json.RejectUnknownMembers(true)) != nil || t.Issuer != r.issuer {
		return IDToken{}, ErrClaims
	}
	return t, nil
}
