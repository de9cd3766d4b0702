package gateway_test

import (
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
			"Access-Control-Expose-Headers": "Location, X-Okapi-Trace, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials, Retry-After, WWW-Authenticate, Date",
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
		"Access-Control-Allow-Headers":     "content-type, X-Okapi-Tenant, X-Okapi-Token, Authorization, X-Okapi-Request-Id, X-Okapi-Module-Id, Credentials",
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
