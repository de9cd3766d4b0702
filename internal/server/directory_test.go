package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestUsersOfFOLIOLogInWithPasswordsOfOurs(t *testing.T) {
	l := openLibrary(t, nil)
	in := l.login()
	if got := l.orders("GET", in.json.AccessToken); got != http.StatusOK {
		t.Errorf("with a permission of a set: %d", got)
	}
	if got := l.orders("DELETE", in.json.AccessToken); got != http.StatusOK {
		t.Errorf("with a permission of a set in a set: %d", got)
	}
	if got := l.refresh(in.json.RefreshToken); got.status != http.StatusCreated {
		t.Errorf("refresh: %d %s", got.status, got.body)
	}
	if got := l.post("/authn/login", map[string]string{"username": "reader", "password": "wrong"}, "X-Okapi-Tenant", "diku"); got.status != http.StatusUnprocessableEntity {
		t.Errorf("wrong password: %d", got.status)
	}
	self, err := l.send("GET", l.URL(server.Public)+"/bl-users/_self", nil, "X-Okapi-Token", in.json.AccessToken, "X-Okapi-Tenant", "diku")
	l.must(err)
	if text := string(self.body); !strings.Contains(text, `"permissions":["orders.all"]`) || !strings.Contains(text, `"lastName":"Leser"`) {
		t.Errorf("_self says %s", text)
	}
	// Every question went through the gateway, with a token of our own. Parts of
	// users are asked for in their name, and who they are in nobody's.
	for _, asked := range l.folio.Requests("") {
		name := ""
		if asked.Path == "/users/"+readerID || strings.HasPrefix(asked.Path, "/service-points") {
			name = readerID
		}
		if asked.Header.Get("X-Okapi-Url") != l.URL(server.Internal) || asked.Header.Get("X-Okapi-User-Id") != name || asked.Header.Get("X-Okapi-Request-Id") == "" {
			t.Errorf("%s %s came with %v", asked.Method, asked.Path, asked.Header)
		}
	}
}

func TestALoginAsksAnewWhatTheUserMayDo(t *testing.T) {
	l := openLibrary(t, nil)
	before := l.login().json.AccessToken
	l.orders("GET", before)
	l.folio.Grant("diku", readerID, "nothing")
	after := l.login().json.AccessToken
	for _, access := range []string{before, after} {
		if got := l.orders("GET", access); got != http.StatusForbidden {
			t.Errorf("answered %d", got)
		}
	}
}

// What one node remembers of an inactive user must not end the session that
// another one began since.
func TestAUserWhoIsActiveAgainKeepsTheNewSession(t *testing.T) {
	for name, use := range map[string]func(*library, *session.Tokens) int{
		"on a request": func(l *library, in *session.Tokens) int { return l.orders("GET", in.Access) },
		"on a refresh": func(l *library, in *session.Tokens) int { return l.refresh(in.Refresh).status },
	} {
		t.Run(name, func(t *testing.T) {
			l := openLibrary(t, nil)
			old := l.login()
			l.folio.SetActive("diku", readerID, false)
			l.wait(time.Minute)
			l.orders("GET", old.json.AccessToken) // now it is remembered that the user is inactive
			l.folio.SetActive("diku", readerID, true)
			// As on another node: this one is not told to forget.
			in, err := l.Sessions().SignFor(t.Context(), "diku", readerID, "reader")
			l.must(err)
			if got := use(l, in); got != http.StatusOK && got != http.StatusCreated {
				t.Errorf("the new session: %d", got)
			}
		})
	}
}

