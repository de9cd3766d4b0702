package foliotest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, target string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Okapi-Tenant", "diku")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

const (
	anna  = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"
	berta = "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007"
)

func populated(t *testing.T) *Platform {
	p := Start(t, "diku", "other")
	p.AddUser("diku", User{ID: anna, Username: "Anna", Active: Active(true)})
	p.AddUser("diku", User{ID: berta, Username: "berta"})
	p.Define("diku", "orders.all", "orders.get", "orders.sub")
	p.Define("diku", "orders.sub", "orders.post", "orders.all")
	p.Grant("diku", anna, "orders.all", "undefined")
	p.AddUserTenant("diku", UserTenant{UserID: anna, Username: "Anna", TenantID: "member1"})
	p.AddUserTenant("diku", UserTenant{UserID: anna, Username: "Anna", TenantID: "member2"})
	p.Configure("diku", Entry{Module: "LOGIN", Code: "login.fail.attempts", Value: "3"})
	return p
}

// What the modules answer, status and a piece of the text.
func TestModulesAnswerAsTheOriginals(t *testing.T) {
	p := populated(t)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/users/" + anna:                                                                          {200, `"username":"Anna","active":true`},
		"/users/" + strings.ToUpper(anna):                                                         {200, `"username":"Anna"`},
		"/users/" + berta:                                                                         {200, `{"id":"` + berta + `","username":"berta"}`},
		"/users/00000000-0000-4000-8000-0000000a":                                                 {400, "Invalid UUID"},
		"/users/00000000-0000-4000-8000-00000000000a":                                             {404, "User not found"},
		"/users?query=" + url.QueryEscape(`username=="anna"`):                                     {200, `"totalRecords":1`},
		"/users?query=" + url.QueryEscape(`username=="*"`):                                        {200, `"totalRecords":2`},
		"/users?query=" + url.QueryEscape(`username=="nobody"`):                                   {200, `"users":[]`},
		"/users?query=" + url.QueryEscape(`username="anna"`):                                      {400, "CQL State Error"},
		"/users?limit=1&offset=1":                                                                 {200, `"users":[{"id":"` + berta},
		"/users?limit=x":                                                                          {400, "limit is not a number"},
		"/perms/users?query=userId%3D%3D" + anna:                                                  {200, `"permissions":["orders.all","undefined"]`},
		"/perms/users?query=userId%3D%3D" + berta:                                                 {200, `"permissionUsers":[]`},
		"/perms/users/" + anna + "/permissions":                                                   {404, "No user found by id " + anna},
		"/perms/users/" + anna + "/permissions?indexField=userId":                                 {200, `"permissionNames":["orders.all","undefined"]`},
		"/perms/users/" + anna + "/permissions?expanded=true&indexField=userId":                   {200, `"totalRecords":5`},
		"/perms/users/" + anna + "/permissions?expanded=true&full=true&indexField=userId":         {200, `"totalRecords":2`},
		"/perms/users/" + berta + "/permissions?expanded=true&indexField=userId":                  {404, "No user found by userId " + berta},
		"/perms/users/" + anna + "/permissions?indexField=name":                                   {500, "indexField"},
		"/perms/permissions?expanded=true&query=" + url.QueryEscape(`permissionName=="orders.*"`): {200, `"totalRecords":2`},
		"/user-tenants?username=ANNA":                                                             {200, `"totalRecords":2`},
		"/user-tenants?userId=" + anna + "&tenantId=member1":                                      {200, `"totalRecords":1`},
		"/user-tenants?userId=" + berta:                                                           {200, `"userTenants":[]`},
		"/user-tenants?queryOp=or&userId=" + berta + "&tenantId=member1":                          {200, `"totalRecords":1`},
		"/configurations/entries?query=code%3D%3Dlogin.fail.attempts":                             {200, `"value":"3"`},
	} {
		if status, text := get(t, p.URL+path); status != want.status || !strings.Contains(text, want.text) {
			t.Errorf("%s answered %d %s, want %d %s", path, status, text, want.status, want.text)
		}
	}
	if status, text := get(t, p.URL+"/users", "X-Okapi-Tenant", ""); status != 400 || text != "Tenant must be set" {
		t.Errorf("without tenant: %d %s", status, text)
	}
	if status, _ := get(t, p.URL+"/users", "X-Okapi-Tenant", "nowhere"); status != 500 {
		t.Errorf("in a tenant without schema: %d", status)
	}
	if _, text := get(t, p.URL+"/users", "X-Okapi-Tenant", "other"); !strings.Contains(text, `"totalRecords":0`) {
		t.Errorf("users of another tenant: %s", text)
	}
}

