package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Each subtest is what Okapi's own tests assert of an auth filter in the
// pipeline (ProxyTest.java, TokenHeaderTest.java, TokenCacheTest.java); the
// numbers are those of the list in docs/behind-okapi.md.
func TestOkapiPipeline(t *testing.T) {
	b := openBranch(t, nil)
	const tok = "X-Okapi-Token"
	at := b.access()

	t.Run("02 a protected route without a token", func(t *testing.T) {
		b.get("/orders").want(t, 400, "Token missing, access requires permission: orders.collection.get")
	})
	t.Run("03 login through the proxy", func(t *testing.T) {
		login := func(password string) *reply {
			return b.through("POST", "/authn/login", map[string]string{"username": "reader", "password": password})
		}
		login("wrong, wrong, wrong").want(t, 422, "wrong.username")
		got := login(readerPW).want(t, 201, "okapiToken")
		b.get("/orders", tok, got.header.Get(tok)).want(t, 200, "")
	})
	t.Run("04 what the module is told", func(t *testing.T) {
		b.grant("orders.collection.get", "orders.item.put", "hidden")
		b.get("/orders/1", tok, at).want(t, 200, "")
		h := b.saw.seen(t)
		if h.Get("X-Okapi-Url") != b.okapi.url || h.Get("X-Okapi-User-Id") != readerID || h.Get("X-Okapi-Permissions") != `["orders.collection.get","orders.item.put"]` {
			t.Errorf("headers %v", h)
		}
	})
	t.Run("07 a matching user id is welcome, from memory, too", func(t *testing.T) {
		for range 2 {
			b.get("/orders", tok, at, "X-Okapi-User-Id", readerID).want(t, 200, "")
			if got := b.saw.seen(t).Get("X-Okapi-User-Id"); got != readerID {
				t.Errorf("user id %q", got)
			}
		}
	})
	t.Run("10 and 11 an unknown path does not reach the filter", func(t *testing.T) {
		b.okapi.traced()
		for _, path := range []string{"/ORDERS", "/orders/1/2", "/nothing"} {
			b.get(path, tok, at).want(t, 404, "No suitable module found")
			b.get(path).want(t, 404, "No suitable module found")
		}
		if trace := b.okapi.traced(); trace != "" {
			t.Errorf("called: %s", trace)
		}
	})
	t.Run("13 to 16 where the token comes from", func(t *testing.T) {
		bare := func(header ...string) *reply {
			got, err := b.send("GET", b.okapi.url+"/orders", nil, header...)
			b.must(err)
			return got
		}
		bare("Authorization", "Bearer "+at).want(t, 200, "")
		bare("Authorization", at).want(t, 200, "")
		bare("Cookie", "folioAccessToken="+at).want(t, 200, "")
		if b.saw.seen(t).Get("Cookie") == "" {
			t.Error("Okapi hands cookies on, and the test's does not")
		}
		bare("Authorization", "Bearer "+at, tok, b.access()).want(t, 400, "Different tokens")
		b.get("/orders", "Authorization", "bearer "+at).want(t, 401, "Invalid token")
	})
	t.Run("19 the second request does not ask the filter", func(t *testing.T) {
		at := b.access()
		b.okapi.traced()
		for _, want := range []string{"auth handler", "handler"} {
			b.get("/orders/1", tok, at).want(t, 200, "")
			if trace := b.okapi.traced(); trace != want {
				t.Errorf("called %s, want %s", trace, want)
			}
			if h := b.saw.seen(t); h.Get("X-Okapi-User-Id") != readerID || b.claims(h.Get(tok)).Module != "mod-orders-1.0.0" {
				t.Errorf("headers %v", h)
			}
		}
	})
	t.Run("20 a refusal is not remembered", func(t *testing.T) {
		at := b.access()
		b.grant("orders.collection.get")
		for range 2 {
			b.get("/users/1", tok, at).want(t, 403, "requires permission: users.item.get")
		}
		b.grant("orders.collection.get", "users.item.get")
		b.get("/users/1", tok, at).want(t, 200, "")
	})
	t.Run("29 one of several modules is chosen", func(t *testing.T) {
		b.get("/several", tok, at, "X-Okapi-Module-Id", "mod-orders-1.0.0").want(t, 200, "")
		if _, sent := b.saw.seen(t)["X-Okapi-Module-Id"]; sent {
			t.Error("the module is told its own id")
		}
		b.get("/several", tok, at, "X-Okapi-Module-Id", "mod-other-1.0.0").want(t, 404, "")
	})
	t.Run("30 a tenant's own route", func(t *testing.T) {
		b.get("/own/diku").want(t, 400, "Token missing, access requires permission: own.any")
		b.get("/own/diku", tok, at).want(t, 200, "")
	})
	t.Run("43 an additional token is for the filter alone", func(t *testing.T) {
		b.get("/orders", tok, b.access(), "X-Okapi-Additional-Token", b.nobodys("users.item.get")).want(t, 200, "")
		if _, sent := b.saw.seen(t)["X-Okapi-Additional-Token"]; sent {
			t.Error("the module has it")
		}
		// and it gives nobody anything
		b.grant("orders.collection.get")
		b.get("/users/1", tok, b.access(), "X-Okapi-Additional-Token", b.nobodys("users.item.get")).want(t, 403, "")
	})
	t.Run("46 two modules that are lent something", func(t *testing.T) {
		tokens := b.ask("/x", tok, at, lent, `{"mod-a-1":["a"],"mod-b-1":["b"]}`).tokens(t)
		for module, permission := range map[string]string{"mod-a-1": "a", "mod-b-1": "b"} {
			if c := b.claims(tokens[module]); c.Module != module || c.Permissions[0] != permission {
				t.Errorf("%s has %+v", module, c)
			}
		}
	})
}

