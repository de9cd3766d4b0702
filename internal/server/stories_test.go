package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/token"
)

// What users of a FOLIO live through is the same with the program as its
// gateway and as the filter of its Okapi, with users in FOLIO's own modules.
func TestStoriesOfUsersInBothModes(t *testing.T) {
	for name, story := range map[string]func(*testing.T, *campus){
		"login with all parts": loginWithAllParts,
		"a nested call":        aNestedCall,
		"permissions change":   permissionsChange,
		"deactivation":         deactivation,
		"logout":               logout,
		"expiry":               expiry,
		"another tenant":       anotherTenant,
		"home tenant by user":  homeTenantByUser,
		"a link is sent":       aLinkIsSent,
		"sessions were ended":  sessionsWereEnded,
	} {
		t.Run(name, func(t *testing.T) { inBothModes(t, story) })
	}
}

func loginWithAllParts(t *testing.T, c *campus) {
	login := func(password string) *reply {
		return c.call("POST", "/bl-users/login-with-expiry", map[string]string{"username": "reader", "password": password})
	}
	c.folio.Forget()
	login("wrong, wrong, wrong").want(t, 422, "wrong.username")
	for _, asked := range c.folio.Requests("") {
		if asked.Path != "/users" && asked.Path != "/user-tenants" {
			t.Errorf("a refused login asked for %s", asked.Path)
		}
	}
	got := login(readerPW).want(t, 201, `"lastName":"Leser"`)
	var group struct{ Group string }
	got.member(t, "patronGroup", &group)
	var points struct{ ServicePoints []struct{ Name string } }
	got.member(t, "servicePointsUser", &points)
	if group.Group != "staff" || len(points.ServicePoints) != 1 || len(got.cookies) < 2 {
		t.Errorf("%s with %v", got.body, got.cookies)
	}
	// Every question came by the front, with a token of ours, which no client has.
	for _, asked := range c.folio.Requests("") {
		claims := c.claims(asked.Header.Get("X-Okapi-Token"))
		if asked.Header.Get("X-Okapi-Url") != c.inside || claims.Kind != token.KindModule || claims.Tenant != "diku" {
			t.Errorf("%s came from %s with %+v", asked.Path, asked.Header.Get("X-Okapi-Url"), claims)
		}
	}
	access := got.cookies[0].Value
	c.get("/desk", access).want(t, 200, "")
	c.get("/bl-users/_self", access).want(t, 200, `"group":"staff"`)
}

func aNestedCall(t *testing.T, c *campus) {
	access := c.enter().json.AccessToken
	c.get("/users/"+readerID, access).want(t, 403, "requires permission: users.item.get")
	c.get("/desk/lent", access, "X-Next", "/users/"+readerID).want(t, 200, "Leser")
	asked := c.folio.Requests(foliotest.Users)
	h := asked[len(asked)-1].Header
	if h.Get("X-Okapi-User-Id") != readerID || !strings.Contains(h.Get("X-Okapi-Permissions"), "users.item.get") {
		t.Errorf("the module inside saw %v", h)
	}
	if links := strings.Split(h.Get("X-Okapi-Request-Id"), ";"); len(links) != 2 || !strings.HasSuffix(links[0], "/desk") {
		t.Errorf("request id %q", links)
	}
}

func permissionsChange(t *testing.T, c *campus) {
	access := c.enter().json.AccessToken
	c.get("/desk", access).want(t, 200, "")
	c.call("DELETE", "/desk", nil, "X-Okapi-Token", access).want(t, 403, "requires permission: desk.collection.delete")
	c.folio.Grant("diku", readerID, "desk.collection.delete")
	c.wait(time.Minute)
	c.get("/desk", access).want(t, 403, "requires permission: desk.collection.get")
	c.call("DELETE", "/desk", nil, "X-Okapi-Token", access).want(t, 200, "")
}

