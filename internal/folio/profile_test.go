package folio_test

import (
	"strings"
	"testing"
)

// A wrong password is 422 with mod-login, and 401 with mod-login-keycloak; a
// tenant's clients expect one of them.
func TestAWrongPasswordInEachProfile(t *testing.T) {
	for _, test := range []struct {
		name   string
		eureka bool
		status int
		code   string
	}{
		{"7.4 3 okapi", false, 422, "wrong.username.or.wrong.password.or.account.blocked"},
		{"7.4 3 eureka", true, 401, "unauthorized_error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, setup{Unauthorized: func(tenant string) bool { return test.eureka && tenant == "diku" }})
			for _, path := range []string{"/authn/login", "/authn/login-with-expiry", "/bl-users/login-with-expiry"} {
				a := w.do(call{method: "POST", path: path, header: []string{"X-Okapi-Tenant: diku", "Content-Type: application/json"}, body: `{"username":"alice","password":"wrong"}`})
				if a.status != test.status || !strings.Contains(a.body, `"code":"`+test.code+`"`) {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
			a := w.do(call{method: "POST", path: "/authn/login", header: []string{"X-Okapi-Tenant: diku", "Content-Type: application/json"}, body: `{"username":"alice"}`})
			if a.status != 400 || a.body != "You must provide a password" {
				t.Errorf("no password: %d %s", a.status, a.body)
			}
		})
	}
}