func TestInactiveAndUnknownUsersCannotLogIn(t *testing.T) {
	l := openLibrary(t, nil)
	l.folio.SetActive("diku", readerID, false)
	for _, name := range []string{"reader", "nobody"} {
		if got := l.post("/authn/login", map[string]string{"username": name, "password": readerPW}, "X-Okapi-Tenant", "diku"); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// While the modules fail, in whatever way, nobody is logged out and nobody may
// more or less than before; later nobody is served; and then all goes on.
func TestWhileFOLIOIsDownNobodyIsLoggedOut(t *testing.T) {
	for name, fault := range map[string]foliotest.Fault{
		"fails": foliotest.Fails(500), "drops": foliotest.Drops, "says there is nobody": foliotest.Fails(404),
		"hangs": foliotest.Hangs, "floods": foliotest.Floods(5 << 20), "truncates": foliotest.Truncates,
		"answers with another": foliotest.AnswersWith(foliotest.User{ID: "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007", Username: "other"}),
	} {
		t.Run(name, func(t *testing.T) {
			l := openLibrary(t, func(c *server.Config) { c.Directory.Timeout = session.Duration(200 * time.Millisecond) })
			in := l.login()
			l.orders("GET", in.json.AccessToken)
			for _, m := range l.folio.Modules() {
				l.folio.Misbehave(m.ID, fault)
			}
			l.wait(8*time.Minute + 50*time.Second) // an access token lives 9 minutes at least
			if got := l.orders("GET", in.json.AccessToken); got != http.StatusOK {
				t.Errorf("a request within the bound: %d", got)
			}
			got := l.refresh(in.json.RefreshToken)
			if got.status != http.StatusCreated {
				t.Fatalf("a refresh within the bound: %d %s", got.status, got.body)
			}
			if metrics, err := l.send("GET", l.URL(server.Admin)+"/metrics", nil); err != nil || strings.Contains(string(metrics.body), "counterfoil_directory_stale_total 0\n") {
				t.Errorf("what was too old was not counted: %v", err)
			}
			l.wait(3*time.Minute + 10*time.Second)
			if got := l.orders("GET", got.json.AccessToken); got != http.StatusServiceUnavailable {
				t.Errorf("a request beyond the bound: %d", got)
			}
			if got := l.post("/authn/login", map[string]string{"username": "reader", "password": readerPW}, "X-Okapi-Tenant", "diku"); name != "answers with another" && got.status != http.StatusServiceUnavailable {
				t.Errorf("a login: %d %s", got.status, got.body)
			}
			for _, m := range l.folio.Modules() {
				l.folio.Misbehave(m.ID, nil)
			}
			l.wait(10 * time.Second) // the pause of the breaker
			if got := l.orders("GET", got.json.AccessToken); got != http.StatusOK {
				t.Errorf("afterwards: %d", got)
			}
			if got := l.refresh(got.json.RefreshToken); got.status != http.StatusCreated {
				t.Errorf("a refresh afterwards: %d %s", got.status, got.body)
			}
		})
	}
}

func TestARefreshBeyondTheBoundIsUnavailableAndChangesNothing(t *testing.T) {
	l := openLibrary(t, nil)
	in := l.login()
	l.folio.Misbehave(foliotest.Users, foliotest.Fails(500))
	l.wait(12 * time.Minute)
	if got := l.refresh(in.json.RefreshToken); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("answered %d %v", got.status, got.header)
	}
	l.folio.Misbehave(foliotest.Users, nil)
	l.wait(10 * time.Second)
	if got := l.refresh(in.json.RefreshToken); got.status != http.StatusCreated {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
}

// What a descriptor lends may be a set that only mod-permissions knows.
func TestLentSetsAreExpandedByFOLIO(t *testing.T) {
	l := openLibrary(t, nil)
	access := l.login().json.AccessToken
	got, err := l.send("GET", l.URL(server.Public)+"/orders", nil, "X-Okapi-Token", access, "X-Okapi-Tenant", "diku")
	l.must(err)
	var seen map[string]string
	l.must(json.Unmarshal(got.body, &seen))
	users := func() int {
		t.Helper()
		got, err := l.send("GET", l.URL(server.Internal)+"/users", nil, "X-Okapi-Token", seen["token"], "X-Okapi-Tenant", "diku")
		l.must(err)
		return got.status
	}
	if got := users(); got != http.StatusForbidden {
		t.Errorf("before the set is defined: %d", got)
	}
	l.folio.Define("diku", "users.basic", "users.collection.get")
	l.wait(time.Minute)
	if got := users(); got != http.StatusOK {
		t.Errorf("with the set: %d", got)
	}
}

// The question needs permissions itself, and must not be asked to answer itself.
func TestQuestionsAboutUsersAskNoFurtherQuestions(t *testing.T) {
	l := openLibrary(t, nil)
	in := l.login()
	// A release of mod-permissions that demands what nobody lends us.
	m := l.folio.Module(foliotest.Permissions)
	m.ID = "mod-permissions-9.0.0"
	m.Descriptor = []byte(strings.NewReplacer("6.5.0", "9.0.0", `"perms.users.get"`, `"perms.renamed.get"`).Replace(string(m.Descriptor)))
	ctx := l.operator()
	d, err := gateway.ParseDescriptor(m.Descriptor)
	l.must(err)
	l.must(l.Gateway().Register(ctx, true, d))
	_, err = l.Gateway().Install(ctx, "diku", []gateway.InstallEntry{{ID: m.ID, Action: "enable"}}, &gateway.InstallOptions{})
	l.must(err)
	l.must(l.Store().SaveInstance(ctx, directory.Instance{ID: "new", Module: m.ID, URL: m.URL}, audit.Event{Kind: audit.ModuleChanged}))
	l.folio.Forget()
	l.wait(time.Hour)
	began := time.Now()
	if got := l.orders("GET", in.json.AccessToken); got != http.StatusUnauthorized && got != http.StatusServiceUnavailable {
		t.Errorf("answered %d", got)
	}
	in = l.login()
	if got := l.orders("GET", in.json.AccessToken); got != http.StatusServiceUnavailable {
		t.Errorf("answered %d", got)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("took %s: it waited for itself", took)
	}
	if asked := l.folio.Requests(foliotest.Permissions); len(asked) != 0 {
		t.Errorf("reached %+v", asked)
	}
}

func TestElevatedOnlyHoldsForUsersOfFOLIO(t *testing.T) {
	l := openLibrary(t, nil)
	if got := l.ask("PUT", "/counterfoil/tenants/diku/permissions/orders.collection.delete", map[string]any{"elevatedOnly": true}); got.status != http.StatusOK {
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	access := l.login().json.AccessToken
	if got := l.orders("DELETE", access); got != http.StatusForbidden {
		t.Errorf("with an ordinary token: %d", got)
	}
	raised := l.post("/authn/elevate", map[string]any{"password": readerPW, "permissions": []string{"orders.collection.delete"}},
		"X-Okapi-Token", access, "X-Okapi-Tenant", "diku")
	if got := l.orders("DELETE", raised.json.AccessToken); got != http.StatusOK {
		t.Errorf("with raised scope: %d (%d %s)", got, raised.status, raised.body)
	}
}

func TestUsersOfFOLIOAreNotChangedFromHere(t *testing.T) {
	l := openLibrary(t, nil)
	users := "/counterfoil/tenants/diku/users"
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", users, nil, http.StatusConflict},
		{"POST", users, map[string]string{"username": "new"}, http.StatusConflict},
		{"PUT", users + "/reader", map[string]any{"active": false}, http.StatusConflict},
		{"DELETE", users + "/reader", nil, http.StatusConflict},
		{"PUT", users + "/reader/permissions", map[string]any{"permissions": []string{}, "elevated": []string{}}, http.StatusConflict},
		{"GET", users + "/READER", nil, http.StatusOK},
		{"GET", users + "/nobody", nil, http.StatusNotFound},
		{"PUT", users + "/reader/password", map[string]string{"password": readerPW + " new"}, http.StatusOK},
		{"DELETE", users + "/reader/sessions", nil, http.StatusOK},
	} {
		if got := l.ask(c.method, c.path, c.body); got.status != c.status {
			t.Errorf("%s %s answered %d %s, want %d", c.method, c.path, got.status, got.body, c.status)
		}
	}
	if got := l.ask("GET", users+"/reader", nil); !strings.Contains(string(got.body), `"permissions":["orders.all"]`) {
		t.Errorf("shown as %s", got.body)
	}
	l.folio.Misbehave(foliotest.Users, foliotest.Fails(500))
	if got := l.ask("GET", users+"/reader", nil); got.status != http.StatusServiceUnavailable {
		t.Errorf("while FOLIO is down: %d %s", got.status, got.body)
	}
}

// Whoever mends the gateway gets in while FOLIO is down.
func TestTheSupertenantIsOurOwn(t *testing.T) {
	l := openLibrary(t, nil)
	for _, m := range l.folio.Modules() {
		l.folio.Misbehave(m.ID, foliotest.Drops)
	}
	l.folio.Forget()
	body := map[string]any{"username": "mender", "password": readerPW, "permissions": []string{"counterfoil.all"}}
	if got := l.ask("POST", "/counterfoil/tenants/supertenant/users", body); got.status != http.StatusCreated {
		t.Fatalf("created: %d %s", got.status, got.body)
	}
	in := l.post("/authn/login", map[string]string{"username": "mender", "password": readerPW}, "X-Okapi-Tenant", "supertenant")
	got, err := l.send("GET", l.URL(server.Public)+"/authn/sessions", nil, "X-Okapi-Token", in.json.AccessToken, "X-Okapi-Tenant", "supertenant")
	if err != nil || got.status != http.StatusOK {
		t.Errorf("answered %v, %v", got, err)
	}
	if asked := l.folio.Requests(""); len(asked) != 0 {
		t.Errorf("FOLIO was asked %+v", asked)
	}
}

// mod-login's checks for consortia.
func TestLoginsOfAConsortiumGoToTheHomeTenant(t *testing.T) {
	l := openLibrary(t, func(c *server.Config) { c.Directory.Consortium = true })
	const memberID, severalID = "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007", "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0008"
	l.folio.AddTenant("member")
	for id, name := range map[string]string{memberID: "member", severalID: "several"} {
		l.folio.AddUser("member", foliotest.User{ID: id, Username: name, Active: foliotest.Active(true)})
		l.folio.AddUserTenant("diku", foliotest.UserTenant{UserID: id, Username: name, TenantID: "member"})
	}
	l.folio.AddUserTenant("diku", foliotest.UserTenant{UserID: severalID, Username: "several", TenantID: "nowhere"})
	ctx := l.operator()
	l.must(l.Store().CreateTenant(ctx, directory.Tenant{ID: "member"}, audit.Event{Kind: audit.TenantCreated, Tenant: "member"}))
	for _, id := range []string{foliotest.Users, foliotest.Permissions} {
		_, err := l.Gateway().Install(ctx, "member", []gateway.InstallEntry{{ID: id, Action: "enable"}}, &gateway.InstallOptions{})
		l.must(err)
	}
	for _, id := range []string{memberID, severalID} {
		_, err := l.Sessions().SetPassword(ctx, "member", id, readerPW, token.SessionID{})
		l.must(err)
	}
	for _, c := range []struct {
		body   map[string]string
		tenant string
		status int
	}{
		{map[string]string{"username": "member"}, "member", 201},
		{map[string]string{"userId": memberID}, "member", 201},
		{map[string]string{"username": "several", "tenant": "member"}, "member", 201},
		{map[string]string{"userId": severalID, "tenant": "member"}, "member", 201},
		{map[string]string{"username": "several"}, "", 422},
		{map[string]string{"username": "several", "tenant": "nowhere"}, "", 422},
		{map[string]string{"username": "stranger", "tenant": "member"}, "", 422},
		{map[string]string{"username": "reader"}, "diku", 201},
		{map[string]string{"username": `*" or username=="member`}, "", 422},
		{map[string]string{"username": "mem\u200bber"}, "", 422},
	} {
		c.body["password"] = readerPW
		got := l.post("/authn/login", c.body, "X-Okapi-Tenant", "diku")
		var in struct{ TenantID string }
		_ = json.Unmarshal(got.body, &in)
		if got.status != c.status || in.TenantID != c.tenant {
			t.Errorf("%v: %d %s", c.body, got.status, got.body)
		}
	}
	// A client goes on naming the tenant in which it logged in.
	tokens := l.post("/authn/login", map[string]string{"username": "member", "password": readerPW}, "X-Okapi-Tenant", "diku").json
	refresh := func(tenant string) *reply {
		l.wait(time.Minute)
		return l.post("/authn/refresh", map[string]string{"refreshToken": tokens.RefreshToken}, "X-Okapi-Tenant", tenant)
	}
	for _, tenant := range []string{"diku", "member"} {
		got := refresh(tenant).want(t, 201, `"tenantId":"member"`)
		tokens = got.json
	}
	// T-8: somebody of one tenant is nobody in another because a row there names
	// somebody else.
	l.must(l.Store().CreateTenant(ctx, directory.Tenant{ID: "stranger"}, audit.Event{Kind: audit.TenantCreated, Tenant: "stranger"}))
	l.folio.AddTenant("stranger")
	_, err := l.Gateway().Install(ctx, "stranger", []gateway.InstallEntry{{ID: foliotest.Users, Action: "enable"}}, &gateway.InstallOptions{})
	l.must(err)
	l.folio.AddUserTenant("stranger", foliotest.UserTenant{UserID: severalID, Username: "several", TenantID: "member"})
	refresh("stranger").want(t, 422, "token.refresh.unprocessable")
	l.folio.Misbehave(foliotest.Users, foliotest.Fails(500))
	if got := l.post("/authn/login", map[string]string{"username": "member", "password": readerPW}, "X-Okapi-Tenant", "diku"); got.status != http.StatusServiceUnavailable {
		t.Errorf("while FOLIO is down: %d", got.status)
	}
	refresh("diku").want(t, 503, "")
	l.folio.Misbehave(foliotest.Users, nil)
	refresh("member").want(t, 201, `"tenantId":"member"`) // nothing was spent
}

// All who ask about the same user at the same time share one question.
func TestManyRequestsAskOnce(t *testing.T) {
	l := openLibrary(t, nil)
	access := l.login().json.AccessToken
	l.folio.Misbehave(foliotest.Users, foliotest.Slow(100*time.Millisecond))
	l.folio.Forget()
	l.wait(time.Minute)
	answers := make(chan int)
	for range 20 {
		go func() {
			got, err := l.send("GET", l.URL(server.Public)+"/orders", nil, "X-Okapi-Token", access, "X-Okapi-Tenant", "diku")
			if err != nil {
				answers <- 0
				return
			}
			answers <- got.status
		}()
	}
	for range 20 {
		if got := <-answers; got != http.StatusOK {
			t.Errorf("answered %d", got)
		}
	}
	if n := len(l.folio.Requests(foliotest.Users)); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestDirectorySettingsAreChecked(t *testing.T) {
	for _, c := range []struct {
		set  func(*server.Config)
		want string
	}{
		{func(c *server.Config) { c.Directory.Source = "ldap" }, "directory.source"},
		{func(c *server.Config) { c.Directory.URL = "http://okapi:9130" }, "directory.url"},
		{func(c *server.Config) { c.Directory.Source, c.Directory.URL = "folio", "okapi" }, "directory.url"},
		{func(c *server.Config) { c.Directory.Source, c.Directory.URL = "folio", "http://169.254.169.254/latest" }, "directory.url"},
		{func(c *server.Config) { c.Directory.Source, c.Directory.URL = "folio", "http://okapi?x=1" }, "directory.url"},
		{func(c *server.Config) { c.Directory.Timeout = session.Duration(time.Minute) }, "directory.timeout"},
		{func(c *server.Config) { c.Directory.TTL = session.Duration(time.Millisecond) }, "directory.ttl"},
		{func(c *server.Config) { c.Directory.Stale = session.Duration(25 * time.Hour) }, "directory.stale"},
		{func(c *server.Config) { c.Directory.Users = -1 }, "directory.users"},
		{func(c *server.Config) { c.Directory.Source, c.Login.DeactivateAfter = "folio", 5 }, "login.deactivate_after"},
		{func(c *server.Config) {
			c.Directory.Source, c.Directory.URL = "folio", "https://folio.example.org/okapi"
		}, ""},
	} {
		config := &server.Config{Data: t.TempDir()}
		c.set(config)
		config.SetDefaults()
		faults := config.Check()
		if c.want == "" && len(faults) > 0 || c.want != "" && !slices.ContainsFunc(faults, func(err error) bool { return strings.HasPrefix(err.Error(), c.want+":") }) {
			t.Errorf("faults %v, want one of %q", faults, c.want)
		}
	}
}
