package gateway_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// caller is one of the program's own, for alice, with what it was lent.
func (w *world) caller(lent ...string) *session.Caller {
	c := w.claims()
	c.Kind, c.Module, c.Permissions = token.KindModule, "mod-users-bl", lent
	return &session.Caller{Claims: c}
}

func TestCallGoesTheWayOfEveryRequest(t *testing.T) {
	w := echoing(t)
	status, body, err := w.gateway.Call(t.Context(), w.caller("echo.get"), "GET", "/items/7?query=a%3D%3Db", nil)
	w.must(err)
	got := answer{status: status, body: string(body)}.seen(t)
	if status != http.StatusOK || got.URI != "/items/7?query=a%3D%3Db" || got.Method != "GET" {
		t.Errorf("%d %+v", status, got)
	}
	claims, err := w.ring.Verify(got.Header.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil || claims.Module != "mod-echo-1.0.0" || claims.UserID != alice || len(claims.Permissions) != 0 {
		t.Errorf("token with %+v, %v", claims, err)
	}
	for name, want := range map[string]string{"X-Okapi-Tenant": "diku", "X-Okapi-User-Id": alice, "X-Okapi-Match-Path-Pattern": "/items/{id}", "X-Okapi-Url": w.internal} {
		if got.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	status, body, err = w.gateway.Call(t.Context(), w.caller("echo.get"), "POST", "/echo", []byte(`{"a":1}`))
	w.must(err)
	got = answer{status: status, body: string(body)}.seen(t)
	if got.Body != `{"a":1}` || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v", got)
	}
}

func TestCallIsRefusedAsAModuleIs(t *testing.T) {
	w := echoing(t)
	// Not even what the user was granted opens a route to us.
	_, _, err := w.gateway.Call(t.Context(), w.caller(), "GET", "/echo", nil)
	var refused *gateway.Denied
	if !errors.As(err, &refused) || refused.Permission != "echo.get" {
		t.Errorf("without the permission: %v", err)
	}
	for _, path := range []string{"/nowhere", "/items"} {
		if status, _, err := w.gateway.Call(t.Context(), w.caller("echo.get"), "GET", path, nil); status != 0 || err != nil {
			t.Errorf("%s: %d, %v", path, status, err)
		}
	}
	foreign := w.caller("echo.get")
	foreign.Claims.Tenant = "other"
	if status, _, err := w.gateway.Call(t.Context(), foreign, "GET", "/echo", nil); status != 0 || err != nil {
		t.Errorf("tenant without the module: %d, %v", status, err)
	}
	if _, _, err := w.gateway.Call(t.Context(), w.caller("echo.get"), "GET", "/items/../echo", nil); err == nil {
		t.Error("a path that a module reads otherwise")
	}
}

func TestCallOfAModuleThatFails(t *testing.T) {
	w := newWorld(t, nil)
	w.module(echoDescriptor, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/open" {
			_, _ = rw.Write([]byte(strings.Repeat("x", 2<<20)))
			return
		}
		panic(http.ErrAbortHandler)
	})
	for _, path := range []string{"/open", "/echo"} {
		if _, _, err := w.gateway.Call(t.Context(), w.caller("echo.get"), "GET", path, nil); !errors.Is(err, session.ErrUnavailable) || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Behind an Okapi, calls of our own go to the configured address with a token
// that holds for a minute and for what was lent.
func TestCallBehindOkapi(t *testing.T) {
	var asked *http.Request
	answer := func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"id":"7"}`)) }
	okapi := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		answer(w)
	}))
	t.Cleanup(okapi.Close)
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.Okapi = okapi.URL + "/okapi/" })
	get := func(path string) (int, string, error) {
		status, body, err := w.gateway.Call(t.Context(), w.caller("users.item.get"), "GET", path, nil)
		return status, string(body), err
	}
	if status, body, err := get("/users/7?query=a%3D%3Db"); status != 200 || body != `{"id":"7"}` || err != nil {
		t.Errorf("%d %s %v", status, body, err)
	}
	if asked.RequestURI != "/okapi/users/7?query=a%3D%3Db" || asked.Header.Get("X-Okapi-Tenant") != "diku" || !strings.HasSuffix(asked.Header.Get("X-Okapi-Request-Id"), "/users") {
		t.Errorf("asked %s with %v", asked.RequestURI, asked.Header)
	}
	claims, err := w.ring.Verify(asked.Header.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil || claims.UserID != alice || claims.Module != "mod-users-bl" || strings.Join(claims.Permissions, " ") != "users.item.get" || claims.Expires.Sub(w.Now()) > time.Minute {
		t.Errorf("token with %+v, %v", claims, err)
	}
	for name, header := range asked.Header {
		if strings.HasPrefix(name, "X-Okapi-") && !slices.Contains([]string{"X-Okapi-Tenant", "X-Okapi-Token", "X-Okapi-Request-Id"}, name) {
			t.Errorf("%s: %s is Okapi's to say", name, header)
		}
	}
	for body, want := range map[string]int{"No suitable module found for path /users/7 and tenant diku": 0, "User not found": 404} {
		answer = func(w http.ResponseWriter) { http.Error(w, body, http.StatusNotFound) }
		if status, _, err := get("/users/7"); status != want || err != nil {
			t.Errorf("%s: %d %v", body, status, err)
		}
	}
	answer = func(w http.ResponseWriter) { http.Redirect(w, asked, "http://127.0.0.1:1/", http.StatusFound) }
	if status, _, err := get("/users/7"); status != http.StatusFound || err != nil {
		t.Errorf("a redirection: %d %v", status, err)
	}
	asked = nil
	for _, path := range []string{"/users/../perms", "/users/%2e%2e/perms"} {
		if _, _, err := get(path); err == nil || asked != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	okapi.Close()
	if _, _, err := get("/users/7"); !errors.Is(err, session.ErrUnavailable) || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("away: %v", err)
	}
}

func TestPermissionGuardAsksForNoName(t *testing.T) {
	w := newWorld(t, nil)
	served := ""
	handler := func(internal bool) http.Handler {
		return w.gateway.PermissionGuard(internal)([]string{"login.item.post"}, func(_ http.ResponseWriter, _ *http.Request, c session.Caller) {
			served = string(c.Claims.Kind)
		})
	}
	inside, outside := w.listen(observed(handler(true))), w.listen(observed(handler(false)))
	nobody := w.claims()
	nobody.Kind, nobody.UserID, nobody.Module, nobody.ClientID, nobody.RequestID = token.KindModule, "", "mod-x-1.0.0", "", "000001/x"
	nobody.Permissions = []string{"login.item.post"}
	dummy := w.claims()
	dummy.Kind, dummy.UserID, dummy.ClientID, dummy.Session, dummy.Permissions = token.KindDummy, "", "", token.SessionID{}, []string{"login.item.post"}
	for _, test := range []struct {
		url, token string
		want       int
	}{
		{inside, w.mint(nobody), 200},
		{outside, w.mint(nobody), 401},
		{outside, w.mint(dummy), 200},
		{inside, w.moduleToken("login.item.get"), 403},
		{outside, w.access(), 403},
		{outside, "", 401},
	} {
		headers := []string{"X-Okapi-Tenant", "diku"}
		if test.token != "" {
			headers = append(headers, "X-Okapi-Token", test.token)
		}
		served = ""
		if got := call(t, "POST", test.url, "", headers...); got.status != test.want || (served != "") != (test.want == 200) {
			t.Errorf("%d %s, want %d; served %q", got.status, got.body, test.want, served)
		}
	}
}
