package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// fake is a server that speaks one wire strictly. A token is good once.
type fake struct {
	mu   sync.Mutex
	good string
	n    int
	// wrong is what was not as the wire demands.
	wrong []string
}

func (f *fake) demand(ok bool, what string) {
	if !ok {
		f.wrong = append(f.wrong, what)
	}
}

// rotate exchanges a token, unless it is used up.
func (f *fake) rotate(token string) (next string, ok bool) {
	if token != f.good {
		return "", false
	}
	f.n++
	f.good = fmt.Sprintf("token/%d+=", f.n)
	return f.good, true
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// oauth is the token endpoint of Hydra and of Dex.
func (f *fake) oauth(path string, public bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.demand(r.Method == "POST" && r.URL.Path == path, "POST "+path+", not "+r.URL.Path)
		f.demand(r.Header.Get("Content-Type") == "application/x-www-form-urlencoded", "a form")
		f.demand(r.ParseForm() == nil && r.PostForm.Get("grant_type") == "refresh_token", "grant_type")
		id, secret, basic := r.BasicAuth()
		if public {
			f.demand(!basic && r.PostForm.Get("client_id") == "the app", "client_id")
		} else {
			f.demand(basic && id == "the+app" && secret == "s%3Acret", "Basic authentication, each part encoded")
		}
		next, ok := f.rotate(r.PostForm.Get("refresh_token"))
		if !ok {
			answer(w, 400, map[string]string{"error": "invalid_grant", "error_description": "The refresh token was used before."})
			return
		}
		answer(w, 200, map[string]any{"access_token": "a", "token_type": "bearer", "expires_in": 3599, "scope": "offline", "refresh_token": next, "id_token": "i"})
	}
}

func (f *fake) supabase(w http.ResponseWriter, r *http.Request) {
	f.demand(r.Method == "POST" && r.URL.Path == "/auth/v1/token" && r.URL.RawQuery == "grant_type=refresh_token", "POST /auth/v1/token?grant_type=refresh_token")
	f.demand(r.Header.Get("apikey") == "public", "apikey")
	var in struct {
		RefreshToken string `json:"refresh_token"`
	}
	f.demand(json.NewDecoder(r.Body).Decode(&in) == nil, "JSON")
	next, ok := f.rotate(in.RefreshToken)
	if !ok {
		answer(w, 400, map[string]any{"code": 400, "error_code": "refresh_token_already_used", "msg": "Invalid Refresh Token: Already Used"})
		return
	}
	// The user makes it long, so it comes in chunks.
	answer(w, 200, map[string]any{"user": map[string]string{"about": strings.Repeat("x", 5000)}, "refresh_token": next, "access_token": "a", "token_type": "bearer", "expires_in": 3600})
}

func (f *fake) okapi(r *http.Request) {
	f.demand(r.Header.Get("X-Okapi-Tenant") == "diku", "X-Okapi-Tenant")
	f.demand(r.Header.Get("X-Okapi-Url") != "", "X-Okapi-Url")
	f.demand(r.Method == "POST", "POST")
}

// inBody is mod-authtoken's POST /token/refresh, and Counterfoil's refresh.
func (f *fake) inBody(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.okapi(r)
		f.demand(r.URL.Path == path, path)
		var in map[string]string
		f.demand(json.NewDecoder(r.Body).Decode(&in) == nil && len(in) == 1, "an object with refreshToken alone")
		next, ok := f.rotate(in["refreshToken"])
		if !ok {
			http.Error(w, "Invalid token", http.StatusUnauthorized)
			return
		}
		answer(w, 201, map[string]string{
			"accessToken": "a", "refreshToken": next, "accessTokenExpiration": "2026-01-01T00:10:00Z",
			"refreshTokenExpiration": "2026-01-08T00:00:00Z", "tenantId": "diku",
		})
	}
}

