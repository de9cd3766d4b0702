package folio_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// The lines are those of mod-login's own test suite, in its order; the table in
// docs/folio-compat.md has them all. Lines about which other tests of this
// package say enough are not here.

const (
	newPassword = "a pelican of good hope"
	nobodyID    = "00000000-0000-4000-8000-00000000dead"
)

// lent is a header line with the token of a module that has these permissions
// and serves nobody in particular.
func (w *world) lent(permissions ...string) string {
	return "X-Okapi-Token: " + w.moduleToken("diku", "", permissions...)
}

// ask sends JSON to the internal listener, from an address of its own.
func (w *world) ask(method, path, body string, header ...string) answer {
	w.t.Helper()
	return w.do(call{method: method, path: path, body: body, internal: true, header: append(header, "X-Okapi-Tenant: diku", jsonType, w.stranger())})
}

// tryLogin is the status of a login.
func (w *world) tryLogin(user, password string) int {
	w.t.Helper()
	return w.ask("POST", "/authn/login-with-expiry", fmt.Sprintf(`{"username":%q,"password":%q}`, user, password)).status
}

// want compares status and the beginning of the body.
func (a answer) want(t testing.TB, status int, begin string) {
	t.Helper()
	if a.status != status || !strings.HasPrefix(a.body, begin) {
		t.Errorf("got %d %q, want %d %q", a.status, a.body, status, begin)
	}
}

// refusedLogin is FOLIO's, to the byte.
const refusedLogin = `{"errors":[{"message":"Wrong username or wrong password or account blocked","type":"error","code":"wrong.username.or.wrong.password.or.account.blocked"}]}`

