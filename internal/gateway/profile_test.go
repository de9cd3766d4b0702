package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	bob = "b9d1b4c6-3c5a-4c5e-8a8f-3f6c0a1c7b02" // of diku, not active

	eurekaUnauthorized = `{"errors":[{"type":"UnauthorizedException","code":"authorization_error","message":"Unauthorized"}],"total_records":1}`
	eurekaDenied       = `{"errors":[{"type":"ForbiddenException","code":"authorization_error","message":"Access Denied"}],"total_records":1}`
	missingEcho        = "Token missing, access requires permission: echo.get"
)

func eurekaBad(text string) string {
	return `{"errors":[{"type":"BadRequestException","code":"service_error","message":"` + text + `"}],"total_records":1}`
}

// said is an answer, whole.
type said struct {
	status int
	body   string
}

func (a answer) is(t *testing.T, want said) {
	t.Helper()
	if a.status != want.status || a.body != want.body {
		t.Errorf("got %d %q\nwant %d %q", a.status, a.body, want.status, want.body)
	}
	kind := "text/plain"
	if strings.HasPrefix(want.body, "{") {
		kind = "application/json"
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, kind) {
		t.Errorf("%s as %q", a.body, got)
	}
}

// profiled is a world in which the tenant diku has the profile, and all others
// have the gateway's own.
func profiled(t *testing.T, profile gateway.ErrorProfile) *world {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) {
		g.Errors.Tenants = map[string]gateway.ErrorProfile{"diku": profile}
		g.Transport.DialTimeout = time.Second
	})
	w.module(echoDescriptor, echo)
	w.must(w.sessions.CreateUser(t.Context(), directory.User{ID: bob, Tenant: "diku", Username: "bob"}, directory.Grants{}, password))
	return w
}

// tokens that do not do, by what is wrong with them.
func (w *world) tokens() map[string]string {
	expired, foreign, inactive, elsewhere := w.claims(), w.claims(), w.claims(), w.claims()
	expired.IssuedAt, expired.Expires = w.Now().Add(-time.Hour), w.Now().Add(-time.Minute)
	foreign.Tenant = "other"
	inactive.UserID, inactive.Subject = bob, "bob"
	elsewhere.UserID, elsewhere.Subject = "c0a8f9a4-9a52-4bd1-a3b5-5a7b1ce3e0a1", "nobody"
	w.user("other", alice, "alice", directory.Grants{})
	all := map[string]string{"none": "", "good": w.access(), "garbage": "a.e30.c"}
	for name, c := range map[string]token.Claims{"expired": expired, "foreign": foreign, "inactive": inactive, "unknown": elsewhere} {
		all[name] = w.mint(c)
	}
	return all
}