func TestSetsAreExpandedOnceAndRoundCycles(t *testing.T) {
	p := populated(t)
	_, text := get(t, p.URL+"/perms/users/"+anna+"/permissions?expanded=true&indexField=userId")
	var got struct{ PermissionNames []string }
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.PermissionNames)
	if want := []string{"orders.all", "orders.get", "orders.post", "orders.sub", "undefined"}; !slices.Equal(got.PermissionNames, want) {
		t.Errorf("expanded to %v, want %v", got.PermissionNames, want)
	}
}

func TestModulesMisbehaveOnDemand(t *testing.T) {
	p := populated(t)
	p.Misbehave(Users, Fails(500))
	if status, _ := get(t, p.URL+"/users"); status != 500 {
		t.Errorf("failing: %d", status)
	}
	if status, _ := get(t, p.URL+"/perms/users"); status != 200 {
		t.Errorf("another module: %d", status)
	}
	p.Misbehave(Users, Truncates)
	if status, text := get(t, p.URL+"/users"); status != 0 {
		t.Errorf("truncating: %d %s", status, text)
	}
	p.Misbehave(Users, Drops)
	if status, text := get(t, p.URL+"/users"); status != 0 {
		t.Errorf("dropping: %d %s", status, text)
	}
	p.Misbehave(Users, Floods(1<<20))
	if _, text := get(t, p.URL+"/users"); len(text) < 1<<20 || !json.Valid([]byte(text)) {
		t.Errorf("flooding: %d bytes", len(text))
	}
	p.Misbehave(Users, AnswersWith(User{ID: berta, Username: "berta"}))
	if _, text := get(t, p.URL+"/users?query=id%3D%3D"+anna); !strings.Contains(text, berta) {
		t.Errorf("another user: %s", text)
	}
	p.Misbehave(Users, Redirects(p.URL+"/perms/users"))
	if _, text := get(t, p.URL+"/users"); !strings.Contains(text, "permissionUsers") {
		t.Errorf("redirecting: %s", text)
	}
	p.Misbehave(Users, Slow(time.Millisecond))
	if status, _ := get(t, p.URL+"/users"); status != 200 {
		t.Errorf("slow: %d", status)
	}
	p.Misbehave(Users, nil)
	p.Forget()
	get(t, p.URL+"/users?query="+url.QueryEscape(`username=="a b"`), "X-Okapi-Request-Id", "1/x")
	seen := p.Requests(Users)
	if len(seen) != 1 || seen[0].Query("query") != `username=="a b"` || seen[0].Header.Get("X-Okapi-Request-Id") != "1/x" || len(p.Requests("")) != 1 {
		t.Errorf("remembered %+v", seen)
	}
}

// mod-users-bl logs in with the login module and asks the others.
func TestUsersBLLogsIn(t *testing.T) {
	p := populated(t)
	login := http.NewServeMux()
	front, _ := url.Parse(p.URL)
	login.Handle("/", httputil.NewSingleHostReverseProxy(front))
	login.HandleFunc("POST /authn/login-with-expiry", func(w http.ResponseWriter, r *http.Request) {
		// {"tenant":"diku","user_id":"x"}
		http.SetCookie(w, &http.Cookie{Name: "folioAccessToken", Value: "e30.eyJ0ZW5hbnQiOiJkaWt1IiwidXNlcl9pZCI6IngifQ.sig"})
		writeJSON(w, http.StatusCreated, map[string]string{"accessTokenExpiration": "soon", "refreshTokenExpiration": "later"})
	})
	okapi := httptest.NewServer(login)
	defer okapi.Close()
	p.Assign("diku", ServicePointsUser{UserID: anna, ServicePointsIDs: []string{p.AddServicePoint("diku", ServicePoint{Name: "desk"})}})
	p.AddUser("diku", User{ID: anna, Username: "Anna", Active: Active(true), PatronGroup: p.AddGroup("diku", Group{Group: "staff"})})
	r, _ := http.NewRequest(http.MethodPost, p.URL+"/bl-users/login-with-expiry?expandPermissions=true", strings.NewReader(`{"username":"anna","password":"x"}`))
	r.Header.Set("X-Okapi-Tenant", "diku")
	r.Header.Set("X-Okapi-Url", okapi.URL)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	for _, want := range []string{`"username":"Anna"`, `"permissionName":"orders.all"`, `"group":"staff"`, `"name":"desk"`, `"accessTokenExpiration":"soon"`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in %d %s", want, answer.StatusCode, body)
		}
	}
	if answer.StatusCode != http.StatusCreated || len(answer.Cookies()) != 1 {
		t.Errorf("answered %d with cookies %v", answer.StatusCode, answer.Cookies())
	}
}
