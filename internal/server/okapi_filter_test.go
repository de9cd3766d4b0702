package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	required = "X-Okapi-Permissions-Required"
	desired  = "X-Okapi-Permissions-Desired"
	lent     = "X-Okapi-Module-Permissions"
	extra    = "X-Okapi-Extra-Permissions"
)

// Each subtest is one line of what mod-authtoken's own tests assert of its
// filter (AuthTokenTest.java); docs/behind-okapi.md lists them.
func TestAuthtokenFilter(t *testing.T) {
	b := openBranch(t, nil)
	b.define(directory.PermissionSet{Name: "set", Sub: []string{"in.set"}},
		directory.PermissionSet{Name: "SYS#mod-a-1#/a#[GET, POST]", Sub: []string{"sys.one", "sys.two"}})
	b.grant("user.one", "user.two", "extra.foobar", "set")
	at := b.access()
	const tok, uid, perms = "X-Okapi-Token", "X-Okapi-User-Id", "X-Okapi-Permissions"

	t.Run("desired permissions with wildcards", func(t *testing.T) {
		for pattern, want := range map[string]string{
			"user.one": `["user.one"]`, "user.*": `["user.one","user.two"]`, "*.two": `["user.two"]`,
			"extra.*bar": `["extra.foobar"]`, "none.*": `[]`, "userx*": `[]`, "in.*,user.one": `["in.set","user.one"]`,
		} {
			b.ask("/x", tok, at, desired, pattern).wantHeader(t, perms, want)
		}
	})
	t.Run("unknown user", func(t *testing.T) {
		stranger := b.mint(func(c *token.Claims) { c.UserID = "9eb67301-6f6e-468f-9b1a-6134dc39a684" })
		b.ask("/x", tok, stranger).want(t, 401, "Invalid token: User with id 9eb67301-6f6e-468f-9b1a-6134dc39a684 does not exist")
	})
	t.Run("no tenant header", func(t *testing.T) {
		b.ask("/x", "X-Okapi-Tenant", "").want(t, 400, "Missing header: X-Okapi-Tenant")
	})
	t.Run("no url header", func(t *testing.T) { b.ask("/x", "X-Okapi-Url", "").want(t, 400, "Missing header: X-Okapi-Url") })
	t.Run("no token and nothing required", func(t *testing.T) {
		got := b.ask("/x").want(t, 202, "")
		got.wantHeader(t, perms, "[]")
		got.wantHeader(t, "Content-Type", "text/plain")
		if text := got.header.Get("X-Okapi-Module-Tokens"); !strings.HasPrefix(text, `{"_":"ey`) || len(got.body) > 0 {
			t.Errorf("tokens %s, body %q", text, got.body)
		}
	})
	t.Run("the dummy token sent back with a required permission", func(t *testing.T) {
		dummy := b.ask("/x").tokens(t)["_"]
		if c := b.claims(dummy); c.Kind != token.KindDummy || !strings.HasPrefix(c.Subject, "UNDEFINED_USER__") {
			t.Errorf("claims %+v", c)
		}
		b.ask("/x", tok, dummy, required, "user.one").want(t, 403, "requires permission: user.one")
	})
	t.Run("the dummy token with only desired permissions", func(t *testing.T) {
		dummy := b.ask("/x").tokens(t)["_"]
		b.ask("/x", tok, dummy, desired, "user.*").want(t, 202, "").wantHeader(t, perms, "[]")
		if tokens := b.ask("/x", tok, dummy, lent, `{"mod-a-1":["a"]}`).want(t, 202, "").tokens(t); tokens["mod-a-1"] == "" {
			t.Errorf("tokens %v", tokens)
		}
	})
	t.Run("no token and a required permission", func(t *testing.T) {
		got := b.ask("/x", required, "user.one").want(t, 400, "Token missing, access requires permission: user.one")
		if _, sent := got.header["X-Okapi-Module-Tokens"]; sent {
			t.Error("there are tokens")
		}
	})
	t.Run("a module's token grants what its module is lent", func(t *testing.T) {
		mt := b.ask("/x", tok, at, lent, `{"mod-a-1":["lent.a","lent.b"]}`).tokens(t)["mod-a-1"]
		got := b.ask("/x", tok, mt, required, "lent.a", desired, "lent.*,user.one").want(t, 202, "")
		got.wantHeader(t, perms, `["lent.a","lent.b","user.one"]`)
		got.wantHeader(t, uid, readerID)
		b.ask("/x", tok, at, required, "lent.a").want(t, 403, "Access for user 'reader' ("+readerID+") requires permission: lent.a")
	})
	t.Run("a module's token in another tenant", func(t *testing.T) {
		b.must(b.Store().CreateTenant(context.Background(), directory.Tenant{ID: "other"}, tenantCreated("other")))
		mt := b.modules("lent.a")
		b.ask("/x", tok, mt, "X-Okapi-Tenant", "other").want(t, 403, "Invalid token")
	})
	t.Run("extra permissions", func(t *testing.T) {
		for _, value := range []string{"extra.first,extra.second", `["extra.first","extra.second"]`, " extra.second, extra.first "} {
			b.ask("/x", tok, at, extra, value, desired, "extra.f*st,extra.second").want(t, 202, "").wantHeader(t, perms, `["extra.first","extra.second"]`)
			b.ask("/x", extra, value, required, "extra.first").want(t, 202, "").wantHeader(t, perms, `["extra.first"]`)
		}
		b.ask("/x", tok, at, extra, `["extra.first"`).want(t, 400, "Invalid JSON in X-Okapi-Extra-Permissions")
		b.ask("/x", extra, `["extra.first"]`, required, "extra.second").want(t, 400, "Token missing, access requires permission: extra.second")
	})
	t.Run("module permissions as desired", func(t *testing.T) {
		mt := b.ask("/x", tok, at, lent, `{"mod-a-1":["bar.first","bar.second"]}`).tokens(t)["mod-a-1"]
		b.ask("/x", tok, mt, desired, "bar.*").wantHeader(t, perms, `["bar.first","bar.second"]`)
	})
	t.Run("an access token with a user id", func(t *testing.T) {
		b.ask("/x", tok, at, uid, readerID).want(t, 202, "").wantHeader(t, uid, readerID)
		b.ask("/x", tok, at, uid, "9eb67301-6f6e-468f-9b1a-6134dc39a684").want(t, 403, "Invalid token")
		b.ask("/x", tok, b.modules(), uid, "9eb67301-6f6e-468f-9b1a-6134dc39a684").want(t, 403, "Invalid token")
	})
	t.Run("dummy tokens with any user id", func(t *testing.T) {
		b.ask("/x", tok, b.nobodys(), uid, readerID).want(t, 202, "").wantHeader(t, uid, "")
		b.ask("/x", uid, readerID).want(t, 202, "").wantHeader(t, uid, "")
	})
	t.Run("an inactive user", func(t *testing.T) {
		user := directory.User{ID: readerID, Tenant: "diku", Username: "reader"}
		_, err := b.Sessions().UpdateUser(context.Background(), user)
		b.must(err)
		b.ask("/x", tok, at).want(t, 401, "Invalid token") // ended with all sessions of the user
		at = b.mint(func(c *token.Claims) { c.UserEpoch = 1000 })
		b.ask("/x", tok, at).want(t, 401, "Invalid token: user with id "+readerID+" is not active")
		user.Active = true
		_, err = b.Sessions().UpdateUser(context.Background(), user)
		b.must(err)
		b.ask("/x", tok, at).want(t, 202, "")
	})
	t.Run("another key, garbage, expired", func(t *testing.T) {
		b.ask("/x", tok, legacyToken()).want(t, 401, "Invalid token")
		for _, garbage := range []string{"a", "a.b", "a.b.c", "a.b.c.d.e", strings.Repeat("x", 9000), b.login().Refresh} {
			if got := b.ask("/x", tok, garbage).want(t, 401, "Invalid token"); string(got.body) != "Invalid token" {
				t.Errorf("%q", got.body)
			}
		}
		old := b.mint(func(c *token.Claims) {
			c.IssuedAt, c.Expires = c.IssuedAt.Add(-time.Hour), c.IssuedAt.Add(-time.Second)
		})
		got := b.ask("/x", tok, old).want(t, 401, `"code":"TOKEN_EXPIRED"`)
		if _, sent := got.header["X-Okapi-Token"]; sent {
			t.Error("a refusal has a token, which Okapi would hand to the client")
		}
	})
	t.Run("SYS permissions are expanded", func(t *testing.T) {
		const sys = "SYS#mod-a-1#/a#[GET, POST]"
		mt := b.ask("/x", tok, at, lent, `{"mod-a-1":["`+sys+`"]}`).tokens(t)["mod-a-1"]
		if c := b.claims(mt); len(c.Permissions) != 1 || c.Permissions[0] != sys {
			t.Errorf("the token carries %q", c.Permissions)
		}
		b.ask("/x", tok, mt, required, "sys.one").want(t, 202, "").wantHeader(t, perms, `["sys.one"]`)
		b.ask("/x", tok, mt, required, "sys.three").want(t, 403, "requires permission: sys.three")
		unknown := b.modules("SYS#unknown#/x#[GET]")
		b.ask("/x", tok, unknown, required, "sys.one").want(t, 403, "requires permission: sys.one")
	})
	t.Run("health", func(t *testing.T) {
		got, err := b.send("GET", b.URL(server.Public)+"/admin/health", nil)
		b.must(err)
		got.want(t, 200, "OK")
	})
	t.Run("a refusal has tokens for other filters", func(t *testing.T) {
		got := b.ask("/x", tok, at, required, "missing", lent, `{"mod-a-1":[]}`).want(t, 403, "requires permission: missing")
		if got.tokens(t)["mod-a-1"] == "" || got.header.Get("X-Okapi-Token") != "" || got.header.Get(perms) != "" {
			t.Errorf("headers %v", got.header)
		}
	})
}