func TestEveryRefusalInEachProfile(t *testing.T) {
	type profiles struct{ own, okapi, eureka said }
	const away = "Module mod-down-1.0.0 cannot be reached"
	own := func(code, message string) said {
		more := ""
		if code == "TOKEN_EXPIRED" {
			more = `,"refresh":"/okapi/authn/refresh"`
		}
		return said{401, `{"message":"` + message + `","code":"` + code + `","type":"auth"` + more + `}`}
	}
	bad := func(text string) profiles {
		return profiles{said{400, text}, said{400, text}, said{400, eurekaBad(text)}}
	}
	unauthorized := said{401, eurekaUnauthorized}
	noRoute := said{404, "No suitable module found for path and tenant"}
	eurekaNoRoute := said{404, `{"errors":[{"type":"NotFoundException","code":"route_not_found_error","message":"No suitable module found for path and tenant"}],"total_records":1}`}
	denied := said{403, "Access for user 'alice' (" + alice + ") requires permission: own.any"}
	for _, test := range []struct {
		name, method, path, token string
		headers                   []string
		want                      profiles
	}{
		{"7.4 2 no token", "GET", "/echo", "none", nil, profiles{said{401, missingEcho}, said{400, missingEcho}, unauthorized}},
		{
			"7.4 2 no token at an endpoint of our own", "GET", "/guarded", "none", nil,
			profiles{said{401, "Token missing, access requires permission: guarded.get"}, said{400, "Token missing, access requires permission: guarded.get"}, unauthorized},
		},
		{"expired", "GET", "/echo", "expired", nil, profiles{own("TOKEN_EXPIRED", "Access token has expired"), said{401, "Invalid token"}, unauthorized}},
		{"garbage", "GET", "/echo", "garbage", nil, profiles{own("TOKEN_INVALID", "Invalid token"), said{401, "Invalid token"}, unauthorized}},
		{
			"inactive user", "GET", "/echo", "inactive", nil,
			profiles{own("TOKEN_INVALID", "Invalid token"), said{401, "Invalid token: user with id " + bob + " is not active"}, unauthorized},
		},
		{
			"user who is not there", "GET", "/echo", "unknown", nil,
			profiles{own("TOKEN_INVALID", "Invalid token"), said{401, "Invalid token: User with id c0a8f9a4-9a52-4bd1-a3b5-5a7b1ce3e0a1 does not exist"}, unauthorized},
		},
		{
			"token of another tenant", "GET", "/echo", "foreign", nil,
			profiles{said{403, "Invalid token: it is not of the tenant in X-Okapi-Tenant"}, said{403, "Invalid token"}, said{403, eurekaDenied}},
		},
		{"7.4 20 no permission", "GET", "/own/other", "good", nil, profiles{denied, denied, said{403, eurekaDenied}}},
		{"7.4 11 no route", "GET", "/nothing", "none", nil, profiles{noRoute, noRoute, eurekaNoRoute}},
		{"7.4 10 no route, whoever asks", "DELETE", "/items/1", "good", nil, profiles{noRoute, noRoute, eurekaNoRoute}},
		{"invented method", "BREW", "/echo", "good", nil, profiles{said{405, "Method not allowed"}, noRoute, said{405, eurekaBad("Method not allowed")}}},
		{
			"7.4 16 two tokens", "GET", "/echo", "good",
			[]string{"Authorization", "Bearer other"},
			bad("Different tokens in Authentication and X-Okapi-Token. Use only one of them"),
		},
		{"dots in the path", "GET", "/x/..%2fecho", "none", nil, bad("Invalid path")},
		{
			"7.4 42 module down", "GET", "/down", "none", nil,
			profiles{
				said{503, away},
				said{500, "proxyClient failure: mod-down-1.0.0: " + away + ": GET /down"},
				said{503, `{"errors":[{"type":"ServiceUnavailableException","code":"service_error","message":"` + away + `"}],"total_records":1}`},
			},
		},
	} {
		for profile, want := range map[gateway.ErrorProfile]said{
			gateway.ProfileCounterfoil: test.want.own, gateway.ProfileOkapi: test.want.okapi, gateway.ProfileEureka: test.want.eureka,
		} {
			t.Run(string(profile)+"/"+test.name, func(t *testing.T) {
				w := worldOf(t, profile)
				header := append([]string{"X-Okapi-Tenant", "diku"}, test.headers...)
				if raw := w.bad[test.token]; raw != "" {
					header = append(header, "X-Okapi-Token", raw)
				}
				a := call(t, test.method, w.public+test.path, "", header...)
				if test.name == "dots in the path" { // the words are CheckPath's
					want.body = strings.Replace(want.body, "Invalid path", pathFault(t), 1)
				}
				a.is(t, want)
			})
		}
	}
}

func pathFault(t *testing.T) string {
	t.Helper()
	err := gateway.CheckPath("/x/..%2fecho")
	if err == nil {
		t.Fatal("the path passes")
	}
	return err.Error()
}

// profileWorld is a world with a module that is down, and tokens that do not do.
type profileWorld struct {
	*world
	bad map[string]string
}

func worldOf(t *testing.T, profile gateway.ErrorProfile) *profileWorld {
	w := profiled(t, profile)
	w.moduleAt(strings.NewReplacer("mod-open", "mod-down", "/*", "/down").Replace(openDescriptor), "http://127.0.0.1:1")
	return &profileWorld{w, w.tokens()}
}