// Numbers 21 to 25: other filters around the module.
func TestOkapiPipelineWithOtherFilters(t *testing.T) {
	b := openBranch(t, nil)
	around := &witness{}
	filter := httptest.NewServer(around)
	t.Cleanup(filter.Close)
	b.okapi.use(`{"id":"mod-around-1.0.0","filters":[
		{"methods":["*"],"pathPattern":"/*","phase":"pre","type":"headers","modulePermissions":["around.get"]},
		{"methods":["*"],"pathPattern":"/*","phase":"post","type":"headers"}]}`, filter.URL)
	at := b.access()
	b.okapi.traced()
	b.get("/orders", "X-Okapi-Token", at).want(t, 200, "")
	if trace := b.okapi.traced(); trace != "auth pre handler post" {
		t.Errorf("called %s", trace)
	}
	h := around.seen(t)
	if h.Get("X-Okapi-Handler-Result") != "200" || b.claims(h.Get("X-Okapi-Token")).Module != "mod-around-1.0.0" {
		t.Errorf("the post filter saw %v", h)
	}
	// The refusal is the client's answer, whatever the others say.
	before := b.saw.calls()
	b.get("/users/1", "X-Okapi-Token", at).want(t, 403, "requires permission: users.item.get")
	if trace := b.okapi.traced(); trace != "auth pre post" || b.saw.calls() != before {
		t.Errorf("called %s", trace)
	}
	if h := around.seen(t); h.Get("X-Okapi-Auth-Result") != "403" || b.claims(h.Get("X-Okapi-Token")).Module != "mod-around-1.0.0" {
		t.Errorf("the post filter saw %v", h)
	}
	got := b.get("/orders", "X-Okapi-Token", at, "X-Fail", "1").want(t, 500, "It does not work")
	for name := range got.header {
		if strings.HasPrefix(name, "X-Okapi") {
			t.Errorf("the client has %s", name)
		}
	}
}

// Nested calls go on with what the module was lent, and no token runs out on
// the way.
func TestNestedCallsBehindOkapi(t *testing.T) {
	b := openBranch(t, nil)
	at := b.access()
	b.get("/users/1", "X-Okapi-Token", at).want(t, 403, "")
	b.through("POST", "/lent", nil, "X-Okapi-Token", at, "X-Next", "/users/1").want(t, 200, "")
	h := b.saw.seen(t)
	if h.Get("X-Okapi-User-Id") != readerID || h.Get("X-Okapi-Permissions") != `["users.item.get"]` {
		t.Errorf("the module inside saw %v", h)
	}
	links := strings.Split(h.Get("X-Okapi-Request-Id"), ";")
	if len(links) != 2 || !strings.HasSuffix(links[0], "/lent") || !strings.HasSuffix(links[1], "/users") {
		t.Errorf("request id %q", links)
	}
	// The caller's token runs out; what was minted meanwhile does not.
	inside := b.claims(h.Get("X-Okapi-Token"))
	if inside.Kind != token.KindModule || inside.RequestID != links[0] {
		t.Errorf("inside: %+v", inside)
	}
	b.wait(11 * time.Minute)
	b.get("/orders", "X-Okapi-Token", at).want(t, 401, "TOKEN_EXPIRED")
	b.ask("/users/1", "X-Okapi-Token", h.Get("X-Okapi-Token"), required, "users.item.get").want(t, 202, "")
	// Anonymous callers, too, have modules that are lent something.
	b.get("/open/lent", "X-Next", "/users/1").want(t, 200, "")
}