func deactivation(t *testing.T, c *campus) {
	one, two := c.enter(), c.enter()
	c.get("/desk", one.json.AccessToken).want(t, 200, "")
	c.folio.SetActive("diku", readerID, false)
	c.wait(time.Minute)
	c.get("/desk", one.json.AccessToken).want(t, 401, "Invalid token")
	c.renew(two.json.RefreshToken).want(t, 422, "token.refresh.unprocessable")
	// Active again, the sessions stay over; a new login begins another.
	c.folio.SetActive("diku", readerID, true)
	c.wait(time.Minute)
	c.get("/desk", two.json.AccessToken).want(t, 401, "Invalid token")
	c.get("/desk", c.enter().json.AccessToken).want(t, 200, "")
}

func logout(t *testing.T, c *campus) {
	one, two := c.enter(), c.enter()
	c.get("/desk", one.json.AccessToken).want(t, 200, "")
	c.call("POST", "/authn/logout", map[string]string{"refreshToken": one.json.RefreshToken}).want(t, 204, "")
	c.get("/desk", one.json.AccessToken).want(t, 401, "Invalid token")
	c.renew(one.json.RefreshToken).want(t, 422, "")
	c.get("/desk", two.json.AccessToken).want(t, 200, "")
	c.call("POST", "/authn/logout-all", nil, "X-Okapi-Token", two.json.AccessToken).want(t, 204, "")
	c.get("/desk", two.json.AccessToken).want(t, 401, "Invalid token")
}

func expiry(t *testing.T, c *campus) {
	in := c.enter()
	c.wait(11 * time.Minute)
	c.get("/desk", in.json.AccessToken).want(t, 401, "TOKEN_EXPIRED")
	// As a browser does it: the expired cookie comes along.
	got := c.call("POST", "/authn/refresh", nil, "Cookie", "folioAccessToken="+in.json.AccessToken+"; folioRefreshToken="+in.json.RefreshToken).want(t, 201, "accessTokenExpiration")
	c.get("/desk", got.cookies[0].Value).want(t, 200, "")
	c.wait(25 * 24 * time.Hour)
	c.renew(in.json.RefreshToken).want(t, 422, "token.refresh.unprocessable")
}

func anotherTenant(t *testing.T, c *campus) {
	in := c.enter()
	before := c.desk.calls()
	c.get("/desk", in.json.AccessToken, "X-Okapi-Tenant", "other").want(t, 403, "Invalid token")
	c.renew(in.json.RefreshToken, "X-Okapi-Tenant", "other").want(t, 422, "")
	c.call("GET", "/authn/sessions/_self", nil, "X-Okapi-Token", in.json.AccessToken, "X-Okapi-Tenant", "other").want(t, 403, "Invalid token")
	if c.desk.calls() != before {
		t.Error("a module was reached")
	}
	c.renew(in.json.RefreshToken).want(t, 201, "") // nothing was used up
}

// A row in user-tenants leads the user whom it names to another tenant, and
// nobody else: FOLIO's filter lets everybody of every tenant in where there is
// one row.
func homeTenantByUser(t *testing.T, c *campus) {
	got := c.call("POST", "/authn/login", map[string]string{"username": "guest", "password": readerPW}).want(t, 201, `"tenantId":"other"`)
	if claims := c.claims(got.json.AccessToken); claims.Tenant != "other" || claims.UserID != guestID {
		t.Errorf("%+v", claims)
	}
	reader := c.enter().want(t, 201, `"tenantId":"diku"`)
	c.get("/desk", got.json.AccessToken).want(t, 403, "Invalid token")
	c.get("/desk", reader.json.AccessToken, "X-Okapi-Tenant", "other").want(t, 403, "Invalid token")
	c.call("POST", "/authn/login", map[string]string{"username": "reader", "password": readerPW, "tenant": "other"}).want(t, 201, `"tenantId":"diku"`) // no row leads there
}

func aLinkIsSent(t *testing.T, c *campus) {
	access := c.enter().json.AccessToken
	var link string
	c.call("POST", "/bl-users/password-reset/link", map[string]string{"userId": readerID}, "X-Okapi-Token", access).want(t, 200, "").member(t, "link", &link)
	c.notify.mu.Lock()
	defer c.notify.mu.Unlock()
	if len(c.notify.got) != 1 || !strings.Contains(c.notify.got[0], "RESET_PASSWORD_EVENT") || !strings.Contains(c.notify.got[0], link) {
		t.Fatalf("told %q", c.notify.got)
	}
	if claims := c.claims(c.notify.from[0].Get("X-Okapi-Token")); claims.Kind != token.KindModule || claims.UserID != "" || c.notify.from[0].Get("X-Okapi-Url") != c.inside {
		t.Errorf("told by %+v", claims)
	}
}

