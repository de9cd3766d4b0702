package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

const (
	folioUser = "9eb67301-6f6e-468f-9b1a-6134dc39a684"
	folioKey  = "0123456789abcdef0123456789abcdef"
	folioJTI  = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"
)

var folioNow = time.Unix(1_704_067_200, 0)

func folioReader(t *testing.T, key string) *FOLIO {
	t.Helper()
	f, _, err := NewFOLIO(key)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// oldJWS and oldJWE write what mod-authtoken writes, with any key.
func oldJWS(t *testing.T, alg jose.SignatureAlgorithm, key any, payload string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func oldJWE(t *testing.T, enc jose.ContentEncryption, key, payload string, compress jose.CompressionAlgorithm) string {
	t.Helper()
	encrypter, err := jose.NewEncrypter(enc, jose.Recipient{Algorithm: jose.DIRECT, Key: []byte(key)}, &jose.EncrypterOptions{Compression: compress})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := encrypter.Encrypt([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := sealed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func oldClaims(kind string, expires int64) string {
	return fmt.Sprintf(`{"type":%q,"exp":%d,"iat":%d,"sub":"jürgen","user_id":%q,"tenant":"diku","jti":%q,"prn":"refresh","address":"10.0.0.1"}`,
		kind, expires, folioNow.Unix()-10, folioUser, folioJTI)
}

func TestFOLIOAccessTokenIsReadWithUmlauts(t *testing.T) {
	c, legacy, err := folioReader(t, folioKey).Verify(oldJWS(t, jose.HS256, []byte(folioKey), oldClaims("access", folioNow.Unix()+1)), folioNow)
	if err != nil || legacy || c.Subject != "jürgen" || c.UserID != folioUser || c.Tenant != "diku" || c.Kind != KindAccess || !c.Session.IsZero() {
		t.Fatalf("%+v %v %v", c, legacy, err)
	}
}

// mod-authtoken takes the bytes of the key, cuts and fills up.
func TestFOLIOSigningKeyIsTakenAsModAuthtokenDoes(t *testing.T) {
	for name, c := range map[string]struct {
		given, used string
		weak        bool
	}{
		"32 bytes":              {folioKey, folioKey, false},
		"longer is cut":         {folioKey + "more", folioKey, false},
		"shorter is filled up":  {"folio-demo", "folio-demo" + strings.Repeat("\x00", 22), true},
		"umlauts are two bytes": {strings.Repeat("ü", 16) + "x", strings.Repeat("ü", 16), false},
	} {
		f, weak, err := NewFOLIO(c.given)
		if err != nil || weak != c.weak {
			t.Errorf("%s: weak %v, %v", name, weak, err)
			continue
		}
		if _, _, err := f.Verify(oldJWS(t, jose.HS256, []byte(c.used), oldClaims("access", folioNow.Unix()+1)), folioNow); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := NewFOLIO(""); err == nil {
		t.Error("no key is a key of zeros")
	}
}

func TestFOLIOTokensWithoutTypeAreThoseOfOldVersions(t *testing.T) {
	f := folioReader(t, folioKey)
	plain := fmt.Sprintf(`{"sub":"a","user_id":%q,"tenant":"diku"}`, folioUser)
	if _, legacy, err := f.Verify(oldJWS(t, jose.HS256, []byte(folioKey), plain), folioNow); err != nil || !legacy {
		t.Errorf("legacy %v, %v", legacy, err)
	}
	dummy := `{"sub":"UNDEFINED_USER__1","tenant":"diku","dummy":true}`
	if _, _, err := f.Verify(oldJWS(t, jose.HS256, []byte(folioKey), dummy), folioNow); !errors.Is(err, ErrKind) {
		t.Errorf("a dummy: %v", err)
	}
}

func TestT10KindsOfModAuthtokenDoNotPassForEachOther(t *testing.T) {
	f := folioReader(t, folioKey)
	later := folioNow.Unix() + 100
	for _, kind := range []string{"refresh", "module", "dummy", "dummy-expiring", "api", "", "Access"} {
		if _, _, err := f.Verify(oldJWS(t, jose.HS256, []byte(folioKey), oldClaims(kind, later)), folioNow); !errors.Is(err, ErrInvalid) {
			t.Errorf("signed %q as access token: %v", kind, err)
		}
	}
	for _, kind := range []string{"access", "legacy-access", "module", "dummy", "api", ""} {
		if _, err := f.OpenRefresh(oldJWE(t, jose.A256GCM, folioKey, oldClaims(kind, later), jose.NONE), folioNow); !errors.Is(err, ErrInvalid) {
			t.Errorf("encrypted %q as refresh token: %v", kind, err)
		}
	}
	signed := oldJWS(t, jose.HS256, []byte(folioKey), oldClaims("refresh", later))
	if _, err := f.OpenRefresh(signed, folioNow); !errors.Is(err, ErrInvalid) {
		t.Errorf("signed refresh token: %v", err)
	}
	sealed := oldJWE(t, jose.A256GCM, folioKey, oldClaims("access", later), jose.NONE)
	if _, _, err := f.Verify(sealed, folioNow); !errors.Is(err, ErrInvalid) {
		t.Errorf("encrypted access token: %v", err)
	}
}

func TestT11AlgorithmsThatModAuthtokenDoesNotUse(t *testing.T) {
	f := folioReader(t, folioKey)
	claims := oldClaims("access", folioNow.Unix()+100)
	good := oldJWS(t, jose.HS256, []byte(folioKey), claims)
	if _, _, err := f.Verify(good, folioNow); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for name, raw := range map[string]string{
		"none":           header(`{"alg":"none"}`) + "." + parts[1] + ".",
		"none, signed":   header(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2],
		"HS512":          oldJWS(t, jose.HS512, []byte(folioKey+folioKey), claims),
		"kid":            header(`{"alg":"HS256","kid":"../../dev/null"}`) + "." + parts[1] + "." + parts[2],
		"another key":    oldJWS(t, jose.HS256, []byte(strings.Repeat("k", 32)), claims),
		"key of zeros":   oldJWS(t, jose.HS256, make([]byte, 32), claims),
		"no signature":   parts[0] + "." + parts[1] + ".",
		"other payload":  parts[0] + "." + header(oldClaims("access", folioNow.Unix()+9999)) + "." + parts[2],
		"four parts":     good + ".",
		"claims doubled": oldJWS(t, jose.HS256, []byte(folioKey), strings.Replace(claims, `"tenant"`, `"tenant":"other","tenant"`, 1)),
	} {
		if _, _, err := f.Verify(raw, folioNow); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refresh := oldClaims("refresh", folioNow.Unix()+100)
	for name, raw := range map[string]string{
		"A128GCM":     oldJWE(t, jose.A128GCM, folioKey[:16], refresh, jose.NONE),
		"A128CBC":     oldJWE(t, jose.A128CBC_HS256, folioKey, refresh, jose.NONE),
		"compressed":  oldJWE(t, jose.A256GCM, folioKey, refresh, jose.DEFLATE),
		"another key": oldJWE(t, jose.A256GCM, strings.Repeat("k", 32), refresh, jose.NONE),
	} {
		if _, err := f.OpenRefresh(raw, folioNow); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFOLIORefreshTokenIsOpened(t *testing.T) {
	f := folioReader(t, folioKey)
	sealed := oldJWE(t, jose.A256GCM, folioKey, oldClaims("refresh", folioNow.Unix()+1), jose.NONE)
	if parts := strings.Split(sealed, "."); len(parts) != 5 || parts[1] != "" {
		t.Fatalf("not as mod-authtoken writes it: %d parts", len(parts))
	}
	got, err := f.OpenRefresh(sealed, folioNow)
	if err != nil || got.ID != folioJTI || got.UserID != folioUser || got.Tenant != "diku" || got.Subject != "jürgen" {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := f.OpenRefresh(sealed, folioNow.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("at exp: %v", err)
	}
}

func TestFOLIOAccessTokenExpires(t *testing.T) {
	raw := oldJWS(t, jose.HS256, []byte(folioKey), oldClaims("access", folioNow.Unix()))
	if _, _, err := folioReader(t, folioKey).Verify(raw, folioNow); !errors.Is(err, ErrExpired) {
		t.Errorf("at exp: %v", err)
	}
	without := fmt.Sprintf(`{"type":"access","iat":1,"sub":"a","user_id":%q,"tenant":"diku"}`, folioUser)
	if _, _, err := folioReader(t, folioKey).Verify(oldJWS(t, jose.HS256, []byte(folioKey), without), folioNow); !errors.Is(err, ErrClaims) {
		t.Errorf("without exp: %v", err)
	}
}

func TestLegacyTokenIsWrittenAsModAuthtokenWritesIt(t *testing.T) {
	f := folioReader(t, folioKey)
	raw, err := f.MintLegacy("diku", "jürgen", folioUser, folioNow)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	want := fmt.Sprintf(`{"type":"legacy-access","iat":%d,"tenant":"diku","sub":"jürgen","user_id":%q}`, folioNow.Unix(), folioUser)
	if parts[0] != "eyJhbGciOiJIUzI1NiJ9" || string(payload) != want {
		t.Errorf("%s %s", parts[0], payload)
	}
	if _, legacy, err := f.Verify(raw, folioNow.AddDate(50, 0, 0)); err != nil || !legacy {
		t.Errorf("legacy %v, %v", legacy, err)
	}
}

func TestT2TheSigningKeyIsNotPrinted(t *testing.T) {
	f := folioReader(t, folioKey)
	if text := fmt.Sprintf("%v %+v %#v %s", f, f, f, f); strings.Contains(text, folioKey) {
		t.Error(text)
	}
}