// What the filter hands out, field by field.
func TestFilterAnswer(t *testing.T) {
	b := openBranch(t, nil)
	at := b.access()
	got := b.ask("/users/1?x=1", "X-Okapi-Token", at, lent, `{"mod-b-1":["p"],"mod-a-1":[],"mod-c-1":null}`).want(t, 202, "")
	tokens := got.tokens(t)
	if tokens["_"] != at || got.header.Get("X-Okapi-Token") != at || len(tokens) != 3 {
		t.Errorf("tokens %v", tokens)
	}
	c, own := b.claims(tokens["mod-b-1"]), b.claims(at)
	if c.Kind != token.KindModule || c.Module != "mod-b-1" || c.Subject != "reader" || c.UserID != readerID || c.Session != own.Session ||
		c.RequestID != "821257/users" || len(c.Permissions) != 1 || c.Permissions[0] != "p" || c.Expires.Sub(c.IssuedAt) != 20*time.Minute {
		t.Errorf("claims %+v", c)
	}
	if c := b.claims(tokens["mod-a-1"]); len(c.Permissions) != 0 {
		t.Errorf("a module that is lent nothing has %v", c.Permissions)
	}
	// Okapi copies each X- header of the answer to the module.
	for name := range got.header {
		switch {
		case !strings.HasPrefix(name, "X-"):
		case name != "X-Okapi-Token" && name != "X-Okapi-Permissions" && name != "X-Okapi-Module-Tokens" && name != "X-Okapi-User-Id":
			t.Errorf("the answer has %s", name)
		}
	}
	for _, bad := range []string{`{"mod-a-1":"p"}`, `[]`, `{"_":["p"]}`, `{"":["p"]}`, `{"mod-a-1":["p"],"mod-a-1":["q"]}`, `{`} {
		b.ask("/x", lent, bad).want(t, 400, "X-Okapi-Module-Permissions")
	}
	b.ask("/x", "X-Okapi-Tenant", "unknown").want(t, 400, "No such Tenant unknown")
	b.ask("/x", "X-Okapi-Filter", "pre /x").want(t, 404, "")
	b.ask("/x", "X-Okapi-Request-Id", strings.Repeat("000001/x;", 300)+"a\tb").want(t, 202, "")
}