// A tenant's profile is for that tenant alone.
func TestT8ProfilesAreThoseOfTheTenant(t *testing.T) {
	w := profiled(t, gateway.ProfileOkapi)
	_, err := w.gateway.Install(t.Context(), "other", []gateway.InstallEntry{{ID: "mod-echo-1.0.0", Action: "enable"}}, &gateway.InstallOptions{})
	w.must(err)
	w.get("/echo").is(t, said{400, missingEcho})
	call(t, "GET", w.public+"/_/invoke/tenant/diku/echo", "").is(t, said{400, missingEcho})
	call(t, "GET", w.public+"/echo", "", "X-Okapi-Tenant", "other").is(t, said{401, missingEcho})
	call(t, "GET", w.public+"/_/invoke/tenant/other/echo", "").is(t, said{401, missingEcho})
	// Without a header, the tenant is that which the token claims.
	c := w.claims()
	c.IssuedAt, c.Expires = w.Now().Add(-time.Hour), w.Now().Add(-time.Minute)
	call(t, "GET", w.public+"/echo", "", "X-Okapi-Token", w.mint(c)).is(t, said{401, "Invalid token"})
}

// Behind an Okapi, the filter's refusals are those of mod-authtoken where
// clients go by them, in the profile okapi everywhere.
func TestEveryRefusalOfTheFilterInEachProfile(t *testing.T) {
	type profiles struct{ own, okapi, eureka said }
	expired := said{401, `{"message":"Access token has expired","code":"TOKEN_EXPIRED","type":"auth","refresh":"/okapi/authn/refresh"}`}
	invalidText, unauthorized := said{401, "Invalid token"}, said{401, eurekaUnauthorized}
	inactive := said{401, "Invalid token: user with id " + bob + " is not active"}
	denied := said{403, "Access for user 'alice' (" + alice + ") requires permission: own.any"}
	for _, test := range []struct {
		name, token, required, userID string
		want                          profiles
	}{
		{"7.4 2 no token", "none", "echo.get", "", profiles{said{400, missingEcho}, said{400, missingEcho}, unauthorized}},
		{"expired", "expired", "echo.get", "", profiles{expired, invalidText, unauthorized}},
		{"garbage", "garbage", "echo.get", "", profiles{invalidText, invalidText, unauthorized}},
		{"inactive user", "inactive", "", "", profiles{inactive, inactive, unauthorized}},
		{
			"token of another tenant", "foreign", "echo.get", "",
			profiles{said{403, "Invalid token: it is not of the tenant in X-Okapi-Tenant"}, said{403, "Invalid token"}, said{403, eurekaDenied}},
		},
		{"7.4 7 another user", "good", "echo.get", bob, profiles{said{403, "Invalid token"}, said{403, "Invalid token"}, said{403, eurekaDenied}}},
		{"7.4 20 no permission", "good", "own.any", "", profiles{denied, denied, said{403, eurekaDenied}}},
	} {
		for profile, want := range map[gateway.ErrorProfile]said{
			gateway.ProfileCounterfoil: test.want.own, gateway.ProfileOkapi: test.want.okapi, gateway.ProfileEureka: test.want.eureka,
		} {
			t.Run(string(profile)+"/"+test.name, func(t *testing.T) {
				w := worldOf(t, profile)
				base := w.listen(observed((&gateway.Filter{Gateway: w.gateway, Own: http.NotFoundHandler()}).Handler()))
				header := []string{"X-Okapi-Filter", "auth /*", "X-Okapi-Tenant", "diku", "X-Okapi-Url", "http://okapi"}
				for name, value := range map[string]string{
					"X-Okapi-Token": w.bad[test.token], "X-Okapi-Permissions-Required": test.required, "X-Okapi-User-Id": test.userID,
				} {
					if value != "" {
						header = append(header, name, value)
					}
				}
				a := call(t, "GET", base+"/echo", "", header...)
				a.is(t, want)
				if got := a.header.Get("X-Okapi-Module-Tokens") != ""; got != strings.HasPrefix(test.name, "7.4 20") {
					t.Errorf("tokens for further filters: %v", got)
				}
			})
		}
	}
}