// inCookie is mod-login's POST /authn/refresh.
func (f *fake) inCookie(w http.ResponseWriter, r *http.Request) {
	f.okapi(r)
	f.demand(r.URL.Path == "/authn/refresh", "/authn/refresh")
	sent := r.CookiesNamed("folioRefreshToken")
	body, _ := io.ReadAll(r.Body)
	f.demand(len(sent) == 1 && len(body) == 0, "one cookie and no body")
	next, ok := f.rotate(sent[0].Value)
	if !ok {
		answer(w, 422, map[string]any{"errors": []any{map[string]string{
			"message": "Authorization server unable to process token refresh request", "type": "error", "code": "token.refresh.unprocessable",
		}}, "total_records": 1})
		return
	}
	w.Header().Add("Set-Cookie", "folioAccessToken=a; Max-Age=600; Path=/; Secure; HTTPOnly; SameSite=Lax")
	w.Header().Add("Set-Cookie", "folioRefreshToken="+next+"; Max-Age=604800; Path=/authn; Secure; HTTPOnly; SameSite=Lax")
	answer(w, 201, map[string]string{"accessTokenExpiration": "2026-01-01T00:10:00Z", "refreshTokenExpiration": "2026-01-08T00:00:00Z"})
}

// exchange sends a request as it is.
func exchange(t *testing.T, address string, request []byte) *Answer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &Answer{Status: response.StatusCode, Body: body, Cookies: response.Header.Values("Set-Cookie")}
}

func TestAdaptersSpeakEachServersWire(t *testing.T) {
	for _, c := range []struct {
		adapter, path, refusal string
		target                 Target
		serve                  func(*fake) http.HandlerFunc
	}{
		{"hydra", "", "400 invalid_grant", Target{Client: "the app", Secret: "s:cret"}, func(f *fake) http.HandlerFunc { return f.oauth("/oauth2/token", false) }},
		{"hydra", "", "400 invalid_grant", Target{Client: "the app"}, func(f *fake) http.HandlerFunc { return f.oauth("/oauth2/token", true) }},
		{"dex", "/dex/", "400 invalid_grant", Target{Client: "the app", Secret: "s:cret"}, func(f *fake) http.HandlerFunc { return f.oauth("/dex/token", false) }},
		{"supabase", "/auth/v1", "400 refresh_token_already_used", Target{Headers: []string{"apikey: public"}}, func(f *fake) http.HandlerFunc { return f.supabase }},
		{"mod-authtoken", "", "401", Target{Tenant: "diku"}, func(f *fake) http.HandlerFunc { return f.inBody("/token/refresh") }},
		{"counterfoil", "", "401", Target{Tenant: "diku"}, func(f *fake) http.HandlerFunc { return f.inBody("/authn/refresh") }},
		{"mod-login", "", "422 token.refresh.unprocessable", Target{Tenant: "diku"}, func(f *fake) http.HandlerFunc { return f.inCookie }},
		{"counterfoil-cookie", "", "422 token.refresh.unprocessable", Target{Tenant: "diku"}, func(f *fake) http.HandlerFunc { return f.inCookie }},
	} {
		t.Run(c.adapter, func(t *testing.T) {
			f := &fake{good: "the-first"}
			serve := c.serve(f)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				f.mu.Lock()
				defer f.mu.Unlock()
				serve(w, r)
			}))
			defer server.Close()
			adapter, err := Find(c.adapter)
			if err != nil {
				t.Fatal(err)
			}
			if c.target.URL, err = url.Parse(server.URL + c.path); err != nil {
				t.Fatal(err)
			}
			token := "the-first"
			for range 3 {
				if token, err = adapter.Next(exchange(t, c.target.URL.Host, adapter.Request(&c.target, token))); err != nil {
					t.Fatal(err)
				}
			}
			_, err = adapter.Next(exchange(t, c.target.URL.Host, adapter.Request(&c.target, "the-first")))
			if err == nil || err.Error() != c.refusal {
				t.Errorf("a used token: %v, want %s", err, c.refusal)
			}
			if len(f.wrong) > 0 || f.n != 3 {
				t.Errorf("%d rotations; the server wanted %q", f.n, f.wrong)
			}
		})
	}
}

func TestAnswersWithoutATokenAreErrors(t *testing.T) {
	for _, adapter := range All {
		for _, body := range []string{"", "null", "[]", `{"refresh_token":"","refreshToken":7}`, `{"error":{}}`} {
			for _, status := range []int{200, 201, 500} {
				if token, err := adapter.Next(&Answer{Status: status, Body: []byte(body), Cookies: []string{"other=1"}}); err == nil {
					t.Errorf("%s took %d %s for the token %q", adapter.Name, status, body, token)
				}
			}
		}
	}
}
