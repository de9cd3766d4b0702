package folio_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	groupID = "3684a786-6671-4268-8ed0-9db82ebca60b"
	pointID = "3a40852d-49fd-4df2-a1f9-6e2641a6e91f"

	userRecord = `{"id":"` + readerID + `","username":"reader","active":true,"patronGroup":"` + groupID + `","barcode":"0 1 \" or 1"}`
	pointsUser = `{"servicePointsUsers":[{"id":"a","userId":"` + readerID + `","servicePointsIds":["` + pointID + `","x\" or id==*"],"defaultServicePointId":"` + pointID + `"}],"totalRecords":1}`
	points     = `{"servicepoints":[{"id":"` + pointID + `","name":"Desk"}],"totalRecords":1}`
)

// platform is the modules that parts of users come from.
func platform() (map[string]http.HandlerFunc, map[string]*office) {
	offices := map[string]*office{
		"/users/{id}": newOffice(200, userRecord), "/groups/{id}": newOffice(200, `{"id":"`+groupID+`","group":"staff"}`),
		"/service-points-users": newOffice(200, pointsUser), "/service-points": newOffice(200, points),
	}
	serve := map[string]http.HandlerFunc{}
	for path, o := range offices {
		serve[path] = o.serve
	}
	return serve, offices
}

func (w *world) usersLogin(query string) answer {
	w.t.Helper()
	return w.ask("POST", "/bl-users/login-with-expiry"+query, `{"username":"reader","password":"secret of reader"}`)
}

// bearer is a header line with an access token of the user.
func (w *world) bearer(user string) string {
	w.t.Helper()
	return "X-Okapi-Token: " + w.script(user).field("accessToken")
}

// keys are the members of a JSON object.
func keys(t *testing.T, body string) map[string]bool {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name := range all {
		names[name] = true
	}
	return names
}

