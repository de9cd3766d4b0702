package gateway_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// asking is a world in which this machine may ask.
func asking(t testing.TB) *world {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) {
		g.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	w.module(echoDescriptor, echo)
	return w
}

// verify asks as nginx does; question is the query of its proxy_pass.
func (w *world) verify(method, uri, question string, headers ...string) answer {
	w.t.Helper()
	return call(w.t, "GET", w.internal+gateway.VerifyPath+question, "", append([]string{
		"X-Original-Method", method, "X-Original-URI", uri, "X-Okapi-Tenant", "diku",
	}, headers...)...)
}

func TestVerifyTellsWhoMayPass(t *testing.T) {
	w := asking(t)
	w.grant("echo.get", "wish.one", "other.get")
	a := w.verify("GET", "/wish?query=x", "", "X-Okapi-Token", w.access())
	a.want(t, 200, "")
	for name, want := range map[string]string{
		"X-Okapi-Tenant": "diku", "X-Okapi-User-Id": alice, "X-Okapi-Permissions": `["echo.get","other.get","wish.one"]`,
		"X-Okapi-Token": "", "X-Auth-Request-User": alice, "X-Auth-Request-Preferred-Username": "alice", "Cache-Control": "no-store",
	} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if id := a.header.Get("X-Okapi-Request-Id"); !strings.HasSuffix(id, "/wish") {
		t.Errorf("request id %q is not that of the request asked about", id)
	}
}

// A policy that asks for a fresh proof is told to the proxy as to a client.
func TestVerifyAsksForAFreshProof(t *testing.T) {
	w := newWorld(t, func(g *gateway.Gateway, s *session.Service) {
		g.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.Policies.Default.StepUp = session.StepUps{"echo.get": {MaxAge: session.Duration(5 * time.Minute)}}
	})
	w.module(echoDescriptor, echo)
	w.grant("echo.get")
	c := w.claims()
	c.AuthTime = w.Now().Add(-time.Hour)
	a := w.verify("GET", "/echo", "", "X-Okapi-Token", w.mint(c))
	a.want(t, 401, "")
	if challenge := a.header.Get("WWW-Authenticate"); !strings.Contains(challenge, "insufficient_user_authentication") || !strings.Contains(challenge, `max_age="300"`) {
		t.Errorf("challenge %q", challenge)
	}
	c.AuthTime = w.Now().Add(-time.Minute)
	w.verify("GET", "/echo", "", "X-Okapi-Token", w.mint(c)).want(t, 200, "")
}