// Okapi's cache knows nothing of a logout. Prompt leaves it nothing to remember.
func TestLogoutBehindOkapisTokenCache(t *testing.T) {
	for _, prompt := range []bool{false, true} {
		b := openBranch(t, func(c *server.Config) { c.Okapi.Prompt = prompt })
		s := b.login()
		b.get("/orders", "X-Okapi-Token", s.Access).want(t, 200, "")
		b.get("/orders/1", "X-Okapi-Token", s.Access).want(t, 200, "")
		b.through("POST", "/authn/logout", map[string]string{"refreshToken": s.Refresh}).want(t, 204, "")
		after := map[bool]int{false: 200, true: 401}[prompt]
		b.get("/orders", "X-Okapi-Token", s.Access).want(t, after, "")
		// A route that lends something is remembered in either way.
		b.get("/orders/1", "X-Okapi-Token", s.Access).want(t, 200, "")
		b.wait(3 * time.Minute)
		for _, path := range []string{"/orders", "/orders/1"} {
			b.get(path, "X-Okapi-Token", s.Access).want(t, 401, "Invalid token")
		}
		// Expiry is the same.
		s = b.login()
		b.wait(s.AccessExpires.Sub(b.config.Now()) - time.Second)
		b.get("/orders", "X-Okapi-Token", s.Access).want(t, 200, "")
		b.wait(2 * time.Second)
		b.get("/orders", "X-Okapi-Token", s.Access).want(t, after, "")
	}
}

// A browser's whole day behind Okapi: log in, work, let the access token run
// out, refresh with the old cookie along, log out.
func TestABrowserBehindOkapi(t *testing.T) {
	b := openBranch(t, func(c *server.Config) {
		c.PublicURL, c.CORS.Origins = "https://folio.example.org/okapi", []string{"https://ui.example.org"}
	})
	page := []string{"Origin", "https://ui.example.org", "Sec-Fetch-Site", "same-site", "User-Agent", "Mozilla/5.0"}
	jar := map[string]string{}
	do := func(method, path string, body any) *reply {
		header := page
		var pairs []string
		for name, value := range jar {
			pairs = append(pairs, name+"="+value)
		}
		if len(pairs) > 0 {
			header = append(header[:len(header):len(header)], "Cookie", strings.Join(pairs, "; "))
		}
		got := b.through(method, path, body, header...)
		for _, c := range got.cookies {
			if c.MaxAge < 0 {
				delete(jar, c.Name)
			} else {
				jar[c.Name] = c.Value
			}
		}
		return got
	}
	credentials := map[string]string{"username": "reader", "password": readerPW}
	got := do("POST", "/bl-users/login-with-expiry", credentials).want(t, 201, "tokenExpiration")
	for _, c := range got.cookies {
		if want := map[string]string{"folioAccessToken": "/okapi/", "folioRefreshToken": "/okapi/authn"}[c.Name]; c.Path != want {
			t.Errorf("cookie %s has path %s", c.Name, c.Path)
		}
	}
	if c := got.header["Access-Control-Allow-Origin"]; c != nil {
		t.Errorf("CORS is Okapi's: %v", c)
	}
	do("GET", "/orders", nil).want(t, 200, "")
	do("POST", "/orders", nil).want(t, 200, "")
	do("GET", "/bl-users/_self", nil).want(t, 200, "reader")
	do("GET", "/authn/sessions/_self", nil).want(t, 200, "sessions")
	do("GET", "/authn/sessions", nil).want(t, 403, "counterfoil.sessions.collection.get")
	do("GET", "/open", nil).want(t, 200, "")
	b.wait(20 * time.Minute)
	do("GET", "/orders/1", nil).want(t, 401, "TOKEN_EXPIRED")
	do("POST", "/authn/refresh", nil).want(t, 201, "accessTokenExpiration")
	do("GET", "/orders", nil).want(t, 200, "")
	b.wait(20 * time.Minute)
	do("POST", "/authn/logout", nil).want(t, 204, "")
	if len(jar) != 0 {
		t.Errorf("cookies left: %v", jar)
	}
	do("POST", "/bl-users/login-with-expiry", credentials).want(t, 201, "")
	b.wait(20 * time.Minute)
	do("POST", "/authn/logout-all", nil).want(t, 204, "")
	do("POST", "/authn/refresh", nil).want(t, 400, "token.parse.failure")
	do("POST", "/bl-users/login-with-expiry", map[string]string{"username": "reader", "password": "wrong, wrong, wrong"}).want(t, 422, "")
	do("POST", "/authn/elevate", map[string]any{"password": readerPW, "permissions": []string{"orders.collection.delete"}}).want(t, 401, "")
}

