package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/server"
)

// folioKey is a jwt.signing.key of mod-authtoken.
const folioKey = "0123456789abcdef0123456789abcdef"

// besideAuthtoken is a branch in which tokens of mod-authtoken count for two
// days, and those that never expire for one, in diku alone.
func besideAuthtoken(t *testing.T) *branch {
	return openBranch(t, func(c *server.Config) {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(folioKey), 0o600); err != nil {
			t.Fatal(err)
		}
		day := func(n int) string { return c.Now().AddDate(0, 0, n).Format(time.RFC3339) }
		c.Authtoken = server.AuthtokenSettings{KeyFile: file, Until: day(2), LegacyTenants: []string{"diku"}, LegacyUntil: day(1)}
	})
}

// fromAuthtoken is a token as mod-authtoken signs it.
func fromAuthtoken(t *testing.T, key, tenant, kind string, issued, expires time.Time) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(key)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	claims := fmt.Sprintf(`{"sub":"reader","type":%q,"user_id":%q,"tenant":%q,"iat":%d`, kind, readerID, tenant, issued.Unix())
	if !expires.IsZero() {
		claims += fmt.Sprintf(`,"exp":%d`, expires.Unix())
	}
	signed, err := signer.Sign([]byte(claims + "}"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Lines 7.1-18 to 7.1-20 and 7.1-22 of mod-authtoken's own tests, in a tenant
// whose clients still need tokens that never expire.
func TestLegacySign(t *testing.T) {
	b := besideAuthtoken(t)
	const tok = "X-Okapi-Token"
	login := func() string { return b.modules("auth.sign-and-refresh-token.all") }
	payload := func(p map[string]any) any { return map[string]any{"payload": p} }
	user := payload(map[string]any{"sub": "reader", "user_id": readerID})
	sign := func(body any, token string) *reply {
		t.Helper()
		return b.handle("POST", "/token", body, tok, token)
	}

	t.Run("a token without end passes the filter", func(t *testing.T) {
		signed := sign(user, login()).want(t, 201, `"token":"ey`).json.Token
		b.ask("/x", tok, signed, required, "orders.collection.get").want(t, 202, "")
		b.wait(23 * time.Hour)
		b.ask("/x", tok, signed).want(t, 202, "")
	})
	t.Run("who may not", func(t *testing.T) {
		sign(user, b.access()).want(t, 401, "Missing required module-level permissions for endpoint '/token': auth.token.post")
		sign(user, b.modules("auth.token.sign.post")).want(t, 401, "auth.token.post")
		b.handle("POST", "/token", user).want(t, 401, "auth.token.post")
		b.handle("PUT", "/token", user, tok, login()).want(t, 405, "")
		b.handle("POST", "/refreshtoken", map[string]any{"userId": readerID, "sub": "reader"}, tok, login()).want(t, 404, "")
	})
	t.Run("bodies", func(t *testing.T) {
		for _, body := range []any{
			map[string]any{},
			map[string]any{"payload": nil},
			map[string]any{"payload": "x"},
			map[string]any{"other": 1},
			"text",
			payload(map[string]any{"user_id": readerID}), payload(map[string]any{"sub": "", "user_id": readerID}),
			payload(map[string]any{"sub": strings.Repeat("x", 256), "user_id": readerID}),
			payload(map[string]any{"sub": "reader"}), payload(map[string]any{"sub": "reader", "user_id": "not a UUID"}),
			payload(map[string]any{"sub": "reader", "user_id": "9eb67301-6f6e-468f-9b1a-6134dc39a684"}),
			payload(map[string]any{"sub": "somebody else", "user_id": readerID}),
		} {
			if got := sign(body, login()); got.status != 400 {
				t.Errorf("%v: %d %s", body, got.status, got.body)
			}
		}
	})
	t.Run("a dummy expires", func(t *testing.T) {
		dummy := sign(payload(map[string]any{"sub": "x", "dummy": true}), login()).want(t, 201, "").json.Token
		if c := b.claims(dummy); c.Expires.IsZero() {
			t.Errorf("%+v", c)
		}
	})
	t.Run("another tenant", func(t *testing.T) {
		got, err := b.send("POST", b.URL(server.Public)+"/token", user, "X-Okapi-Tenant", "supertenant", "X-Okapi-Url", b.okapi.url, tok, login())
		b.must(err)
		got.want(t, 404, "Tenant not a legacy token tenant")
	})
	t.Run("after the day", func(t *testing.T) {
		signed := sign(user, login()).want(t, 201, "").json.Token
		b.wait(2 * time.Hour)
		b.ask("/x", tok, signed).want(t, 401, "Invalid token")
		sign(user, login()).want(t, 404, "Tenant not a legacy token tenant")
	})
}

// While an installation moves over, the filter takes what mod-authtoken signed,
// and nothing that only looks like it.
func TestTokensOfAuthtokenThroughTheFilter(t *testing.T) {
	b := besideAuthtoken(t)
	const tok = "X-Okapi-Token"
	now := b.config.Now()
	access := fromAuthtoken(t, folioKey, "diku", "access", now, now.Add(10*time.Minute))
	legacy := fromAuthtoken(t, folioKey, "diku", "legacy-access", now.AddDate(-3, 0, 0), time.Time{})
	for name, raw := range map[string]string{"access": access, "legacy": legacy} {
		got := b.ask("/x", tok, raw, required, "orders.collection.get", lent, `{"mod-orders-1.0.0":["users.item.get"]}`).want(t, 202, "")
		got.wantHeader(t, "X-Okapi-User-Id", readerID)
		if c := b.claims(got.tokens(t)["mod-orders-1.0.0"]); c.UserID != readerID || c.Module != "mod-orders-1.0.0" {
			t.Errorf("%s: the module's token is %+v", name, c)
		}
		b.ask("/x", tok, raw, required, "not.his").want(t, 403, "requires permission: not.his")
	}
	other := strings.Repeat("x", 32)
	for name, raw := range map[string]string{
		"another key":            fromAuthtoken(t, other, "diku", "access", now, now.Add(time.Minute)),
		"another tenant":         fromAuthtoken(t, folioKey, "supertenant", "access", now, now.Add(time.Minute)),
		"legacy of other tenant": fromAuthtoken(t, folioKey, "supertenant", "legacy-access", now, time.Time{}),
		"access without an end":  fromAuthtoken(t, folioKey, "diku", "access", now, time.Time{}),
		"a module's":             fromAuthtoken(t, folioKey, "diku", "module", now, now.Add(time.Minute)),
		"a refresh token's kind": fromAuthtoken(t, folioKey, "diku", "refresh", now, now.Add(time.Minute)),
	} {
		if got := b.ask("/x", tok, raw); got.status != 401 && got.status != 403 {
			t.Errorf("T10: %s: %d %s", name, got.status, got.body)
		}
	}
	b.wait(11 * time.Minute)
	b.ask("/x", tok, access).want(t, 401, "TOKEN_EXPIRED")
	b.ask("/x", tok, legacy).want(t, 202, "")
	b.wait(24 * time.Hour)
	b.ask("/x", tok, legacy).want(t, 401, "Invalid token")
}