// In prompt, Okapi has nothing to remember but what it was lent.
func TestPromptLeavesTheCallersTokenOut(t *testing.T) {
	b := openBranch(t, func(c *server.Config) { c.Okapi.Prompt = true })
	at := b.access()
	b.ask("/x", "X-Okapi-Token", at).want(t, 202, "").wantHeader(t, "X-Okapi-Module-Tokens", "{}")
	if tokens := b.ask("/x", "X-Okapi-Token", at, lent, `{"mod-a-1":[]}`).tokens(t); len(tokens) != 1 || tokens["mod-a-1"] == "" {
		t.Errorf("tokens %v", tokens)
	}
	// A module that nobody calls has a token all the same; Okapi remembers none
	// for a request that came without.
	if tokens := b.ask("/x").tokens(t); tokens["_"] == "" {
		t.Errorf("tokens %v", tokens)
	}
}

// Authtoken-Refresh-Cache makes everybody's next request dear.
func TestRefreshCacheIsForThePrivileged(t *testing.T) {
	b := openBranch(t, nil)
	for _, c := range []struct {
		grants []string
		zapped bool
	}{{nil, false}, {[]string{"counterfoil.cache.refresh"}, true}} {
		b.grant(c.grants...)
		at := b.access()
		b.ask("/x", "X-Okapi-Token", at).want(t, 202, "")
		before, _ := b.People().Cached("diku", readerID)
		b.ask("/x", "X-Okapi-Token", at, "Authtoken-Refresh-Cache", "true").want(t, 202, "")
		b.ask("/x", "Authtoken-Refresh-Cache", "true").want(t, 202, "")
		after, _ := b.People().Cached("diku", readerID)
		if zapped := before != after; zapped != c.zapped {
			t.Errorf("with %v: forgotten %v", c.grants, zapped)
		}
	}
}

