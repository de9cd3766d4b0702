package token

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
)

// publicKeys reads our JWKS with go-jose.
func publicKeys(t testing.TB, text []byte) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() || k.Use != "sig" || k.Algorithm != "EdDSA" {
			t.Errorf("key %+v", k)
		}
	}
	return set
}

func TestGoJoseVerifiesOurAccessTokens(t *testing.T) {
	b := setup(t)
	tokens := []string{b.mint(t, claims(KindAccess))}
	rotate(t, b.Ring, PurposeAccess, true)
	tokens = append(tokens, b.mint(t, claims(KindAccess)), b.mint(t, claims(KindElevated)))
	set := publicKeys(t, b.JWKS())
	for _, s := range tokens {
		parsed, err := josejwt.ParseSigned(s, []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		var c josejwt.Claims
		if err := parsed.Claims(set, &c); err != nil {
			t.Fatal(err)
		}
		expected := josejwt.Expected{Issuer: "https://folio.example.org", AnyAudience: []string{"folio"}, Subject: "diku_admin", Time: start}
		if err := c.ValidateWithLeeway(expected, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestGolangJWTVerifiesOurAccessTokens(t *testing.T) {
	b := setup(t)
	set := publicKeys(t, b.JWKS())
	for _, kind := range []Kind{KindAccess, KindElevated} {
		parsed, err := jwt.Parse(b.mint(t, claims(kind)), func(token *jwt.Token) (any, error) {
			return set.Key(token.Header["kid"].(string))[0].Key.(ed25519.PublicKey), nil
		},
			jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer("https://folio.example.org"), jwt.WithAudience("folio"),
			jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return start }))
		if err != nil {
			t.Fatal(err)
		}
		if tenant := parsed.Claims.(jwt.MapClaims)["tenant"]; tenant != "diku" {
			t.Errorf("tenant %v", tenant)
		}
	}
}
