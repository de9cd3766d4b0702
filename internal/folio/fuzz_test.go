package folio_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Whatever is sent, the answer is a refusal in a known shape: never a fault of
// ours, never a token.

func FuzzLoginBody(f *testing.F) {
	w := newWorld(f, setup{})
	for _, seed := range []string{
		`{"username":"reader","password":"x"}`, `{"userId":"` + readerID + `","password":"x","tenant":"diku"}`,
		`{"username":"reader","username":"x"}`, `{"uſername":1}`, "{\"username\":\"\xff\"}", `{`, ``, `null`, `[]`, `{"a":[[[[]]]]}`,
		`{"username":"\ud800","password":"\u0000"}`, `{"username":"*","password":"` + strings.Repeat("x", 2000) + `"}`,
	} {
		f.Add(seed, "application/json", "diku")
	}
	f.Fuzz(func(t *testing.T, body, media, tenant string) {
		w.t = t
		for _, path := range []string{"/authn/login", "/authn/login-with-expiry", "/bl-users/login-with-expiry"} {
			refusedCleanly(t, w, fuzzed(path, body, map[string]string{"Content-Type": media, "X-Okapi-Tenant": tenant}), 400, 413, 415, 422, 429)
		}
	})
}

func FuzzRefreshBody(f *testing.F) {
	w := newWorld(f, setup{})
	login := w.script("reader")
	raw := login.field("refreshToken")
	for _, seed := range []string{
		`{"refreshToken":"` + raw[:len(raw)-1] + `"}`, `{"refreshToken":"x","heal":"y"}`, `{"refreshToken":null}`, `{"heal":"AAAA"}`,
		`{"refreshToken":"` + login.field("accessToken") + `"}`, `{}`, ``, `{"refreshToken":"a","refreshToken":"b"}`, `"x"`, "\xff",
	} {
		f.Add(seed, "folioRefreshToken=x")
	}
	f.Fuzz(func(t *testing.T, body, cookie string) {
		w.t = t
		if strings.Contains(body+cookie, raw) {
			t.Skip("that is the token itself")
		}
		header := map[string]string{"Content-Type": "application/json", "Cookie": cookie}
		refusedCleanly(t, w, fuzzed("/authn/refresh", body, header), 400, 413, 415, 422)
		refusedCleanly(t, w, fuzzed("/authn/logout", body, header), 204, 400, 413, 415)
		refusedCleanly(t, w, fuzzed("/authn/logout-all", body, header), 400, 401, 413, 415)
	})
}

func FuzzCookieHeader(f *testing.F) {
	w := newWorld(f, setup{})
	raw := w.web("reader").cookies[session.RefreshCookie].Value
	for _, seed := range []string{
		"folioRefreshToken=x", "folioRefreshToken=a; folioRefreshToken=b", `folioRefreshToken="x"`, "folioRefreshToken", "=;=;", "a=b;;c",
		"folioRefreshToken=" + raw[:80], "counterfoilHeal1=x; counterfoilHeal1=y; counterfoilHeal9=z; counterfoilHeal=", "folioAccessToken=a.b.c",
		"counterfoilDevice=\x7f; $Version=1", strings.Repeat("a=b;", 1000),
	} {
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		w.t = t
		if strings.Contains(first+second, raw) {
			t.Skip("that is the token itself")
		}
		for _, path := range []string{"/authn/refresh", "/authn/logout", "/authn/logout-all"} {
			r := fuzzed(path, "", map[string]string{"Cookie": first})
			r.Header.Add("Cookie", second)
			refusedCleanly(t, w, r, 204, 400, 401, 403, 422)
		}
		r := fuzzed("/bl-users/_self", "", map[string]string{"Cookie": first})
		r.Method = http.MethodGet
		refusedCleanly(t, w, r, 400, 401)
	})
}

func fuzzed(path, body string, header map[string]string) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

func refusedCleanly(t *testing.T, w *world, r *http.Request, allowed ...int) {
	t.Helper()
	recorder := httptest.NewRecorder()
	w.public.ServeHTTP(recorder, r)
	a := w.read(recorder.Result())
	ok := false
	for _, status := range allowed {
		ok = ok || a.status == status
	}
	if !ok || strings.Contains(a.body, "cfrt_") || strings.Contains(a.body, "eyJ") {
		t.Errorf("%s: %d %s", r.URL.Path, a.status, a.body)
	}
	for _, c := range a.cookies {
		if c.Value != "" {
			t.Errorf("%s set cookie %s", r.URL.Path, c.Name)
		}
	}
}