// The endpoints for modules, asked about and then called: mod-authtoken's two
// passes.
func TestAuthtokenEndpoints(t *testing.T) {
	b := openBranch(t, nil)
	const tok = "X-Okapi-Token"
	login := b.modules("auth.sign-and-refresh-token.all")
	payload := func(p map[string]any) any { return map[string]any{"payload": p} }
	user := map[string]any{"sub": "reader", "user_id": readerID}

	for path, permission := range map[string]string{
		"/token": "auth.token.post", "/refreshtoken": "auth.refreshtoken.post", "/token/sign": "auth.token.sign.post", "/token/refresh": "auth.token.refresh.post",
	} {
		t.Run("asked about "+path, func(t *testing.T) {
			text := "Missing required module-level permissions for endpoint '" + path + "': " + permission
			b.asked("POST", path, "X-Okapi-Tenant", "").want(t, 400, "Missing header: X-Okapi-Tenant")
			b.asked("POST", path, "X-Okapi-Url", "").want(t, 400, "Missing header: X-Okapi-Url")
			b.asked("POST", path).want(t, 401, text)
			b.asked("POST", path, tok, b.modules("other")).want(t, 401, text)
			b.grant(permission) // what a user has does not count
			b.asked("POST", path, tok, b.access()).want(t, 401, text)
			got := b.asked("POST", path, tok, login, required, permission).want(t, 202, "")
			if got.tokens(t)["_"] != login {
				t.Error("the module's own token does not go on")
			}
			if strings.Contains(got.header.Get("X-Okapi-Permissions"), ".execute") {
				t.Error("the answer has mod-authtoken's constant")
			}
		})
	}
	t.Run("legacy sign", func(t *testing.T) {
		b.handle("POST", "/token", payload(user), tok, login).want(t, 404, "Tenant not a legacy token tenant")
		b.handle("PUT", "/token", payload(user), tok, login).want(t, 405, "")
		b.handle("POST", "/refreshtoken", map[string]any{"userId": readerID, "sub": "reader"}, tok, login).want(t, 404, "")
	})
	t.Run("sign", func(t *testing.T) {
		b.handle("POST", "/token/sign", payload(user)).want(t, 401, "Missing required module-level permissions")
		b.handle("POST", "/token/sign", payload(user), tok, b.access()).want(t, 401, "Missing required module-level permissions")
		b.handle("PUT", "/token/sign", payload(user), tok, login).want(t, 405, "")
		b.handle("POST", "/token/sign", map[string]any{"other": user}, tok, login).want(t, 400, "")
		b.handle("POST", "/token/sign", payload(map[string]any{"user_id": readerID}), tok, login).want(t, 400, "")
		dummy := b.handle("POST", "/token/sign", payload(map[string]any{"sub": "x", "dummy": true, "extra_permissions": []string{"p"}}), tok, login).want(t, 201, `"token":`)
		if !strings.Contains(string(dummy.body), "ey") {
			t.Errorf("%s", dummy.body)
		}
		got := b.handle("POST", "/token/sign", payload(user), tok, login).want(t, 201, `"tenantId":"diku"`)
		got.want(t, 201, "accessTokenExpiration").want(t, 201, "refreshTokenExpiration")
		b.ask("/x", tok, got.json.AccessToken).want(t, 202, "")
	})
	refresh := func(body any) *reply { return b.handle("POST", "/token/refresh", body, tok, login) }
	with := func(raw string) any { return map[string]string{"refreshToken": raw} }
	t.Run("refresh", func(t *testing.T) {
		s := b.login()
		refresh(map[string]string{}).want(t, 400, "")
		refresh(with("cfrt_"+strings.Repeat("A", 70))).want(t, 401, "Invalid token")
		b.handle("PUT", "/token/refresh", with(s.Refresh), tok, login).want(t, 405, "")
		got := refresh(with(s.Refresh)).want(t, 201, `"tenantId":"diku"`)
		b.ask("/x", tok, got.json.AccessToken).want(t, 202, "")
	})
	t.Run("refresh after expiry, and of another tenant", func(t *testing.T) {
		s := b.login()
		foreign := b.mint(func(c *token.Claims) {
			c.Kind, c.Tenant, c.Module, c.RequestID, c.Permissions = token.KindModule, "supertenant", "mod-x-1.0.0", "1/x", []string{"auth.token.refresh.post"}
			c.UserID = ""
		})
		got, err := b.send("POST", b.URL(server.Public)+"/token/refresh", with(s.Refresh), "X-Okapi-Tenant", "supertenant", "X-Okapi-Url", b.okapi.url, tok, foreign)
		b.must(err)
		got.want(t, 401, "Invalid token")
		refresh(with(s.Refresh)).want(t, 201, "")
	})
	t.Run("used twice", func(t *testing.T) {
		s := b.login()
		next := refresh(with(s.Refresh)).want(t, 201, "").json.RefreshToken
		b.wait(2 * time.Minute)
		login = b.modules("auth.sign-and-refresh-token.all")
		refresh(with(next)).want(t, 201, "")
		b.wait(2 * time.Minute)
		refresh(with(s.Refresh)).want(t, 401, "Invalid token")
	})
	t.Run("invalidate", func(t *testing.T) {
		s := b.login()
		b.handle("PUT", "/token/invalidate", with(s.Refresh), tok, login).want(t, 405, "")
		b.handle("POST", "/token/invalidate", nil, tok, login).want(t, 400, "")
		// mod-login is lent nothing for a logout, so it comes with its caller's token.
		b.handle("POST", "/token/invalidate", with(s.Refresh), tok, s.Access).want(t, 204, "")
		refresh(with(s.Refresh)).want(t, 401, "Invalid token")
		b.ask("/x", tok, s.Access).want(t, 401, "Invalid token")
	})
	t.Run("invalidate-all", func(t *testing.T) {
		one, two := b.login(), b.login()
		b.handle("PUT", "/token/invalidate-all", nil, tok, one.Access).want(t, 405, "")
		b.handle("POST", "/token/invalidate-all", nil).want(t, 401, "")
		b.handle("POST", "/token/invalidate-all", nil, tok, b.nobodys()).want(t, 401, "")
		b.handle("POST", "/token/invalidate-all", nil, tok, one.Access).want(t, 204, "")
		refresh(with(one.Refresh)).want(t, 401, "Invalid token")
		refresh(with(two.Refresh)).want(t, 401, "Invalid token")
	})
}

// FOLIO-exact: a second use ends every session of the user.
func TestAuthtokenReuseInExactMode(t *testing.T) {
	b := openBranch(t, exactly)
	login := b.modules("auth.sign-and-refresh-token.all")
	refresh := func(raw string) *reply {
		return b.handle("POST", "/token/refresh", map[string]string{"refreshToken": raw}, "X-Okapi-Token", login)
	}
	one, two := b.login(), b.login()
	refresh(one.Refresh).want(t, http.StatusCreated, "")
	refresh(one.Refresh).want(t, http.StatusUnauthorized, "Invalid token")
	refresh(two.Refresh).want(t, http.StatusUnauthorized, "Invalid token")
}