func TestChecklistOfModLogin(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"7.4-01 logins are refused with FOLIO's statuses and words": func(t *testing.T) {
			w := newWorld(t, setup{})
			w.must(w.sessions.CreateUser(t.Context(), directory.User{ID: nobodyID, Tenant: "diku", Username: "bare", Active: true}, directory.Grants{}, ""))
			for body, want := range map[string]string{
				`{"password":"x"}`: "400 You must provide a username or userId",
				`{"username":"x"}`: "400 You must provide a password",
				`{"userId":"` + nobodyID + `","password":"secret of reader"}`: "422 " + refusedLogin,
				`{"username":"reader","password":"wrong"}`:                    "422 " + refusedLogin,
				`{"username":"nobody","password":"secret of reader"}`:         "422 " + refusedLogin,
				`{"username":"blocked","password":"secret of blocked"}`:       "422 " + refusedLogin,
				`{"username":"bare","password":"secret of reader"}`:           "422 " + refusedLogin,
			} {
				a := w.ask("POST", "/authn/login-with-expiry", body)
				if got := fmt.Sprint(a.status, " ", a.body); got != want {
					t.Errorf("%s: %s, want %s", body, got, want)
				}
			}
		},
		"7.4-02 a login sets two cookies and tells two expirations": func(t *testing.T) {
			w := newWorld(t, setup{})
			a := w.web("reader")
			for name, path := range map[string]string{"folioAccessToken": "/", "folioRefreshToken": "/authn"} {
				c := a.cookies[name]
				if c == nil || c.Value == "" || c.MaxAge <= 0 || c.Path != path || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Domain != "" {
					t.Errorf("%s: %+v", name, c)
				}
			}
			for _, key := range []string{"accessTokenExpiration", "refreshTokenExpiration"} {
				if _, err := time.Parse("2006-01-02T15:04:05Z", a.field(key)); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
			if a.field("accessToken")+a.field("okapiToken")+a.header.Get("X-Okapi-Token") != "" {
				t.Errorf("a token where scripts read it: %s", a.body)
			}
		},
		"7.4-04 the login of scripts has the token in body and header": func(t *testing.T) {
			w := newWorld(t, setup{})
			a := w.script("reader")
			if token := a.field("okapiToken"); token == "" || a.header.Get("X-Okapi-Token") != token {
				t.Errorf("%s, header %q", a.body, a.header.Get("X-Okapi-Token"))
			}
			w.do(call{method: "POST", path: "/token", header: []string{"X-Okapi-Tenant: diku"}}).want(t, 404, "Error: Tenant not a legacy token tenant")
		},
		"7.4-05 no endpoint of the login asks for X-Okapi-Url": func(t *testing.T) {
			w := newWorld(t, setup{})
			w.web("reader")
			w.ask("POST", "/authn/credentials", `{"userId":"`+nobodyID+`","password":"`+newPassword+`"}`, w.lent("login.item.post")).want(t, 201, `{"id":`)
			w.ask("POST", "/authn/update", `{"username":"reader","password":"secret of reader","newPassword":"`+newPassword+`"}`).want(t, 204, "")
		},
		"7.4-06 a tenant in the body must be that of the header": func(t *testing.T) {
			w := newWorld(t, setup{})
			body := func(tenant string) string {
				return `{"username":"reader","password":"secret of reader","tenant":"` + tenant + `"}`
			}
			w.ask("POST", "/authn/login-with-expiry", body("diku")).want(t, 201, "")
			w.ask("POST", "/authn/login-with-expiry", body("other")).want(t, 400, "Different tenants")
		},
		"7.4-10 credentials are created once and deleted": func(t *testing.T) {
			w := newWorld(t, setup{})
			const id = "ABCDEF00-0000-4000-8000-000000000009"
			post, remove := w.lent("login.item.post"), w.lent("login.item.delete")
			create := func(body string) answer { return w.ask("POST", "/authn/credentials", body, post) }
			create(`{"userId":"`+id+`","password":"`+newPassword+`"}`).want(t, 201, `{"id":"`+strings.ToLower(id)+`"`)
			create(`{"userId":"`+id+`","password":"`+newPassword+`"}`).want(t, 422, `{"errors":[{"message":"There already exists credentials for user id '`+strings.ToLower(id)+`'"`)
			create(`{"userId":"`+id+`","password":""}`).want(t, 422, `{"errors":[{"message":"Password is missing or empty"`)
			create(`{"userId":"`+id+`"}`).want(t, 422, `{"errors":[{"message":"Password is missing or empty"`)
			create(`{"username":"nobody","password":"`+newPassword+`"}`).want(t, 400, "Error looking up user: ")
			create(`{"password":"`+newPassword+`"}`).want(t, 400, "You must provide a username or userId")
			create(`{"userId":"'; DROP TABLE users","password":"`+newPassword+`"}`).want(t, 400, "userId is not a UUID")
			create(`{"userId":"`+nobodyID+`","password":"short"}`).want(t, 422, `{"errors":[{"message":"Password not accepted: it must have at least 15 characters`)
			create(`{"username":"reader","password":"`+newPassword+`"}`).want(t, 422, `{"errors":[{"message":"There already exists`)
			w.ask("GET", "/authn/credentials", "", post).want(t, 405, "")
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				w.ask(method, "/authn/credentials/"+id, "", post).want(t, 404, "")
			}
			session := w.web("reader")
			w.ask("DELETE", "/authn/credentials?userId="+strings.ToUpper(readerID), "", remove).want(t, 204, "")
			w.refresh(session.cookie("folioRefreshToken")).want(t, 422, "")
			w.ask("DELETE", "/authn/credentials?userId="+readerID, "", remove).want(t, 404, "No credentials for userId "+readerID+" found")
			w.ask("DELETE", "/authn/credentials?userId=x", "", remove).want(t, 400, "")
			if got := w.tryLogin("reader", "secret of reader"); got != 422 {
				t.Errorf("login without credentials: %d", got)
			}
			w.must(w.store.Close())
			w.ask("DELETE", "/authn/credentials?userId="+adminID, "", remove).want(t, 503, "")
		},
		"7.4-11 whether credentials exist": func(t *testing.T) {
			w := newWorld(t, setup{})
			may := w.lent("login.credentials-existence.get")
			w.ask("GET", "/authn/credentials-existence?userId="+readerID, "", may).want(t, 200, `{"credentialsExist":true}`)
			w.ask("GET", "/authn/credentials-existence?userId="+nobodyID, "", may).want(t, 200, `{"credentialsExist":false}`)
			w.ask("GET", "/authn/credentials-existence?userId="+otherID, "", may).want(t, 200, `{"credentialsExist":false}`) // of another tenant
			w.ask("GET", "/authn/credentials-existence", "", may).want(t, 400, "")
		},
		"7.4-12 a password is updated by whoever knows the old one": func(t *testing.T) {
			w := newWorld(t, setup{})
			before := w.web("reader")
			update := func(body string) answer { return w.ask("POST", "/authn/update", body) }
			update(`{"username":"reader","password":"wrong","newPassword":"`+newPassword+`"}`).want(t, 401, "Invalid credentials")
			update(`{"username":"nobody","password":"wrong","newPassword":"`+newPassword+`"}`).want(t, 401, "Invalid credentials")
			update(`{"password":"secret of reader","newPassword":"`+newPassword+`"}`).want(t, 400, "You must provide a username or userId")
			update(`{"username":"reader","newPassword":"`+newPassword+`"}`).want(t, 400, "You must provide a password")
			update(`{"username":"reader","password":"secret of reader"}`).want(t, 400, "You must provide a new password that isn't empty")
			update(`{"username":"reader","password":"secret of reader","newPassword":""}`).want(t, 400, "You must provide a new password that isn't empty")
			update(`{"username":"reader","password":"secret of reader","newPassword":"reader reader reader"}`).want(t, 400, `{"errors":[{"message":"Password not accepted: it must not contain the user name"`)
			w.refresh(before.cookie("folioRefreshToken")).want(t, 201, "") // nothing has happened yet
			update(`{"userId":"`+strings.ToUpper(readerID)+`","password":"secret of reader","newPassword":"`+newPassword+`"}`).want(t, 204, "")
			w.refresh(before.cookie("folioRefreshToken")).want(t, 422, "")
			if old, fresh := w.tryLogin("reader", "secret of reader"), w.tryLogin("reader", newPassword); old != 422 || fresh != 201 {
				t.Errorf("old password %d, new one %d", old, fresh)
			}
		},
		"7.4-13 wrong passwords are counted and block where FOLIO's rule is on": func(t *testing.T) {
			w := newWorld(t, setup{Deactivate: 2})
			count := func(want string) {
				t.Helper()
				w.ask("GET", "/authn/loginAttempts/"+readerID, "", w.lent("login.attempts.item.get")).want(t, 200,
					`{"id":"`+readerID+`","userId":"`+readerID+`","attemptCount":`+want+`,"lastAttempt":"2024-01-01T08:00:00Z"}`)
			}
			w.ask("GET", "/authn/loginAttempts/"+readerID, "", w.lent("login.attempts.item.get")).want(t, 404, "No user login attempts found for id "+readerID)
			w.tryLogin("reader", "wrong")
			count("1")
			w.web("reader")
			count("0")
			w.tryLogin("reader", "wrong")
			w.ask("POST", "/authn/update", `{"username":"reader","password":"secret of reader","newPassword":"`+newPassword+`"}`).want(t, 204, "")
			count("0")
			alive := w.ask("POST", "/authn/login-with-expiry", `{"username":"reader","password":"`+newPassword+`"}`)
			w.tryLogin("reader", "wrong")
			w.tryLogin("reader", "wrong")
			if got := w.tryLogin("reader", newPassword); got != 422 {
				t.Errorf("login of a blocked user: %d", got)
			}
			count("0")
			w.refresh(alive.cookie("folioRefreshToken")).want(t, 422, "")
		},
		"7.4-14 without FOLIO's rule three failures block nobody": func(t *testing.T) {
			w := newWorld(t, setup{})
			for range 3 {
				w.tryLogin("reader", "wrong")
			}
			w.web("reader")
		},
		"7.4-15 the first password is in the history, and ten of them are": func(t *testing.T) {
			w := newWorld(t, setup{})
			w.rename("reader", "secret of reader", 11)
			all, err := w.store.FormerPasswords(t.Context(), "diku", readerID, 100)
			w.must(err)
			if len(all) != 10 {
				t.Errorf("%d former passwords, want 10", len(all))
			}
		},
		"7.4-16 a password must not be one of the last ten": func(t *testing.T) {
			w := newWorld(t, setup{})
			repeatable := func(id, password, want string) {
				t.Helper()
				w.ask("POST", "/authn/password/repeatable", `{"userId":"`+id+`","password":"`+password+`"}`,
					w.lent("login.password.validate")).want(t, 200, `{"result":"`+want+`"}`)
			}
			w.rename("reader", "secret of reader", 10)
			repeatable(readerID, newPassword, "valid")
			repeatable(readerID, numbered(10), "invalid") // the present one
			repeatable(readerID, numbered(1), "invalid")  // the tenth
			repeatable(readerID, "secret of reader", "valid")
			repeatable(nobodyID, newPassword, "valid")
		},
		"7.4-17 reset actions": func(t *testing.T) {
			w := newWorld(t, setup{})
			const one, two = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11", "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c12"
			may := w.lent("login.password-reset-action.post", "login.password-reset-action.get", "login.password-reset.post")
			create := func(id, user, expires string) answer {
				return w.ask("POST", "/authn/password-reset-action", `{"id":"`+id+`","userId":"`+user+`","expirationTime":"`+expires+`"}`, may)
			}
			use := func(id string) answer {
				return w.ask("POST", "/authn/reset-password", `{"passwordResetActionId":"`+id+`","newPassword":"`+newPassword+`"}`, may)
			}
			w.must(w.sessions.CreateUser(t.Context(), directory.User{ID: nobodyID, Tenant: "diku", Username: "bare", Active: true}, directory.Grants{}, ""))
			create(one, readerID, "2024-01-01T09:00:00.000+0000").want(t, 201, `{"passwordExists":true}`)
			create(two, nobodyID, "2024-01-01T09:00:00Z").want(t, 201, `{"passwordExists":false}`)
			w.ask("GET", "/authn/password-reset-action/"+one, "", may).want(t, 200, `{"id":"`+one+`","userId":"`+readerID+`","expirationTime":"2024-01-01T09:00:00Z"}`)
			w.ask("GET", "/authn/password-reset-action/"+readerID, "", may).want(t, 404, "Password action with ID: `"+readerID+"` was not found in the db")
			for _, bad := range []answer{create("x", readerID, "2024-01-01T09:00:00Z"), create(one, "x", "2024-01-01T09:00:00Z"), create(one, readerID, "soon"), create(one, readerID, "2034-01-01T09:00:00Z"), create(one, nobodyID[:35]+"0", "")} {
				bad.want(t, 400, "")
			}
			use(readerID).want(t, 400, "Password action with ID: `"+readerID+"` was not found in the db")
			session := w.web("reader")
			use(one).want(t, 201, `{"isNewPassword":false}`)
			w.refresh(session.cookie("folioRefreshToken")).want(t, 422, "")
			use(one).want(t, 400, "Password action")
			w.ask("GET", "/authn/password-reset-action/"+one, "", may).want(t, 404, "")
			use(two).want(t, 201, `{"isNewPassword":true}`)
			if got := w.tryLogin("bare", newPassword); got != 201 {
				t.Errorf("login with the new password: %d", got)
			}
			create(one, adminID, "2024-01-01T09:00:00Z").want(t, 201, "")
			create(two, adminID, "2024-01-01T09:00:00Z").want(t, 201, "") // in its place
			use(one).want(t, 400, "")
			w.clock.add(time.Hour)
			may = w.lent("login.all")
			use(two).want(t, 400, "") // over
			create(one, "00000000-0000-4000-8000-000000000abc", "2024-01-01T10:00:00Z").want(t, 201, "")
			use(one).want(t, 400, `{"errors":[{"message":"invalid: the user of the action does not exist"`)
		},
		"7.4-18 the event log is off, on for some types, on": func(t *testing.T) {
			const body = `{"tenant":"diku","userId":"` + readerID + `","eventType":"PASSWORD_CHANGE","ip":"192.0.2.9","browserInformation":"a browser"}`
			off := newWorld(t, setup{})
			may := func(w *world) string { return w.lent("login.all") }
			off.ask("POST", "/authn/log/events", body, may(off)).want(t, 204, "")
			off.ask("GET", "/authn/log/events", "", may(off)).want(t, 204, "")
			off.ask("DELETE", "/authn/log/events/"+readerID, "", may(off)).want(t, 204, "")
			some := newWorld(t, setup{LoginLog: []string{"FAILED_LOGIN_ATTEMPT"}})
			some.ask("POST", "/authn/log/events", body, may(some)).want(t, 204, "")
			some.ask("GET", "/authn/log/events", "", may(some)).want(t, 200, `{"loggingEvent":[],"totalRecords":0}`)
			some.ask("DELETE", "/authn/log/events/"+readerID, "", may(some)).want(t, 404, "No events found")
			on := newWorld(t, setup{LoginLog: []string{"PASSWORD_CHANGE"}})
			on.ask("POST", "/authn/log/events", body, may(on)).want(t, 201, "Event id: ")
			on.ask("GET", "/authn/log/events?query=userId%3D%3D"+readerID, "", may(on)).want(t, 200, `{"loggingEvent":[{"id":"`)
			on.ask("GET", "/authn/log/events?query=userId%3D%3D"+adminID, "", may(on)).want(t, 200, `{"loggingEvent":[],"totalRecords":0}`)
			on.ask("GET", "/authn/log/events?query="+url.QueryEscape(`userId=="x" or cql.allRecords=1`), "", may(on)).want(t, 400, "Query not understood")
			on.ask("GET", "/authn/log/events?limit=-1", "", may(on)).want(t, 400, "")
			on.ask("POST", "/authn/log/events", strings.Replace(body, "PASSWORD_CHANGE", "ANYTHING", 1), may(on)).want(t, 400, "")
			on.ask("POST", "/authn/log/events", strings.Replace(body, "192.0.2.9", "\\u0000", 1), may(on)).want(t, 400, "")
			on.ask("DELETE", "/authn/log/events/"+readerID, "", may(on)).want(t, 200, "Events of user "+readerID)
			on.ask("GET", "/authn/log/events", "", may(on)).want(t, 200, `{"loggingEvent":[],"totalRecords":0}`)
			on.ask("DELETE", "/authn/log/events/"+readerID, "", may(on)).want(t, 404, "")
		},
		"7.4-19 events tell who did what from where": func(t *testing.T) {
			w := newWorld(t, setup{Deactivate: 1, LoginLog: []string{
				"SUCCESSFUL_LOGIN_ATTEMPT", "FAILED_LOGIN_ATTEMPT", "USER_BLOCK", "PASSWORD_CREATE", "PASSWORD_CHANGE", "PASSWORD_RESET",
			}})
			const at = "Test-Address: 203.0.113.77"
			send := func(path, body string, header ...string) {
				w.do(call{method: "POST", path: path, body: body, internal: true, header: append(header, "X-Okapi-Tenant: diku", jsonType, at, "User-Agent: an old browser")})
			}
			send("/authn/credentials", `{"userId":"`+nobodyID+`","password":"`+newPassword+`"}`, w.lent("login.all"))
			send("/authn/password-reset-action", `{"id":"`+nobodyID+`","userId":"`+readerID+`","expirationTime":"2024-01-01T09:00:00Z"}`, w.lent("login.all"))
			send("/authn/reset-password", `{"passwordResetActionId":"`+nobodyID+`","newPassword":"`+newPassword+`"}`, w.lent("login.all"))
			send("/authn/update", `{"username":"reader","password":"`+newPassword+`","newPassword":"`+newPassword+` again"}`)
			send("/authn/login", `{"username":"reader","password":"`+newPassword+` again"}`)
			send("/authn/login", `{"username":"reader","password":"wrong"}`)
			a := w.ask("GET", "/authn/log/events?limit=100", "", w.lent("login.event.collection.get"))
			var told []string
			for _, part := range strings.Split(a.body, `"eventType":"`)[1:] {
				name, rest, _ := strings.Cut(part, `"`)
				told = append(told, name)
				if !strings.HasPrefix(rest, `,"ip":"203.0.113.77","browserInformation":"an old browser","timestamp":"2024-01-01T08:00:00Z"}`) {
					t.Errorf("%s %s", name, rest)
				}
			}
			want := []string{"USER_BLOCK", "FAILED_LOGIN_ATTEMPT", "SUCCESSFUL_LOGIN_ATTEMPT", "PASSWORD_CHANGE", "PASSWORD_RESET", "PASSWORD_CREATE"}
			if !slices.Equal(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
		},
		"7.4-21 names are never read as a query or a path": func(t *testing.T) {
			w := newWorld(t, setup{})
			for _, name := range []string{`x" or username=="reader`, `reader*`, `back\slash`, `Zoë Ångström`, `a/../b`, `%72eader`} {
				w.must(w.sessions.CreateUser(t.Context(), directory.User{
					ID: strings.Replace(nobodyID, "dead", fmt.Sprintf("%04x", len(name)+1), 1), Tenant: "diku", Username: name, Active: true,
				}, directory.Grants{}, newPassword))
				a := w.ask("POST", "/bl-users/login-with-expiry", fmt.Sprintf(`{"username":%q,"password":%q}`, name, newPassword))
				if a.status != 201 || a.field("user", "username") != name {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
				a = w.ask("GET", "/bl-users/by-username/"+url.PathEscape(name), "", w.lent("users-bl.item.get"))
				if a.status != 200 || a.field("user", "username") != name {
					t.Errorf("%s by name: %d %s", name, a.status, a.body)
				}
				_, err := w.sessions.DeleteUser(t.Context(), "diku", a.field("user", "id"))
				w.must(err)
			}
		},
	} {
		t.Run(name, test)
	}
}

// numbered is a password that the rules accept.
func numbered(n int) string { return fmt.Sprintf("pelican number %d of %d", n, 7*n) }

// rename changes the password of a user so often, to numbered ones.
func (w *world) rename(user, password string, times int) {
	w.t.Helper()
	for n := 1; n <= times; n++ {
		w.ask("POST", "/authn/update", fmt.Sprintf(`{"username":%q,"password":%q,"newPassword":%q}`, user, password, numbered(n))).want(w.t, 204, "")
		password = numbered(n)
	}
}

// Each endpoint that needs a permission, with one that it does not take.
var guardedByLogin = map[string]string{
	"POST /authn/credentials":                             "login.item.post",
	"DELETE /authn/credentials?userId=" + nobodyID:        "login.item.delete",
	"GET /authn/credentials-existence?userId=" + readerID: "login.credentials-existence.get",
	"POST /authn/password/repeatable":                     "login.password.validate",
	"POST /authn/password-reset-action":                   "login.password-reset-action.post",
	"GET /authn/password-reset-action/x":                  "login.password-reset-action.get",
	"POST /authn/reset-password":                          "login.password-reset.post",
	"GET /authn/loginAttempts/" + readerID:                "login.attempts.item.get",
	"GET /authn/log/events":                               "login.event.collection.get",
	"POST /authn/log/events":                              "login.event.collection.post",
	"DELETE /authn/log/events/" + readerID:                "login.event.delete",
	"GET /bl-users/by-username/reader":                    "users-bl.item.get",
	"GET /bl-users/by-id/" + readerID:                     "users-bl.item.get",
	"POST /bl-users/password-reset/link":                  "users-bl.password-reset-link.generate",
}

func TestCredentialEndpointsNeedFOLIOsPermissions(t *testing.T) {
	w := newWorld(t, setup{})
	user := "X-Okapi-Token: " + w.script("reader").field("accessToken")
	refused := func(a answer, permission string) {
		t.Helper()
		if a.status != http.StatusForbidden || !strings.HasSuffix(a.body, "requires permission: "+permission) {
			t.Errorf("%s: %d %s", permission, a.status, a.body)
		}
	}
	for endpoint, permission := range guardedByLogin {
		method, path, _ := strings.Cut(endpoint, " ")
		send := func(internal bool, header ...string) answer {
			return w.do(call{method: method, path: path, internal: internal, header: append(header, "X-Okapi-Tenant: diku", jsonType)})
		}
		a := send(false)
		if a.status != http.StatusUnauthorized || a.body != "Token missing, access requires permission: "+permission {
			t.Errorf("%s without token: %d %s", endpoint, a.status, a.body)
		}
		refused(send(false, user), permission)
		refused(send(true, w.lent("login.other", "users-bl.other")), permission)
		if a := send(false, w.lent(permission)); a.status != http.StatusUnauthorized {
			t.Errorf("%s with a module's token from outside: %d", endpoint, a.status)
		}
		if a := send(true, w.lent(permission)); a.status == http.StatusForbidden || a.status == http.StatusUnauthorized {
			t.Errorf("%s with its permission: %d %s", endpoint, a.status, a.body)
		}
	}
	w.must(w.sessions.SetGrants(context.Background(), "diku", readerID, directory.Grants{Permissions: []string{"login.all", "users-bl.all"}}))
	for endpoint := range guardedByLogin {
		method, path, _ := strings.Cut(endpoint, " ")
		if a := w.do(call{method: method, path: path, header: []string{user, "X-Okapi-Tenant: diku", jsonType}}); a.status == http.StatusForbidden {
			t.Errorf("%s with the set: %s", endpoint, a.body)
		}
	}
}

// T-8: what is asked in one tenant says nothing about another, and changes
// nothing there.
func TestT8CredentialsOfAnotherTenantAreNotThere(t *testing.T) {
	w := newWorld(t, setup{})
	w.ask("DELETE", "/authn/credentials?userId="+otherID, "", w.lent("login.all")).want(t, 404, "")
	w.ask("GET", "/authn/loginAttempts/"+otherID, "", w.lent("login.all")).want(t, 404, "")
	a := w.do(call{method: "GET", path: "/authn/credentials-existence?userId=" + otherID, internal: true, header: []string{"X-Okapi-Tenant: other", w.lent("login.all")}})
	a.want(t, 403, "Invalid token")
	events, err := w.store.Events(t.Context(), sessionEvents(audit.PasswordDeleted))
	w.must(err)
	if len(events) != 0 {
		t.Errorf("events %+v", events)
	}
}

// T-31, T-32: a change of password is limited as a login is, and its failures
// are counted with those.
func TestT31ChangeOfPasswordIsNoWayAroundTheLimits(t *testing.T) {
	w := newWorld(t, setup{})
	for _, path := range []string{"/authn/update", "/bl-users/settings/myprofile/password"} {
		limited := false
		for range 8 {
			a := w.do(call{
				method: "POST", path: path, header: []string{"X-Okapi-Tenant: diku", jsonType, "Test-Address: 198.51.100.3"},
				body: `{"username":"reader","password":"wrong","newPassword":"` + newPassword + `"}`,
			})
			limited = a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != ""
		}
		if !limited {
			t.Errorf("%s: eight wrong passwords at once, and no limit", path)
		}
	}
}
