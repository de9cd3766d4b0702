package gateway

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// jwt is a token whose payload is claims and whose signature is worthless.
func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

func TestTokenAndTenantAreExtractedByOkapisMatrix(t *testing.T) {
	a, b := jwt(`{"tenant":"diku","sub":"a"}`), jwt(`{"tenant":"other","sub":"b"}`)
	const conflict = "Different tokens in Authentication and X-Okapi-Token. Use only one of them"
	for _, test := range []struct {
		name                           string
		token, auth, cookie, tenant    string
		wantToken, wantTenant, refused string
		fromCookie                     bool
	}{
		{name: "nothing", wantTenant: "supertenant"},
		{name: "header and tenant", token: a, tenant: "t", wantToken: a, wantTenant: "t"},
		{name: "bearer", auth: "Bearer " + a, wantToken: a, wantTenant: "diku"},
		{name: "authorization without scheme", auth: a, wantToken: a, wantTenant: "diku"},
		{name: "all three alike", token: a, auth: "Bearer " + a, cookie: "folioAccessToken=" + a, wantToken: a, wantTenant: "diku"},
		{name: "header against bearer", token: a, auth: "Bearer " + b, refused: conflict},
		{name: "header against cookie", token: a, cookie: "folioAccessToken=" + b, refused: conflict},
		{name: "bearer against cookie", auth: "Bearer " + a, cookie: "folioAccessToken=" + b, refused: conflict},
		{name: "two cookies alike", cookie: "folioAccessToken=" + a + "; folioAccessToken=" + a, refused: conflict},
		{name: "two cookies", cookie: "folioAccessToken=" + a + "; folioAccessToken=" + b, tenant: "t", refused: conflict},
		{name: "another cookie", cookie: "other=1", tenant: "t", wantTenant: "t"},
		{name: "bearer in lower case is part of the token", auth: "bearer " + a, tenant: "t", wantToken: "bearer " + a, wantTenant: "t"},
		{name: "malformed twice", token: "xx", auth: "Bearer xx", refused: "Invalid Token: Missing . separator for token"},

		{name: "bearer with spaces", auth: "Bearer   " + a + " ", wantToken: a, wantTenant: "diku"},
		{name: "basic is taken whole", auth: "Basic dTpw", tenant: "t", wantToken: "Basic dTpw", wantTenant: "t"},
		{name: "empty bearer is none", auth: "Bearer ", tenant: "t", wantTenant: "t"},
		{name: "cookie alone", cookie: "folioAccessToken=" + a, wantToken: a, wantTenant: "diku", fromCookie: true},
		{name: "bearer and cookie alike", auth: "Bearer " + a, cookie: "folioAccessToken=" + a, wantToken: a, wantTenant: "diku"},
		{name: "header and cookie alike", token: a, cookie: "folioAccessToken=" + a, wantToken: a, wantTenant: "diku"},
		{name: "cookie among others", cookie: "x=1; folioAccessToken=" + a + ";y", tenant: "t", wantToken: a, wantTenant: "t", fromCookie: true},
		{name: "quoted cookie", cookie: `folioAccessToken="` + a + `"`, wantToken: a, wantTenant: "diku", fromCookie: true},
		{name: "no spaces and empty cookies", cookie: "other = y;;folioAccessToken=" + a + ";", wantToken: a, wantTenant: "diku", fromCookie: true},
		{name: "cookie with an illegal character is none", cookie: `folioAccessToken=a\b`, tenant: "t", wantTenant: "t"},
		{name: "cookie with a space before the sign is none", cookie: "folioAccessToken =" + a, tenant: "t", wantTenant: "t"},
		{name: "empty cookie is none", cookie: "folioAccessToken=", tenant: "t", wantTenant: "t"},
		{name: "header wins over the claim", token: a, tenant: "other", wantToken: a, wantTenant: "other"},
		{name: "no claim", token: jwt(`{"sub":"a"}`), wantToken: jwt(`{"sub":"a"}`), wantTenant: "supertenant"},
		{name: "garbage with a tenant is for the verifier", token: "garbage", tenant: "t", wantToken: "garbage", wantTenant: "t"},

		{name: "one letter", token: "a", refused: "Invalid Token: Missing . separator for token"},
		{name: "one dot", token: "a.b", refused: "Invalid Token: Missing . separator for token"},
		{name: "short base64", token: "a.b.c", refused: "Invalid Token: Input byte[] should at least have 2 bytes for base64 bytes"},
		{name: "JSON that ends early", token: "a.ewo=.d", refused: "Invalid Token: Unexpected end-of-input in payload"},
		{name: "no payload", token: "a..d", refused: "Invalid Token: Unexpected end-of-input in payload"},
		{name: "no base64", token: "a.!!!.d", refused: "Invalid Token: Payload is not base64"},
		{name: "no object", token: jwt(`[]`), refused: "Invalid Token: Payload is not a JSON object with a tenant"},
		{name: "tenant that is no string", token: jwt(`{"tenant":1}`), refused: "Invalid Token: Payload is not a JSON object with a tenant"},
		{name: "two tenants", token: jwt(`{"tenant":"a","tenant":"b"}`), refused: "Invalid Token: Payload is not a JSON object with a tenant"},
		{name: "huge", token: strings.Repeat("a", maxToken+1), tenant: "t", refused: "Invalid Token: too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			for name, value := range map[string]string{
				"X-Okapi-Token": test.token, "Authorization": test.auth, "Cookie": test.cookie, "X-Okapi-Tenant": test.tenant,
			} {
				if value != "" {
					h.Set(name, value)
				}
			}
			got, err := ExtractClaim(h, "", UnverifiedTenant)
			if test.refused != "" {
				if r := refusal(t, err); r.Status != http.StatusBadRequest || r.Text != test.refused {
					t.Fatalf("refused with %d %q, want 400 %q", r.Status, r.Text, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := Claim{Token: test.wantToken, Tenant: test.wantTenant, FromCookie: test.fromCookie}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestT25ConflictingDuplicatesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		header  http.Header
		refused bool
	}{
		{"tokens", http.Header{"X-Okapi-Token": {"a.e30.c", "b.e30.c"}}, true},
		{"tokens, one empty", http.Header{"X-Okapi-Token": {"", "b.e30.c"}}, true},
		{"tokens alike", http.Header{"X-Okapi-Token": {"a.e30.c", "a.e30.c"}}, false},
		{"authorizations", http.Header{"Authorization": {"Bearer a.e30.c", "Bearer b.e30.c"}}, true},
		{"authorizations alike", http.Header{"Authorization": {"Bearer a.e30.c", "Bearer a.e30.c"}}, false},
		{"tenants", http.Header{"X-Okapi-Tenant": {"diku", "other"}}, true},
		{"tenants alike", http.Header{"X-Okapi-Tenant": {"diku", "diku"}}, false},
		{"module ids", http.Header{"X-Okapi-Module-Id": {"a-1", "b-1"}}, true},
		{"cookies in two lines", http.Header{"Cookie": {"folioAccessToken=a.e30.c", "folioAccessToken=a.e30.c"}}, true},
		{"header and cookie", http.Header{"X-Okapi-Token": {"a.e30.c"}, "Cookie": {"x=1", "folioAccessToken=b.e30.c"}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ExtractClaim(test.header, "", UnverifiedTenant)
			if !test.refused {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if r := refusal(t, err); r.Status != http.StatusBadRequest || strings.Contains(r.Text, "e30") {
				t.Errorf("refused with %d %q", r.Status, r.Text)
			}
		})
	}
}

func TestT30ATokenInTheURLIsNoToken(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/a?access_token=x.y.z&X-Okapi-Token=x.y.z&folioAccessToken=x.y.z&tenant=diku#x.y.z", nil)
	got, err := ExtractClaim(r.Header, "", UnverifiedTenant)
	if err != nil || got != (Claim{Tenant: "supertenant"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestT21TokensUnderAliasNamesAreNotRead(t *testing.T) {
	h := http.Header{"X_okapi_token": {"a.b.c"}, "X_okapi_tenant": {"diku"}, "X_okapi_module_id": {"m-1"}}
	if got, err := ExtractClaim(h, "", UnverifiedTenant); err != nil || got != (Claim{Tenant: "supertenant"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTheTenantOfAnInvokePathMustAgreeWithTheHeader(t *testing.T) {
	for _, test := range []struct{ path, header, want, refused string }{
		{"diku", "", "diku", ""},
		{"diku", "diku", "diku", ""},
		{"diku", "other", "", "Different tenants in the path and in X-Okapi-Tenant. Use only one of them"},
		{"${x}", "", "", "tenantId must not contain ${"},
		{"$%7Bx%7D", "", "", "tenantId must not contain ${"},
	} {
		h := http.Header{"X-Okapi-Module-Id": {"m-1"}}
		if test.header != "" {
			h.Set("X-Okapi-Tenant", test.header)
		}
		got, err := ExtractClaim(h, test.path, UnverifiedTenant)
		if test.refused != "" {
			if r := refusal(t, err); r.Text != test.refused {
				t.Errorf("%+v refused with %q", test, r.Text)
			}
			continue
		}
		if err != nil || got.Tenant != test.want || got.ModuleID != "m-1" {
			t.Errorf("%+v: got %+v, %v", test, got, err)
		}
	}
}

func TestSplitInvoke(t *testing.T) {
	for _, test := range []struct {
		path, tenant, rest string
		ok                 bool
	}{
		{"/_/invoke/tenant/diku/saml/callback", "diku", "/saml/callback", true},
		{"/_/invoke/tenant/diku/", "diku", "/", true},
		{"/_/invoke/tenant/diku", "", "", false},
		{"/_/invoke/tenant//x", "", "", false},
		{"/_/invoke/tenant/", "", "", false},
		{"/_/proxy/tenants/diku/x", "", "", false},
	} {
		tenant, rest, ok := SplitInvoke(test.path)
		if tenant != test.tenant || rest != test.rest || ok != test.ok {
			t.Errorf("%s: %q, %q, %v", test.path, tenant, rest, ok)
		}
	}
}

func TestTheTenantReaderIsAskedOnlyWithoutAHeader(t *testing.T) {
	boom := func(string) (string, error) { return "", errors.New("unreadable") }
	h := http.Header{"X-Okapi-Token": {"a.b.c"}, "X-Okapi-Tenant": {"diku"}}
	if _, err := ExtractClaim(h, "", boom); err != nil {
		t.Error(err)
	}
	h.Del("X-Okapi-Tenant")
	_, err := ExtractClaim(h, "", boom)
	if r := refusal(t, err); r.Text != "Invalid Token: unreadable" {
		t.Errorf("refused with %q", r.Text)
	}
}
