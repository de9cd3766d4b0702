package server_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestT10TokensOfOtherKindsAreRefusedInBothModes(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		in := c.enter()
		var link string
		c.call("POST", "/bl-users/password-reset/link", map[string]string{"userId": readerID}, "X-Okapi-Token", in.json.AccessToken).want(t, 200, "").member(t, "link", &link)
		u, err := url.Parse(link)
		c.must(err)
		ofLink := u.Path[strings.LastIndex(u.Path, "/")+1:]
		before := c.desk.calls()
		for name, raw := range map[string]string{"refresh": in.json.RefreshToken, "link": ofLink, "garbage": "a.b.c"} {
			c.get("/desk", raw).want(t, 401, "Invalid token")
			if got := c.call("POST", "/token/sign", map[string]any{"payload": map[string]string{"sub": "reader", "user_id": readerID}}, "X-Okapi-Token", raw); got.status != 401 {
				t.Errorf("%s signs: %d %s", name, got.status, got.body)
			}
		}
		if c.desk.calls() != before {
			t.Error("a module was reached")
		}
		for _, raw := range []string{in.json.AccessToken, ofLink, c.modules("auth.token.refresh.post"), c.nobodys()} {
			c.renew(raw).want(t, 422, "token.refresh.unprocessable")
			if got := c.call("POST", "/bl-users/password-reset/validate", nil, "X-Okapi-Token", in.json.RefreshToken); got.status < 400 {
				t.Errorf("as a link: %d %s", got.status, got.body)
			}
		}
		c.get("/desk", in.json.AccessToken).want(t, 200, "") // nothing was ended by that
	})
}

func TestT20HeadersOfClientsAreNotBelievedInBothModes(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		access := c.enter().json.AccessToken
		forged := []string{
			"X-Okapi-Permissions", `["forged"]`, "X-Okapi-Url", "http://forged", "X-Okapi-Extra-Permissions", `["desk.collection.delete"]`,
			"X-Okapi-Module-Permissions", `{"mod-desk-1.0.0":["forged"]}`, "X-Okapi-Filter", "auth /*", "X-Okapi-Module-Tokens", `{"_":"forged"}`,
		}
		c.get("/desk", access, forged...).want(t, 200, "")
		for name, values := range c.desk.seen(t) {
			if strings.HasPrefix(name, "X-Okapi-") && strings.Contains(strings.Join(values, " "), "forged") {
				t.Errorf("the module sees %s: %s", name, values)
			}
		}
		c.call("DELETE", "/desk", nil, append(forged, "X-Okapi-Token", access)...).want(t, 403, "requires permission")
		c.call("GET", "/tokens-of-others", nil, "X_Okapi_User_Id", readerID)
		if c.desk.last != nil && c.desk.last["X_okapi_user_id"] != nil {
			t.Errorf("the module sees %v", c.desk.last)
		}
	})
}

// A constant in a header is no proof, and what only begins with /token is no
// endpoint of ours.
func TestT23NoHeaderOpensTokenPathsInBothModes(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		access := c.enter().json.AccessToken
		body := map[string]any{"payload": map[string]string{"sub": "reader", "user_id": readerID}}
		for _, raw := range []string{"", access, c.nobodys("auth.token.sign.post")} {
			for _, path := range []string{"/token/sign", "/token/refresh"} {
				got := c.call("POST", path, body, "X-Okapi-Token", raw, "X-Okapi-Permissions", `["L3Rva2VuL3NpZ24=.execute","L3Rva2VuL3JlZnJlc2g=.execute"]`)
				if got.status != 401 || !strings.Contains(string(got.body), "Missing required module-level permissions") && raw != "" {
					t.Errorf("%s with %.8s: %d %s", path, raw, got.status, got.body)
				}
			}
		}
		c.get("/tokens-of-others", access).want(t, 200, "")
		for _, path := range []string{"/token/signature", "/token/sign/more", "/tokens"} {
			c.call("POST", path, body, "X-Okapi-Token", access).want(t, 404, "")
		}
	})
}