// The verdict and the words are the gateway's, whatever is asked about.
func TestVerifyDecidesAsTheGateway(t *testing.T) {
	w := asking(t)
	expired := w.claims()
	expired.IssuedAt, expired.Expires = w.Now().Add(-time.Hour), w.Now().Add(-time.Minute)
	elsewhere := w.claims()
	elsewhere.Tenant = "other"
	for _, path := range []string{"/echo", "/open", "/items/1", "/wish", "/lent", "/own/diku", "/own/other", "/nothing", "/open/a/b"} {
		for name, headers := range map[string][]string{
			"nobody":  nil,
			"alice":   {"X-Okapi-Token", w.access()},
			"cookie":  {"Cookie", "folioAccessToken=" + w.access()},
			"expired": {"Authorization", "Bearer " + w.mint(expired)},
			"garbage": {"X-Okapi-Token", "a.b.c"},
			"tenant":  {"X-Okapi-Token", w.mint(elsewhere)},
			"module":  {"X-Okapi-Token", w.moduleToken("echo.get")},
			"two":     {"X-Okapi-Token", w.access(), "Cookie", "folioAccessToken=" + w.mint(elsewhere)},
			"foreign": {"Cookie", "folioAccessToken=" + w.access(), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		} {
			for _, method := range []string{"GET", "POST"} {
				asked := call(t, "GET", w.internal+gateway.VerifyPath, "", append([]string{
					"X-Forwarded-Method", method, "X-Forwarded-Uri", path, "X-Okapi-Tenant", "diku",
				}, headers...)...)
				passed := call(t, method, w.public+path, "", append([]string{"X-Okapi-Tenant", "diku"}, headers...)...)
				if asked.status != passed.status || asked.status != 200 && asked.body != passed.body {
					t.Errorf("%s %s, %s: asked %d %q, passed %d %q", method, path, name, asked.status, asked.body, passed.status, passed.body)
				}
				if asked.header.Get("WWW-Authenticate") != passed.header.Get("WWW-Authenticate") {
					t.Errorf("%s %s, %s: WWW-Authenticate differs", method, path, name)
				}
			}
		}
	}
}

func TestVerifyNeeds(t *testing.T) {
	w := asking(t)
	me := []string{"X-Okapi-Token", w.access()}
	for _, c := range []struct {
		question string
		headers  []string
		status   int
		code     string
	}{
		{"?need=token", me, 200, ""},
		{"?need=token", nil, 401, "TOKEN_MISSING"},
		{"?need=nothing", nil, 200, ""},
		{"?need=nothing", []string{"X-Okapi-Token", "a.b.c"}, 401, "TOKEN_INVALID"},
		{"?permission=echo.get", me, 200, ""},
		{"?permission=echo.get", nil, 401, "TOKEN_MISSING"},
		{"?permission=echo.get&permission=echo.post", me, 403, "PERMISSION_MISSING"},
		{"?need=nothing&permission=echo.get", nil, 401, "TOKEN_MISSING"},
		{"?tenant=diku&need=token", me, 200, ""},
		{"?tenant=other&need=token", me, 403, "REFUSED"},
		// What the operator wrote wrongly opens nothing.
		{"?need=", me, 403, "REFUSED"},
		{"?need=all", me, 403, "REFUSED"},
		{"?permission=", me, 403, "REFUSED"},
		{"?permissions=echo.get", me, 403, "REFUSED"},
		{"?need=token&need=nothing", me, 403, "REFUSED"},
		{"?need=%zz", me, 403, "REFUSED"},
		// There is no route for /page.
		{"", me, 403, "REFUSED"},
		{"?need=route&permission=echo.get", me, 403, "REFUSED"},
	} {
		a := w.verify("GET", "/page", c.question, c.headers...)
		if a.status != c.status || a.header.Get("X-Counterfoil-Code") != c.code {
			t.Errorf("%q %v: %d %q, want %d %q", c.question, c.headers != nil, a.status, a.header.Get("X-Counterfoil-Code"), c.status, c.code)
		}
	}
	// The operator's tenant serves clients that name none.
	a := call(t, "GET", w.internal+gateway.VerifyPath+"?need=token&tenant=diku", "", "X-Original-Method", "GET", "X-Original-URI", "/page", "X-Okapi-Token", w.access())
	a.want(t, 200, "")
}

func TestVerifyMintsForOneModule(t *testing.T) {
	w := asking(t)
	a := w.verify("GET", "/lent", "?module=mod-echo-1.0.0", "X-Okapi-Token", w.access())
	a.want(t, 200, "")
	claims, err := w.ring.Verify(a.header.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil || claims.Module != "mod-echo-1.0.0" || claims.UserID != alice || fmt.Sprint(claims.Permissions) != "[lent.get]" {
		t.Errorf("%+v, %v", claims, err)
	}
	w.verify("GET", "/lent", "?module=mod-other-1.0.0", "X-Okapi-Token", w.access()).want(t, 403, "The route is not one of module mod-other-1.0.0")
	a = w.verify("GET", "/page", "?need=token&module=app-1.0.0", "X-Okapi-Token", w.access())
	if claims, err = w.ring.Verify(a.header.Get("X-Okapi-Token"), w.Now(), token.KindModule); err != nil || len(claims.Permissions) != 0 {
		t.Errorf("%+v, %v", claims, err)
	}
}

// A client behind the proxy chooses its headers, and
// must not choose what is asked.
func TestT20QuestionsThatSayTwoThings(t *testing.T) {
	w := asking(t)
	me := w.access()
	ask := func(path string, headers ...string) answer {
		return call(t, "GET", w.internal+path, "", append([]string{"X-Okapi-Tenant", "diku", "X-Okapi-Token", me}, headers...)...)
	}
	for name, a := range map[string]answer{
		"nothing told": ask(gateway.VerifyPath),
		"no method":    ask(gateway.VerifyPath, "X-Original-URI", "/open"),
		"no uri":       ask(gateway.VerifyPath, "X-Forwarded-Method", "GET"),
		"another by a client of nginx": ask(gateway.VerifyPath, "X-Original-URI", "/secret", "X-Original-Method", "GET",
			"X-Forwarded-Uri", "/open", "X-Forwarded-Method", "GET"),
		"another by a client of Envoy": ask(gateway.VerifyPath+"/secret", "X-Forwarded-Uri", "/open", "X-Forwarded-Method", "GET"),
		"twice":                        ask(gateway.VerifyPath, "X-Original-URI", "/open", "X-Original-URI", "/secret", "X-Original-Method", "GET"),
		"two hosts": ask(gateway.VerifyPath, "X-Original-URI", "/open", "X-Original-Method", "GET",
			"X-Forwarded-Host", "a", "X-Forwarded-Host", "b"),
		"an absolute URI": ask(gateway.VerifyPath, "X-Original-URI", "http://localhost/open", "X-Original-Method", "GET"),
	} {
		if a.status != 400 && a.status != 403 {
			t.Errorf("%s: %d %q", name, a.status, a.body)
		}
	}
	ask(gateway.VerifyPath+"/open/x?need=nothing").want(t, 200, "")
	ask(gateway.VerifyPath+"/secret?need=nothing").want(t, 404, "") // the query is the client's
	if a := call(t, "OPTIONS", w.internal+gateway.VerifyPath+"/echo", "", "X-Okapi-Tenant", "diku", "Origin", origin, "Access-Control-Request-Method", "GET"); a.status != 401 {
		t.Errorf("a preflight that is asked about: %d", a.status)
	}
	// Outside there is nobody to ask, and whoever is not named may not.
	w.get(gateway.VerifyPath, "X-Original-URI", "/open", "X-Original-Method", "GET").want(t, 404, "")
	stranger := echoing(t)
	stranger.verify("GET", "/open", "").want(t, 403, "Only reverse proxies may ask here")
}

// TestT29VerifyRefusesPathsThatAreReadInTwoWays: the proxy serves what it made
// of the path, and asked about what the client sent.
func TestT29VerifyRefusesPathsThatAreReadInTwoWays(t *testing.T) {
	w := asking(t)
	for _, path := range []string{
		"/open/../secret", "/open/%2e%2e/secret", "/open/..%2fsecret", "//secret", "/open//secret", "/open/..;/secret",
		`/open/..\secret`, "/open/%5c..%5csecret", "/open/.", "/open/%zz",
	} {
		w.verify("GET", path, "?need=nothing").want(t, 403, "Invalid path")
	}
}

// Nothing that a client claims about itself is told on.
func TestT20VerifyTellsNothingOfTheClients(t *testing.T) {
	w := asking(t)
	a := w.verify("GET", "/page", "?need=nothing", "X-Okapi-User-Id", alice, "X-Okapi-Permissions", `["all"]`, "X-Auth-Request-User", "root")
	a.want(t, http.StatusOK, "")
	for name, want := range map[string]string{"X-Okapi-User-Id": "", "X-Okapi-Permissions": "[]", "X-Auth-Request-User": ""} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