func TestChecklistOfModUsersBL(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"7.5-01 the legacy login is nobody's, and its parts are asked for once each": func(t *testing.T) {
			serve, offices := platform()
			w := newWorld(t, setup{Modules: serve})
			legacy := httptest.NewRecorder()
			w.public.ServeHTTP(legacy, httptest.NewRequest("POST", "/bl-users/login", strings.NewReader(`{"username":"reader","password":"secret of reader"}`)))
			if legacy.Code != http.StatusNotFound {
				t.Errorf("legacy login: %d", legacy.Code)
			}
			w.usersLogin("").want(t, 201, "")
			for path, o := range offices {
				all := o.all()
				if len(all) != 1 {
					t.Errorf("%s was asked %d times, want once", path, len(all))
					continue
				}
				h := all[0].header
				if h.Get("X-Okapi-Tenant") != "diku" || h.Get("X-Okapi-User-Id") != readerID || h.Get("X-Okapi-Request-Id") == "" || h.Get("X-Okapi-Request-Ip") == "" || h.Get("Cookie") != "" {
					t.Errorf("%s got headers %v", path, h)
				}
				claims, err := w.ring.Verify(h.Get("X-Okapi-Token"), w.clock.Now(), token.KindModule)
				if err != nil || claims.UserID != readerID || !strings.HasPrefix(claims.Module, "mod-") || len(claims.Permissions) != 0 {
					t.Errorf("%s got a token with %+v, %v", path, claims, err)
				}
			}
			if got := offices["/service-points-users"].all()[0].uri; got != "/service-points-users?query=userId%3D%3D"+readerID+"&limit=1000" {
				t.Errorf("asked %s", got)
			}
		},
		"7.5-02 a login has cookies, expirations and all parts": func(t *testing.T) {
			serve, _ := platform()
			w := newWorld(t, setup{Modules: serve})
			a := w.usersLogin("?expandPermissions=true")
			for name, path := range map[string]string{"folioAccessToken": "/", "folioRefreshToken": "/authn"} {
				if c := a.cookies[name]; c == nil || c.Path != path || c.MaxAge <= 0 || !c.HttpOnly || !c.Secure {
					t.Errorf("%s: %+v", name, c)
				}
			}
			var got, want any
			w.must(json.Unmarshal([]byte(a.body), &got))
			w.must(json.Unmarshal([]byte(`{"user":`+userRecord+`,"patronGroup":{"id":"`+groupID+`","group":"staff"},
				"permissions":{"userId":"`+readerID+`","permissions":["orders.collection.get"]},"proxiesFor":[],
				"servicePointsUser":{"id":"a","userId":"`+readerID+`","servicePointsIds":["`+pointID+`","x\" or id==*"],"defaultServicePointId":"`+pointID+`",
				"servicePoints":[{"id":"`+pointID+`","name":"Desk"}]},"tenant":"diku",
				"tokenExpiration":{"accessTokenExpiration":"2024-01-01T08:10:00Z","refreshTokenExpiration":"2024-01-08T08:00:00Z"}}`), &want))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		},
		"7.5-03 Eureka's permissions are objects from another module": func(t *testing.T) {
			eureka := newOffice(200, `{"userId":"`+readerID+`","permissions":["read","write"]}`)
			w := newWorld(t, setup{Eureka: true, Modules: map[string]http.HandlerFunc{"/permissions/users/{id}": eureka.serve}})
			const want = `"permissions":{"userId":"` + readerID + `","permissions":[{"permissionName":"read"},{"permissionName":"write"}]}`
			if a := w.usersLogin("?expandPermissions=true&fullPermissions=true"); a.status != 201 || !strings.Contains(a.body, want) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a := w.ask("GET", "/users-keycloak/_self", "", w.bearer("reader")); a.status != 200 || !strings.Contains(a.body, want) {
				t.Errorf("%d %s", a.status, a.body)
			}
			without := newWorld(t, setup{Eureka: true})
			if a := without.usersLogin(""); !strings.Contains(a.body, `"permissions":[{"permissionName":"orders.collection.get"}]`) {
				t.Errorf("without the module: %s", a.body)
			}
		},
		"7.5-04 a refused login asks for no parts": func(t *testing.T) {
			serve, offices := platform()
			w := newWorld(t, setup{Modules: serve})
			w.ask("POST", "/bl-users/login-with-expiry", `{"username":"reader","password":"wrong"}`).want(t, 422, refusedLogin)
			for path, o := range offices {
				if len(o.all()) != 0 {
					t.Errorf("%s was asked", path)
				}
			}
		},
		"7.5-05 without name or password nothing is asked": func(t *testing.T) {
			w := newWorld(t, setup{})
			for _, body := range []string{`{"username":"reader"}`, `{"password":"x"}`, `{}`, ``, `[]`} {
				w.ask("POST", "/bl-users/login-with-expiry", body).want(t, 400, "Improperly formatted request")
			}
			events, err := w.store.Events(t.Context(), sessionEvents("login_failed"))
			w.must(err)
			if len(events) != 0 {
				t.Errorf("the login was tried: %+v", events)
			}
		},
		"7.5-06 what modules do not have is left out, what fails is told": func(t *testing.T) {
			for _, test := range []struct {
				path, answer string
				code, status int
				without      string
			}{
				{"/groups/{id}", `Group not found`, 404, 201, "patronGroup"},
				{"/service-points-users", `{"servicePointsUsers":[],"totalRecords":0}`, 200, 201, "servicePointsUser"},
				{"/users/{id}", `not found`, 404, 201, "patronGroup"},
				{"/service-points-users", `oops`, 500, 503, ""},
				{"/service-points-users", `{"servicePointsUsers":`, 200, 503, ""},
				{"/groups/{id}", `["x"]`, 200, 503, ""},
				{"/users/{id}", strings.Replace(userRecord, readerID, adminID, 1), 200, 503, ""},
			} {
				serve, _ := platform()
				serve[test.path] = newOffice(test.code, test.answer).serve
				w := newWorld(t, setup{Modules: serve})
				a := w.usersLogin("")
				if a.status != test.status || test.without != "" && keys(t, a.body)[test.without] {
					t.Errorf("%s answers %d %s: %d %s", test.path, test.code, test.answer, a.status, a.body)
				}
				if test.status == 201 {
					continue
				}
				if len(a.cookies) != 0 {
					t.Errorf("a failed login set cookies")
				}
				page, err := w.store.EndedSince(t.Context(), time.Time{})
				if w.must(err); len(page) != 1 {
					t.Errorf("the session that nobody holds goes on")
				}
			}
			none := newWorld(t, setup{})
			w := none.usersLogin("")
			for _, part := range []string{"patronGroup", "servicePointsUser"} {
				if w.status != 201 || keys(t, w.body)[part] {
					t.Errorf("without modules: %d %s", w.status, w.body)
				}
			}
		},
		"7.5-07 _self is the user of the token": func(t *testing.T) {
			serve, _ := platform()
			w := newWorld(t, setup{Modules: serve})
			a := w.ask("GET", "/bl-users/_self", "", w.bearer("reader"))
			if a.status != 200 || a.field("user", "id") != readerID || !keys(t, a.body)["servicePointsUser"] || keys(t, a.body)["tokenExpiration"] {
				t.Errorf("%d %s", a.status, a.body)
			}
			w = newWorld(t, setup{})
			w.must(w.sessions.CreateUser(t.Context(), directory.User{ID: nobodyID, Tenant: "diku", Username: "Zoë", Active: true}, directory.Grants{}, newPassword))
			zoe := w.ask("POST", "/authn/login", `{"username":"Zoë","password":"`+newPassword+`"}`).field("accessToken")
			if a := w.ask("GET", "/bl-users/_self?include=perms", "", "X-Okapi-Token: "+zoe); a.field("user", "username") != "Zoë" {
				t.Errorf("%d %s", a.status, a.body)
			}
			w.ask("GET", "/bl-users/_self", "").want(t, 401, "Token missing")
			w.ask("GET", "/bl-users/_self", "", w.lent("users-bl.all")).want(t, 401, "") // names nobody
		},
		"7.5-07 include chooses the parts": func(t *testing.T) {
			for query, want := range map[string]string{
				"": "permissions patronGroup servicePointsUser", "?include=perms": "permissions", "?include=groups": "patronGroup",
				"?include=servicepoints": "servicePointsUser", "?include=perms&include=groups": "permissions patronGroup",
				"?include=perms,groups": "permissions patronGroup", "?include=anything": "",
			} {
				serve, _ := platform()
				w := newWorld(t, setup{Modules: serve})
				got := keys(t, w.usersLogin(query).body)
				for _, part := range []string{"permissions", "patronGroup", "servicePointsUser"} {
					if got[part] != strings.Contains(want, part) {
						t.Errorf("%s: %s is there: %v", query, part, got[part])
					}
				}
			}
		},
		"7.5-08 a user by name, also one without permissions": func(t *testing.T) {
			w := newWorld(t, setup{})
			may := w.lent("users-bl.item.get")
			a := w.ask("GET", "/bl-users/by-username/READER", "", may)
			a.want(t, 200, `{"user":{"id":"`+readerID+`"`)
			if a := w.ask("GET", "/bl-users/by-username/blocked", "", may); a.status != 200 || !strings.Contains(a.body, `"permissions":[]`) {
				t.Errorf("%d %s", a.status, a.body)
			}
			w.ask("GET", "/bl-users/by-id/"+strings.ToUpper(readerID), "", may).want(t, 200, `{"user":{"id":"`+readerID+`"`)
			for _, path := range []string{"by-username/nobody", "by-username/%00", "by-username/%E2%80%8B", "by-id/" + otherID, "by-id/x"} {
				w.ask("GET", "/bl-users/"+path, "", may).want(t, 404, "User not found")
			}
		},
		"7.5-10 my profile's password": func(t *testing.T) {
			w := newWorld(t, setup{})
			set := func(username, old, password string) answer {
				return w.ask("POST", "/bl-users/settings/myprofile/password", fmt.Sprintf(`{"username":%q,"password":%q,"newPassword":%q,"userId":""}`, username, old, password))
			}
			set("reader", "secret of reader", "short").want(t, 400, `{"errors":[{"message":"Password not accepted: `)
			set("reader", "wrong", newPassword).want(t, 401, "Invalid credentials")
			set("nobody", "wrong", newPassword).want(t, 401, "Invalid credentials") // and not FOLIO's 500
			set("reader", "secret of reader", "").want(t, 400, "Improperly formatted request")
			set("", "secret of reader", newPassword).want(t, 400, "Improperly formatted request")
			set("reader", "secret of reader", newPassword).want(t, 204, "")
			if got := w.tryLogin("reader", newPassword); got != 201 {
				t.Errorf("login with the new password: %d", got)
			}
		},
		"7.5-15 tokens that nobody issued are refused without being decoded": func(t *testing.T) {
			w := newWorld(t, setup{})
			for _, raw := range []string{"x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJ0ZW5hbnQiOiJkaWt1In0.", strings.Repeat("A", 20000)} {
				if a := w.ask("GET", "/bl-users/_self", "", "X-Okapi-Token: "+raw); a.status != 401 && a.status != 400 {
					t.Errorf("%.20s: %d %s", raw, a.status, a.body)
				}
			}
		},
	} {
		t.Run(name, test)
	}
}

// T-38: what a module has stored about a user is passed on as it is, and never
// becomes a part of a query or a path.
func TestT38StoredStringsAreNeverInterpreted(t *testing.T) {
	serve, offices := platform()
	offices["/users/{id}"].answer = strings.Replace(userRecord, groupID, "../service-points?x=", 1)
	w := newWorld(t, setup{Modules: serve})
	a := w.usersLogin("")
	if a.status != 201 || a.field("user", "patronGroup") != "../service-points?x=" || a.field("user", "barcode") != `0 1 " or 1` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n := len(offices["/groups/{id}"].all()); n != 0 {
		t.Errorf("a group that is no UUID was asked for %d times", n)
	}
	if got := offices["/service-points"].all()[0].uri; got != "/service-points?query=%28id%3D%3D"+pointID+"%29&limit=1000" {
		t.Errorf("asked %s", got)
	}
}
