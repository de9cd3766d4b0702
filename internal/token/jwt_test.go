package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestEveryKindComesBackAsMinted(t *testing.T) {
	b := setup(t)
	for _, kind := range allKinds {
		want := claims(kind)
		got, err := b.Verify(b.mint(t, want), start, kind)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-minted +verified):\n%s", kind, diff)
		}
	}
}

func TestAnyClaimsComeBackAsMinted(t *testing.T) {
	b := setup(t)
	text := rapid.StringN(1, 40, 200)
	rapid.Check(t, func(t *rapid.T) {
		c := claims(rapid.SampledFrom(allKinds).Draw(t, "kind"))
		c.Tenant, c.Subject = text.Draw(t, "tenant"), text.Draw(t, "subject")
		c.TenantEpoch = rapid.Uint64().Draw(t, "epoch")
		if len(c.Permissions) > 0 {
			c.Permissions = rapid.SliceOfN(text, 1, 5).Draw(t, "permissions")
		}
		if c.Kind == KindAccess || c.Kind == KindElevated {
			c.Gen = rapid.Uint64().Draw(t, "gen")
			c.Confirm = rapid.SampledFrom([]Confirmation{"", ConfirmKey(text.Draw(t, "thumbprint")), ConfirmCertificate(text.Draw(t, "hash"))}).Draw(t, "cnf")
		}
		if c.Kind != KindDummy {
			c.Scope = rapid.OneOf(rapid.Just(""), text).Draw(t, "scope")
		}
		s, err := b.Mint(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Verify(s, start, c.Kind)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestPayloadsCarryTheClaimsOfFOLIO(t *testing.T) {
	const common = `"tenant":"diku","iat":1704067200,"exp":1704067800,"te":2,"iss":"https://folio.example.org","aud":"folio",`
	const user = `"sub":"diku_admin","user_id":"9eb67301-6f6e-468f-9b1a-6134dc39a684","sid":"0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11","ue":3,`
	const login = `"client_id":"stripes","jti":"JTI4YR6ZPTM2KQJ5WX3CDGHN7B","gen":7,"auth_time":1704063600,`
	bare := claims(KindModule)
	bare.UserID, bare.Session, bare.UserEpoch, bare.Permissions = "", SessionID{}, 0, nil
	tests := []struct {
		name, typ, alg, payload string
		claims                  Claims
	}{
		{"access", "at+jwt", "EdDSA", `{` + common + user + login + `"type":"access"}`, claims(KindAccess)},
		{"elevated", "counterfoil-elevated+jwt", "EdDSA", `{` + common + user + login + `"type":"elevated","acr":"urn:counterfoil:acr:elevated","elevated_permissions":["users.item.delete"]}`, claims(KindElevated)},
		{"module", "folio-module+jwt", "HS256", `{` + common + user + `"type":"module","module":"mod-users-19.4.0","rid":"123456/users","extra_permissions":["perms.users.get"]}`, claims(KindModule)},
		{"module without user", "folio-module+jwt", "HS256", `{` + common + `"sub":"diku_admin","ue":0,"type":"module","module":"mod-users-19.4.0","rid":"123456/users","extra_permissions":[]}`, bare},
		{"dummy", "folio-dummy+jwt", "HS256", `{` + common + `"type":"dummy-expiring","sub":"UNDEFINED_USER__5b9c","dummy":true,"extra_permissions":["users-bl.password-reset-link.validate"]}`, claims(KindDummy)},
	}
	b := setup(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parts := strings.Split(b.mint(t, test.claims), ".")
			purpose := PurposeAccess
			if test.alg == "HS256" {
				purpose = PurposeModule
			}
			header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":%q}`, test.alg, b.activeID(purpose), test.typ)
			for i, want := range []string{header, test.payload} {
				got, err := base64.RawURLEncoding.DecodeString(parts[i])
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(readObject(t, want), readObject(t, string(got))); diff != "" {
					t.Errorf("part %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

// readObject reads JSON with a parser that is not the one under test.
func readObject(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return object
}

func TestMintDrawsAnIDForEachAccessToken(t *testing.T) {
	b := setup(t)
	c := claims(KindAccess)
	c.ID = ""
	seen := map[string]bool{}
	for range 10 {
		got, err := b.Verify(b.mint(t, c), start, KindAccess)
		if err != nil || got.ID == "" || seen[got.ID] {
			t.Fatalf("jti %q, error %v, seen %v", got.ID, err, seen)
		}
		seen[got.ID] = true
	}
}

func TestMintWritesIssuerAndAudienceOfTheRing(t *testing.T) {
	b := setup(t)
	c := claims(KindAccess)
	c.Issuer, c.Audience = "https://evil.example", "elsewhere"
	if got, err := b.Verify(b.mint(t, c), start, KindAccess); err != nil || got.Issuer != "https://folio.example.org" || got.Audience != "folio" {
		t.Errorf("got %q %q, %v", got.Issuer, got.Audience, err)
	}
}

// incomplete takes one needed thing away from a token.
var incomplete = []struct {
	kind Kind
	what string
	edit func(*Claims)
}{
	{KindAccess, "tenant", func(c *Claims) { c.Tenant = "" }},
	{KindAccess, "sub", func(c *Claims) { c.Subject = "" }},
	{KindAccess, "user_id", func(c *Claims) { c.UserID = "" }},
	{KindAccess, "client_id", func(c *Claims) { c.ClientID = "" }},
	{KindAccess, "sid", func(c *Claims) { c.Session = SessionID{} }},
	{KindAccess, "iat", func(c *Claims) { c.IssuedAt = time.Time{} }},
	{KindAccess, "exp", func(c *Claims) { c.Expires = time.Time{} }},
	{KindAccess, "exp after iat", func(c *Claims) { c.Expires = c.IssuedAt.Add(999 * time.Millisecond) }},
	{KindElevated, "user_id", func(c *Claims) { c.UserID = "" }},
	{KindElevated, "elevated_permissions", func(c *Claims) { c.Permissions = nil }},
	{KindModule, "module", func(c *Claims) { c.Module = "" }},
	{KindModule, "rid", func(c *Claims) { c.RequestID = "" }},
	{KindModule, "exp", func(c *Claims) { c.Expires = time.Time{} }},
	{KindDummy, "sub", func(c *Claims) { c.Subject = "" }},
	{KindDummy, "exp", func(c *Claims) { c.Expires = time.Time{} }},
	{KindDummy, "kind", func(c *Claims) { c.Kind = "legacy-access" }},
	{KindAccess, "UTF-8", func(c *Claims) { c.Subject = "\xff" }},
	{KindModule, "UTF-8", func(c *Claims) { c.Permissions = []string{"ok", "\xc3("} }},
}

func TestMintRefusesIncompleteClaims(t *testing.T) {
	b := setup(t)
	for _, test := range incomplete {
		c := claims(test.kind)
		test.edit(&c)
		if s, err := b.Mint(c); err == nil {
			t.Errorf("%s token without %s was minted: %s", test.kind, test.what, s)
		} else if errors.Is(err, ErrInvalid) {
			t.Errorf("%s token without %s: %v is taken for a bad token of a caller", test.kind, test.what, err)
		}
	}
}

func TestMintRefusesWhatVerifyWouldFindTooLong(t *testing.T) {
	b := setup(t)
	limits := map[Kind]int{KindAccess: 4 << 10, KindElevated: 8 << 10, KindModule: 8 << 10, KindDummy: 8 << 10}
	for kind, limit := range limits {
		c := claims(kind)
		longest := 0
		for n := limit * 5 / 8; n < limit; n++ {
			c.Subject = strings.Repeat("a", n)
			s, err := b.Mint(c)
			if err != nil {
				break
			}
			longest = len(s)
			if _, err := b.Verify(s, start, kind); err != nil {
				t.Fatalf("%s token of %d bytes was minted and refused: %v", kind, len(s), err)
			}
		}
		if longest > limit || longest < limit-2 {
			t.Errorf("longest %s token has %d bytes, want about %d", kind, longest, limit)
		}
	}
}

func TestT15ExpiryHasNoLeeway(t *testing.T) {
	b := setup(t)
	for _, kind := range allKinds {
		s := b.mint(t, claims(kind))
		exp := start.Add(10 * time.Minute)
		for _, test := range []struct {
			now  time.Time
			want error
		}{
			{start.Add(-90 * time.Second), nil}, // this node's clock is behind the issuer's
			{exp.Add(-time.Nanosecond), nil},
			{exp, ErrExpired},
			{exp.Add(time.Hour), ErrExpired},
		} {
			_, err := b.Verify(s, test.now, kind)
			if !errors.Is(err, test.want) || errors.Is(err, ErrInvalid) {
				t.Errorf("%s at exp%+v: %v, want %v", kind, test.now.Sub(exp), err, test.want)
			}
		}
	}
}

func TestExpiryIsCutToWholeSeconds(t *testing.T) {
	b := setup(t)
	c := claims(KindAccess)
	c.Expires = c.Expires.Add(900 * time.Millisecond)
	s := b.mint(t, c)
	if _, err := b.Verify(s, start.Add(10*time.Minute), KindAccess); !errors.Is(err, ErrExpired) {
		t.Errorf("in the second of exp: %v, want ErrExpired", err)
	}
}

func TestOnlyAGenuineTokenIsReportedAsExpired(t *testing.T) {
	b := setup(t)
	late := start.Add(time.Hour)
	s := b.mint(t, claims(KindAccess))
	if _, err := b.Verify(s[:len(s)-3]+"AAA", late, KindAccess); !errors.Is(err, ErrSignature) || errors.Is(err, ErrExpired) {
		t.Errorf("forged and expired: %v, want ErrSignature", err)
	}
	other := setup(t)
	if _, err := other.Verify(s, late, KindAccess); !errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrExpired) {
		t.Errorf("foreign and expired: %v, want ErrUnknownKey", err)
	}
}

func TestRefusedTokensGiveNoClaims(t *testing.T) {
	b := setup(t)
	s := b.mint(t, claims(KindAccess))
	for _, test := range []struct {
		now    time.Time
		accept Kind
	}{{start.Add(time.Hour), KindAccess}, {start, KindModule}} {
		if got, err := b.Verify(s, test.now, test.accept); err == nil || !cmp.Equal(got, Claims{}, cmpopts.EquateEmpty()) {
			t.Errorf("claims %+v beside error %v", got, err)
		}
	}
}
