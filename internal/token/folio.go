package token

import (
	"fmt"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// FOLIOIssuer stands in Claims.Issuer for a token that mod-authtoken signed. Such
// a token names no session.
const FOLIOIssuer = "mod-authtoken"

// The headers that mod-authtoken writes, in base64url. As with our own tokens
// they are compared and never parsed, so nothing that a sender puts into one has
// an effect: other algorithms, "none", kid, jku, zip.
const (
	folioSigned     = "eyJhbGciOiJIUzI1NiJ9"                    // {"alg":"HS256"}
	folioEncrypted  = "eyJlbmMiOiJBMjU2R0NNIiwiYWxnIjoiZGlyIn0" // {"enc":"A256GCM","alg":"dir"}
	folioEncrypted2 = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0" // the same in the other order
	folioKeySize    = 32
)

// FOLIO reads tokens of mod-authtoken, and writes its one kind that never
// expires. It is for moving over: mod-authtoken signs and encrypts with one
// shared key, so whoever knows the key can be anybody.
type FOLIO struct{ key []byte }

// NewFOLIO takes jwt.signing.key as mod-authtoken does: its bytes, cut after 32
// and filled up with zeros. weak is whether they were filled up.
func NewFOLIO(signingKey string) (f *FOLIO, weak bool, err error) {
	if signingKey == "" {
		return nil, false, fmt.Errorf("jwt.signing.key is empty")
	}
	key := make([]byte, folioKeySize)
	n := copy(key, signingKey)
	return &FOLIO{key}, n < folioKeySize, nil
}

// String keeps the key out of logs.
func (*FOLIO) String() string { return "jwt.signing.key" }

// GoString keeps the key out of logs.
func (*FOLIO) GoString() string { return "jwt.signing.key" }

// IsFOLIO is whether s is written as mod-authtoken writes what it signs. It says
// nothing about who wrote it.
func IsFOLIO(s string) bool { return strings.HasPrefix(s, folioSigned+".") }

// FOLIORefresh is an opened refresh token of mod-authtoken: genuine, in time,
// and not yet looked up.
type FOLIORefresh struct {
	ID, Tenant, UserID, Subject string
	IssuedAt, Expires           time.Time
}

type folioClaims struct {
	Type     *string `json:"type"`
	IssuedAt int64   `json:"iat"`
	Expires  int64   `json:"exp"`
	Tenant   string  `json:"tenant"`
	Subject  string  `json:"sub"`
	UserID   string  `json:"user_id"`
	ID       string  `json:"jti"`
	Dummy    bool    `json:"dummy"`
}

const (
	folioAccess  = "access"
	folioLegacy  = "legacy-access"
	folioRefresh = "refresh"
)

// Verify reads an access token, or one that never expires: legacy, with a zero
// Expires. Claims.Kind is KindAccess for both. Every other kind is ErrKind,
// above all a module's, which never expires and is no user.
func (f *FOLIO) Verify(s string, now time.Time) (c Claims, legacy bool, err error) {
	if len(s) > maxLength {
		return c, false, ErrMalformed
	}
	if !IsFOLIO(s) {
		return c, false, ErrUnknownKey
	}
	signed, err := jose.ParseSignedCompact(s, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return c, false, ErrMalformed
	}
	payload, err := signed.Verify(f.key)
	if err != nil {
		return c, false, ErrSignature
	}
	wire, kind, err := readFOLIO(payload)
	if err != nil {
		return c, false, err
	}
	switch {
	case kind == folioLegacy:
		legacy = true
	case kind != folioAccess:
		return c, false, ErrKind
	case wire.Expires <= 0:
		return c, false, fmt.Errorf("%w: access token without exp", ErrClaims)
	case now.Unix() >= wire.Expires:
		return c, false, ErrExpired
	}
	c = Claims{
		Kind: KindAccess, Issuer: FOLIOIssuer, Tenant: wire.Tenant, Subject: wire.Subject, UserID: wire.UserID,
		IssuedAt: time.Unix(wire.IssuedAt, 0).UTC(),
	}
	if !legacy {
		c.Expires = time.Unix(wire.Expires, 0).UTC()
	}
	return c, legacy, nil
}

// OpenRefresh decrypts a refresh token.
func (f *FOLIO) OpenRefresh(s string, now time.Time) (FOLIORefresh, error) {
	head, _, _ := strings.Cut(s, ".")
	switch {
	case len(s) > maxLength:
		return FOLIORefresh{}, ErrMalformed
	case head != folioEncrypted && head != folioEncrypted2:
		return FOLIORefresh{}, ErrUnknownKey
	}
	sealed, err := jose.ParseEncryptedCompact(s, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return FOLIORefresh{}, ErrMalformed
	}
	payload, err := sealed.Decrypt(f.key)
	if err != nil {
		return FOLIORefresh{}, ErrForged
	}
	wire, kind, err := readFOLIO(payload)
	switch {
	case err != nil:
		return FOLIORefresh{}, err
	case kind != folioRefresh:
		return FOLIORefresh{}, ErrKind
	case wire.Expires <= 0 || wire.IssuedAt <= 0:
		return FOLIORefresh{}, fmt.Errorf("%w: refresh token without iat or exp", ErrClaims)
	case now.Unix() >= wire.Expires:
		return FOLIORefresh{}, ErrExpired
	}
	id, err := uuid.Parse(wire.ID)
	if err != nil {
		return FOLIORefresh{}, fmt.Errorf("%w: refresh token without jti", ErrClaims)
	}
	return FOLIORefresh{
		ID: id.String(), Tenant: wire.Tenant, UserID: wire.UserID, Subject: wire.Subject,
		IssuedAt: time.Unix(wire.IssuedAt, 0).UTC(), Expires: time.Unix(wire.Expires, 0).UTC(),
	}, nil
}

// readFOLIO reads a payload whose maker was proved. Old versions wrote no type.
// Further members, such as the address of versions before 2.16.2, mean nothing.
func readFOLIO(payload []byte) (wire folioClaims, kind string, err error) {
	if json.Unmarshal(payload, &wire) != nil {
		return wire, "", ErrClaims // the error would repeat the payload
	}
	kind = folioLegacy
	if wire.Type != nil {
		kind = *wire.Type
	}
	id, err := uuid.Parse(wire.UserID)
	switch {
	case wire.Dummy:
		return wire, "", ErrKind
	case kind != folioAccess && kind != folioLegacy && kind != folioRefresh:
		return wire, "", ErrKind
	case err != nil || wire.Tenant == "" || wire.Subject == "":
		return wire, "", fmt.Errorf("%w: tenant, sub or user_id is missing", ErrClaims)
	}
	wire.UserID = id.String()
	return wire, kind, nil
}

// MintLegacy writes an access token that never expires, as mod-authtoken's POST
// /token does. Both programs take it, as long as they are told to.
func (f *FOLIO) MintLegacy(tenant, subject, userID string, now time.Time) (string, error) {
	payload, err := json.Marshal(struct {
		Type     string `json:"type"`
		IssuedAt int64  `json:"iat"`
		Tenant   string `json:"tenant"`
		Subject  string `json:"sub"`
		UserID   string `json:"user_id"`
	}{folioLegacy, now.Unix(), tenant, subject, userID})
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: f.key}, nil)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