// Numbers 12, 33 and 45, by Okapi's own steps: the filter is asked about its own
// tenant before it knows the tenant.
func TestTenantOperations(t *testing.T) {
	b := openBranch(t, nil)
	own := &b.own
	body := map[string]any{"module_to": own.descriptor.ID, "purge": false, "parameters": []map[string]string{{"key": "loadSample", "value": "true"}}, "from_a_newer_okapi": 1}
	// Okapi hands on the headers of the administrator who asked, who is of
	// another tenant, without the token.
	admin := []string{"X-Okapi-User-Id", "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11", "X-Okapi-Permissions", "[]"}
	status, header, text := b.okapi.tell("fresh", own, *own, "POST", "/_/tenant", body, admin...)
	var job struct {
		ID       string
		Complete bool
		Tenant   string
	}
	if err := json.Unmarshal(text, &job); err != nil || status != 201 || header.Get("Location") != "/_/tenant/"+job.ID || job.Tenant != "fresh" {
		t.Fatalf("%d %s, Location %q, %v", status, text, header["Location"], err)
	}
	if _, known := b.People().Tenant("fresh"); !known {
		t.Error("the tenant is not known")
	}
	status, _, text = b.okapi.tell("fresh", own, *own, "GET", "/_/tenant/"+job.ID, nil, admin...)
	if err := json.Unmarshal(text, &job); err != nil || status != 200 || !job.Complete {
		t.Errorf("%d %s, %v", status, text, err)
	}
	for _, id := range []string{"nothing", "9eb67301-6f6e-468f-9b1a-6134dc39a684"} {
		if status, _, text := b.okapi.tell("fresh", own, *own, "GET", "/_/tenant/"+id, nil); status != 404 || string(text) != "Not found: "+id {
			t.Errorf("%d %s", status, text)
		}
	}
	if status, _, _ := b.okapi.tell("diku", own, *own, "GET", "/_/tenant/"+job.ID, nil); status != 404 {
		t.Errorf("another tenant's job: %d", status)
	}
	if status, _, text := b.okapi.tell("fresh", own, *own, "DELETE", "/_/tenant/"+job.ID, nil); status != 204 {
		t.Errorf("%d %s", status, text)
	}
	// Enabling again, another version, and disabling log nobody out.
	s := b.login()
	for _, body := range []any{
		map[string]any{"module_to": own.descriptor.ID, "module_from": own.descriptor.ID},
		map[string]any{"module_from": own.descriptor.ID, "purge": false},
	} {
		if status, _, text := b.okapi.tell("diku", own, *own, "POST", "/_/tenant", body); status != 201 && status != 204 {
			t.Errorf("%d %s", status, text)
		}
	}
	b.ask("/x", "X-Okapi-Token", s.Access).want(t, 202, "")
	// Purging ends everything.
	for range 2 {
		if status, _, text := b.okapi.tell("diku", own, *own, "POST", "/_/tenant", map[string]any{"module_from": own.descriptor.ID, "purge": true}); status != 204 {
			t.Errorf("%d %s", status, text)
		}
	}
	b.ask("/x", "X-Okapi-Token", s.Access).want(t, 400, "No such Tenant diku")
	if got := b.handle("POST", "/authn/refresh", map[string]string{"refreshToken": s.Refresh}); got.status != 422 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if status, _, text := b.okapi.tell("supertenant", own, *own, "POST", "/_/tenant", map[string]any{"module_from": own.descriptor.ID, "purge": true}); status != 400 {
		t.Errorf("%d %s", status, text)
	}
	if status, _, text := b.okapi.tell("fresh", own, *own, "POST", "/_/tenant", "no object"); status != 400 {
		t.Errorf("%d %s", status, text)
	}
	// A module that is being enabled gets a token of its own, and nobody's.
	got := b.ask("/_/tenant", lent, `{"mod-orders-1.0.0":["users.item.post"]}`, "X-Okapi-Tenant", "fresh").want(t, 202, "")
	c := b.claims(got.tokens(t)["mod-orders-1.0.0"])
	if c.UserID != "" || c.Tenant != "fresh" || len(c.Permissions) != 1 {
		t.Errorf("claims %+v", c)
	}
}

// Whoever has been told about a new tenant works in it at once, also after
// sessions of the tenant were ended, which old tokens do not survive.
func TestTokensForNobodyHoldAfterATenantsSessionsWereEnded(t *testing.T) {
	b := openBranch(t, nil)
	old := b.ask("/x").tokens(t)["_"]
	_, err := b.Sessions().EndUser(context.Background(), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
	b.must(err)
	b.ask("/x", "X-Okapi-Token", old).want(t, http.StatusUnauthorized, "Invalid token")
	b.ask("/x", "X-Okapi-Token", b.ask("/x").tokens(t)["_"]).want(t, http.StatusAccepted, "")
}
