package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

func TestCORSIsOnEveryStatus(t *testing.T) {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.Transport.DialTimeout = time.Second })
	w.module(echoDescriptor, echo)
	w.moduleAt(strings.ReplaceAll(openDescriptor, "/*", "/down"), "http://127.0.0.1:1")
	for _, test := range []struct {
		path   string
		token  string
		status int
	}{
		{"/open", "", 200},
		{"/x/..%2f", "", 400},
		{"/echo", "", 401},
		{"/own/other", w.access(), 403},
		{"/nothing", "", 404},
		{"/panic", "", 500},
		{"/down", "", 503},
		{"/_/proxy/health", "", 200},
		{"/_/nothing", "", 404},
	} {
		headers := []string{"Origin", origin}
		if test.token != "" {
			headers = append(headers, "X-Okapi-Token", test.token)
		}
		a := w.get(test.path, headers...)
		a.want(t, test.status, "")
		got := map[string]string{}
		for name := range a.header {
			if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
				got[name] = a.header.Get(name)
			}
		}
		if diff := cmp.Diff(map[string]string{
			"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
			"Access-Control-Expose-Headers": "Location, X-Okapi-Trace, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials, Retry-After, WWW-Authenticate, DPoP-Nonce, Date",
		}, got); diff != "" {
			t.Errorf("%s: %s", test.path, diff)
		}
	}
}

func TestAnOriginThatIsNotListedIsAllowedNothing(t *testing.T) {
	w := echoing(t)
	for _, other := range []string{
		"https://evil.test", "null", origin + ".evil.test", "http://ui.example.org", "https://UI.example.org", origin + ":443", origin + "/", "",
	} {
		for _, method := range []string{"GET", "OPTIONS"} {
			a := call(t, method, w.public+"/open", "", "X-Okapi-Tenant", "diku", "Origin", other, "Access-Control-Request-Method", "GET")
			for name := range a.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s from %q got %s: %s", method, other, name, a.header.Get(name))
				}
			}
			if a.header.Get("Vary") != "Origin" {
				t.Errorf("Vary %q", a.header.Values("Vary"))
			}
		}
	}
}

func TestPreflightsAreAnsweredWithoutAToken(t *testing.T) {
	w := echoing(t)
	a := call(t, "OPTIONS", w.public+"/echo", "", "Origin", origin, "Access-Control-Request-Method", "PUT",
		"Access-Control-Request-Headers", "content-type,x-okapi-tenant")
	if a.status != 204 || a.body != "" {
		t.Fatalf("got %d %q", a.status, a.body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      origin,
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods":     "PUT, PATCH, DELETE, GET, POST",
		"Access-Control-Allow-Headers":     "content-type, X-Okapi-Tenant, X-Okapi-Token, Authorization, DPoP, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials",
		"Access-Control-Max-Age":           "7200",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// Without the header of a preflight it is a request like any other.
	call(t, "OPTIONS", w.public+"/echo", "", "Origin", origin, "X-Okapi-Tenant", "diku").want(t, 401, "Token missing")
}

func TestATokenIsNotExposedToScripts(t *testing.T) {
	w := echoing(t)
	exposed := w.get("/open", "Origin", origin).header.Get("Access-Control-Expose-Headers")
	if strings.Contains(exposed, "Token") || strings.Contains(exposed, "Authorization") {
		t.Errorf("exposed: %s", exposed)
	}
}

const delegating = `{"id":"mod-sso-1.0.0","provides":[{"id":"sso","version":"1.0","handlers":[
	{"methods":["POST","GET"],"pathPattern":"/sso/callback","permissionsRequired":[],"delegateCORS":true,"modulePermissions":["sso.lent"]},
	{"methods":["POST"],"pathPattern":"/sso/secret","permissionsRequired":["sso.secret"],"delegateCORS":true},
	{"methods":["POST"],"pathPattern":"/sso/other","permissionsRequired":[]}]}]}`

// Where a descriptor says so, the module answers for CORS, below /_/invoke alone.
func TestT56ModulesThatAnswerForCORSDecideForNobody(t *testing.T) {
	const foreign = "https://idp.example.net"
	w := newWorld(t, nil)
	requests := make(chan seen, 1)
	w.module(delegating, func(rw http.ResponseWriter, r *http.Request) {
		requests <- seen{Method: r.Method, URI: r.RequestURI, Header: r.Header}
		rw.Header().Set("Access-Control-Allow-Origin", "module says "+r.Header.Get("Origin"))
		if r.Method == http.MethodOptions {
			rw.WriteHeader(204)
		}
	})
	const invoke = "/_/invoke/tenant/diku"
	preflight := []string{"Origin", foreign, "Access-Control-Request-Method", "POST"}
	allowed := func(a answer) string { return a.header.Get("Access-Control-Allow-Origin") }
	t.Run("7.4 37 preflight", func(t *testing.T) {
		a := call(t, "OPTIONS", w.public+invoke+"/sso/callback?x=1", "", append(preflight, "Cookie", "folioAccessToken="+w.access())...)
		a.want(t, 204, "")
		if allowed(a) != "module says "+foreign {
			t.Errorf("%v", a.header)
		}
		s := <-requests
		if s.Method != "OPTIONS" || s.URI != "/sso/callback?x=1" || s.Header.Get("X-Okapi-Tenant") != "diku" || s.Header.Get("X-Okapi-Token") != "" {
			t.Errorf("the module got %+v", s)
		}
	})
	t.Run("7.4 37 answer", func(t *testing.T) {
		a := call(t, "POST", w.public+invoke+"/sso/callback", "", "Origin", foreign)
		a.want(t, 200, "")
		if s := <-requests; allowed(a) != "module says "+foreign || w.tokenOf(s).Permissions[0] != "sso.lent" {
			t.Errorf("%v", a.header)
		}
	})
	t.Run("a preflight opens nothing", func(t *testing.T) {
		call(t, "POST", w.public+invoke+"/sso/secret", "", "Origin", foreign).want(t, 401, "Token missing")
		if len(requests) > 0 {
			t.Error("the module was asked")
		}
	})
	t.Run("no page of another site acts for the user", func(t *testing.T) {
		for _, method := range []string{"GET", "POST"} {
			call(t, method, w.public+invoke+"/sso/callback", "", "Origin", foreign, "Cookie", "folioAccessToken="+w.access()).want(t, 200, "")
			if s := <-requests; s.Header.Get("X-Okapi-User-Id") != "" {
				t.Errorf("%s for %s", method, s.Header.Get("X-Okapi-User-Id"))
			}
			call(t, method, w.public+invoke+"/sso/callback", "", "Origin", origin, "Cookie", "folioAccessToken="+w.access()).want(t, 200, "")
			if s := <-requests; s.Header.Get("X-Okapi-User-Id") != alice {
				t.Errorf("%s of our own page is for %q", method, s.Header.Get("X-Okapi-User-Id"))
			}
		}
	})
	t.Run("7.4 37 elsewhere it is the gateway", func(t *testing.T) {
		for _, path := range []string{"/sso/callback", invoke + "/sso/other", "/_/invoke/tenant/other/sso/callback"} {
			a := call(t, "OPTIONS", w.public+path, "", preflight...)
			if a.status != 204 || allowed(a) != "" || len(requests) > 0 {
				t.Errorf("%s: %d %v", path, a.status, a.header)
			}
		}
		a := call(t, "POST", w.public+"/sso/callback", "", "X-Okapi-Tenant", "diku", "Origin", foreign)
		a.want(t, 200, "")
		if <-requests; allowed(a) != "" {
			t.Errorf("%v", a.header)
		}
	})
}