// Our own questions go on when all sessions of a tenant were ended.
func sessionsWereEnded(t *testing.T, c *campus) {
	old := c.enter().json.AccessToken
	if got := c.ask("DELETE", "/counterfoil/tenants/diku/sessions", nil); got.status >= 300 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	c.get("/desk", old).want(t, 401, "Invalid token")
	c.wait(2 * time.Minute) // what is remembered is asked for again
	c.get("/desk", c.enter().json.AccessToken).want(t, 200, "")
}

// A module that is asked about permissions asks others before it answers, with
// the token of that question. What it was lent stands for something that only
// the module itself could tell.
func TestAQuestionWhileAQuestionIsAnsweredEnds(t *testing.T) {
	inBothModes(t, func(t *testing.T, c *campus) {
		m := c.folio.Module(foliotest.Permissions)
		descriptor := strings.NewReplacer(foliotest.Permissions, "mod-permissions-9.0.0",
			`["perms.users.get"]}`, `["perms.users.get"],"modulePermissions":["desk.deep"]}`,
			`["perms.permissions.get"]}`, `["perms.permissions.get"],"modulePermissions":["desk.deep"]}`).Replace(string(m.Descriptor))
		if c.okapi != nil {
			c.okapi.drop(foliotest.Permissions)
		}
		c.module(descriptor, m.URL)
		var refused []int
		c.folio.Misbehave(foliotest.Permissions, func(_ *foliotest.Platform, next http.Handler, w http.ResponseWriter, r *http.Request) {
			got, err := c.send("GET", c.inside+"/desk/deep", nil, "X-Okapi-Token", r.Header.Get("X-Okapi-Token"), "X-Okapi-Tenant", "diku",
				"X-Okapi-Request-Id", r.Header.Get("X-Okapi-Request-Id"))
			if err == nil {
				refused = append(refused, got.status)
			}
			next.ServeHTTP(w, r)
		})
		c.folio.Forget()
		began := time.Now()
		access := c.enter().json.AccessToken
		c.get("/desk", access).want(t, 200, "")
		if took, asked := time.Since(began), len(c.folio.Requests(foliotest.Permissions)); took > 5*time.Second || asked > 4 {
			t.Errorf("%d questions in %s", asked, took)
		}
		if len(refused) == 0 {
			t.Fatal("nobody asked while being asked")
		}
		for _, status := range refused {
			if status != 403 {
				t.Errorf("inside: %d", status)
			}
		}
		// For a user the set is looked up.
		c.folio.Misbehave(foliotest.Permissions, nil)
		c.folio.Grant("diku", readerID, "desk.deep")
		c.wait(time.Minute)
		c.get("/desk/deep", access, "X-Next", "/desk/deep").want(t, 200, "")
	})
}

func TestOkapiURLIsChecked(t *testing.T) {
	for _, test := range []struct {
		change func(*server.Config)
		fault  string
	}{
		{func(c *server.Config) { c.Okapi.URL = "http://okapi:9130" }, ""},
		{func(c *server.Config) { c.Okapi.URL = "okapi:9130" }, "okapi.url"},
		{func(c *server.Config) { c.Okapi.URL = "http://169.254.169.254" }, "okapi.url"},
		{func(c *server.Config) { c.Directory.Source = "folio" }, "okapi.url"},
		{func(c *server.Config) { c.Directory.Source, c.Directory.URL = "folio", "http://okapi:9130" }, ""},
		{func(c *server.Config) { c.Mode, c.Okapi.URL = server.ModeGateway, "http://okapi:9130" }, "okapi:"},
	} {
		config := &server.Config{Mode: server.ModeOkapiModule}
		test.change(config)
		config.SetDefaults()
		var found []string
		for _, fault := range config.Check() {
			found = append(found, fault.Error())
		}
		if text := strings.Join(found, "\n"); (test.fault == "") != (text == "") || !strings.Contains(text, test.fault) {
			t.Errorf("%q, want %q", text, test.fault)
		}
	}
}