func TestT38NoNameBecomesAQueryInBothModes(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		c.folio.Forget()
		for _, name := range []string{"*", "read*", `" or id=*`, `x" or username=="reader`, `\`} {
			for _, path := range []string{"/authn/login", "/bl-users/login-with-expiry"} {
				c.call("POST", path, map[string]string{"username": name, "password": readerPW}).want(t, 422, "wrong.username")
			}
		}
		for _, asked := range c.folio.Requests(foliotest.Users) {
			q := asked.Query("query")
			if asked.Path == "/users" && q != askedForNobody && (!strings.HasPrefix(q, `username=="`) || !strings.HasSuffix(q, `"`)) {
				t.Errorf("asked as %s", q)
			}
		}
	})
}

func TestT39NoIDBecomesAPathInBothModes(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		access := c.enter().json.AccessToken
		c.folio.Forget()
		for _, id := range []string{"../perms/users?x=", "..%2f..%2fperms", `" or id=*`} {
			c.call("POST", "/authn/login", map[string]string{"userId": id, "password": readerPW}).want(t, 422, "")
			if got := c.call("POST", "/bl-users/password-reset/link", map[string]string{"userId": id}, "X-Okapi-Token", access); got.status < 400 {
				t.Errorf("a link for %q: %d", id, got.status)
			}
		}
		for _, path := range []string{"/desk/..%2fusers", "/desk/%2e%2e/users", "/bl-users/by-id/..%2f..%2fperms"} {
			if got := c.get(path, access); got.status < 400 {
				t.Errorf("%s: %d", path, got.status)
			}
		}
		for _, asked := range c.folio.Requests("") {
			if asked.Path != "/users" && asked.Path != "/user-tenants" && !strings.HasPrefix(asked.Path, "/perms/users/"+readerID) {
				t.Errorf("asked for %s", asked.Path)
			}
		}
	})
}

// Neither questions nor parts of users nor notifications go where a header says,
// not even where a client could send one past Okapi.
func TestT40NoHeaderSaysWhereToAskInBothModes(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		canary := foliotest.Start(t, "diku")
		evil := []string{"X-Okapi-Url", canary.URL, "X-Okapi-Url-To", canary.URL, "X-Forwarded-Host", strings.TrimPrefix(canary.URL, "http://")}
		for _, base := range []string{c.front, c.URL(server.Public)} {
			got, err := c.send("POST", base+"/bl-users/login-with-expiry", map[string]string{"username": "reader", "password": readerPW}, append(evil, "X-Okapi-Tenant", "diku")...)
			c.must(err)
			got.want(t, 201, `"group":"staff"`)
			access := got.cookies[0].Value
			got, err = c.send("POST", base+"/bl-users/password-reset/link", map[string]string{"userId": readerID}, append(evil, "X-Okapi-Tenant", "diku", "X-Okapi-Token", access)...)
			c.must(err)
			got.want(t, 200, "https://ui.example.org/reset-password/")
			c.wait(time.Minute)
			got, err = c.send("GET", base+"/bl-users/_self", nil, append(evil, "X-Okapi-Tenant", "diku", "X-Okapi-Token", access)...)
			c.must(err)
			got.want(t, 200, "staff")
		}
		if asked := canary.Requests(""); len(asked) != 0 {
			t.Errorf("the canary was asked %+v", asked)
		}
	})
}

// What we ask with carries what is asked for, for a minute. In the gateway,
// modules get tokens that were made of it, see TestT46 there.
func TestT46OurOwnTokensAreShortAndNarrowBehindOkapi(t *testing.T) {
	c := openCampus(t, server.ModeOkapiModule)
	c.folio.Forget()
	c.call("POST", "/bl-users/login-with-expiry", map[string]string{"username": "reader", "password": readerPW}).want(t, 201, "")
	asked := c.folio.Requests("")
	if len(asked) < 5 {
		t.Errorf("%d questions", len(asked))
	}
	for _, one := range asked {
		claims := c.claims(one.Header.Get("X-Okapi-Token"))
		if claims.Kind != token.KindModule || claims.Expires.Sub(claims.IssuedAt) > time.Minute || len(claims.Permissions) > 6 {
			t.Errorf("%s came with %+v", one.Path, claims)
		}
	}
}
